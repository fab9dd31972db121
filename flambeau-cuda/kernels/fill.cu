// Writes one value, or an arithmetic sequence, to `n` contiguous elements.
//
// Defines: T. Launch: any number of blocks of any size; threads walk with the grid's stride.
#include "common.cuh"

extern "C" __global__ void fill(T* out, i64 n, T value) {
    i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) out[i] = value;
}
