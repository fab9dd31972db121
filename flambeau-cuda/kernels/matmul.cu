// out[b] = alpha * a[b] @ c[b] + beta * (what stands in `out`), plus a bias for each column: matrix
// products of any types and strides, where no library does them (integers; machines without one).
//
// Defines: ELEMENT (operands), ACC (sums), OUT, A_DEEP and B_DEEP (0 or 1: whether neighbours of
// a row of the left, of a column of the right operand lie side by side). Launch: 256 threads; grid
// (tiles of 64 x 64, batches up to 65535, which are walked over). Terms are summed in order.
#include "common.cuh"
#include "gemm.cuh"

typedef ELEMENT T;

struct Product {
    i64 batch, m, n, k;
    i64 a_row, a_column, b_row, b_column;
    double alpha, beta;
};

// `batches` has the strides of the left and the right operand; `out` is contiguous.
extern "C" __global__ void __launch_bounds__(256)
matmul(const T* a, const T* b, const OUT* bias, OUT* out, Product p, Layout<2> batches) {
    i64 across = (p.n + TILE - 1) / TILE;
    i64 m0 = blockIdx.x / across * TILE, n0 = blockIdx.x % across * TILE;
    for (i64 batch = blockIdx.y; batch < p.batch; batch += gridDim.y) {
        i64 at[2];
        offsets<u64>(batches, (u64)batch, at);
        const T* left = a + at[0];
        const T* right = b + at[1];
        OUT* to = out + batch * p.m * p.n;
        gemm_tile<ACC, A_DEEP, B_DEEP>(
            m0, p.m, n0, p.n, 0, p.k,
            [&](i64 m, i64 k) { return convert<ACC>(left[m * p.a_row + k * p.a_column]); },
            [&](i64 k, i64 n) { return convert<ACC>(right[k * p.b_row + n * p.b_column]); },
            [&](i64 m, i64 n, ACC sum) {
                if (p.alpha != 1) sum = (ACC)p.alpha * sum;
                // What stands there is not read where it does not count: it may be NaN.
                if (p.beta != 0) sum += (ACC)p.beta * convert<ACC>(to[m * p.n + n]);
                if (bias) sum += convert<ACC>(bias[n]);
                to[m * p.n + n] = convert<OUT>(sum);
            });
    }
}
