// The tile of a matrix product that products and convolutions share: 64 x 64 results for a block of
// 256 threads, 4 x 4 for each of them, 16 terms at a time through shared memory. What the operands
// are is up to the caller's functions.
#pragma once

const int TILE = 64, DEPTH = 16, PATCH = 4;
// Threads of neighbouring columns write other banks.
const int PITCH = TILE + 4;

// Terms from..to of results (m0.., n0..) below (m_end, n_end): a(m, k) times b(k, n), summed in the
// order of k; put(m, n, sum) takes each. DEEP_A (DEEP_B): neighbours in memory differ in k, and so
// neighbouring threads fetch neighbouring k; else neighbouring m (n).
template <class ACC_, bool DEEP_A, bool DEEP_B, class A, class B, class Put>
__device__ inline void gemm_tile(i64 m0, i64 m_end, i64 n0, i64 n_end, i64 from, i64 to, A a, B b,
                                 Put put) {
    __shared__ ACC_ as[DEPTH][PITCH], bs[DEPTH][PITCH];
    int thread = threadIdx.x, row = thread / DEPTH * PATCH, column = thread % DEPTH * PATCH;
    ACC_ sum[PATCH][PATCH] = {};
    for (i64 k0 = from; k0 < to; k0 += DEPTH) {
#pragma unroll
        for (int i = 0; i < PATCH; i++) {
            int at = thread + i * 256;
            int k = DEEP_A ? at % DEPTH : at / TILE, m = DEEP_A ? at / DEPTH : at % TILE;
            as[k][m] = k0 + k < to && m0 + m < m_end ? a(m0 + m, k0 + k) : (ACC_)0;
            k = DEEP_B ? at % DEPTH : at / TILE;
            int n = DEEP_B ? at / DEPTH : at % TILE;
            bs[k][n] = k0 + k < to && n0 + n < n_end ? b(k0 + k, n0 + n) : (ACC_)0;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < DEPTH; k++) {
            ACC_ left[PATCH], right[PATCH];
#pragma unroll
            for (int i = 0; i < PATCH; i++) left[i] = as[k][row + i], right[i] = bs[k][column + i];
#pragma unroll
            for (int i = 0; i < PATCH; i++)
#pragma unroll
                for (int j = 0; j < PATCH; j++) sum[i][j] += left[i] * right[j];
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < PATCH; i++)
#pragma unroll
        for (int j = 0; j < PATCH; j++) {
            i64 m = m0 + row + i, n = n0 + column + j;
            if (m < m_end && n < n_end) put(m, n, sum[i][j]);
        }
}
