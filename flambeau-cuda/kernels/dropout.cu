// Dropout: out = x * mask * scale, with the mask drawn by Philox; kept for the gradient.
//
// Defines: ELEMENT, ACC. Each call gives four elements their numbers: neighbours where `together`, as in
// PyTorch's kernel for lengths divisible by 4, else elements as far apart as there are threads. The
// mask is one byte for each element. Launch: PyTorch's grid of 256 threads (see random.cu).
#include "common.cuh"
#include "philox.cuh"

typedef ELEMENT T;

// An element is kept where its number, from (0, 1], is below `keep`; what is kept is scaled by
// 1 / keep.
extern "C" __global__ void __launch_bounds__(256)
dropout(const T* x, T* out, bool* mask, i64 n, u64 seed, u64 offset, const u64* state,
        double keep, int together) {
    if (state) seed = state[0], offset += state[1];
    ACC scale = (ACC)(keep > 0 ? 1 / keep : 0);
    u64 threads = global_threads(), thread = global_thread(), call = offset / 4;
    u64 apart = together ? 1 : threads;
    for (u64 first = together ? thread * 4 : thread; first < (u64)n; first += threads * 4, call++) {
        float drawn[4];
        Draw<float>::uniform(philox(seed, thread, call), drawn);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            u64 i = first + k * apart;
            if (i >= (u64)n) continue;
            bool kept = drawn[k] < (float)keep;
            mask[i] = kept;
            out[i] = convert<T>(convert<ACC>(x[i]) * (kept ? scale : (ACC)0));
        }
    }
}
