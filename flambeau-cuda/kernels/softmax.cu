// Softmax along the middle dimension of [outer, n, inner], or its logarithm, and the gradient.
//
// Defines: ELEMENT (elements), ACC (computing type), LOG (0 or 1). `*_rows` (inner = 1): a block for each
// row, any multiple of 32 threads; with dynamic shared memory of n ACCs a row is read once.
// `*_columns`: a thread for each column, neighbours side by side. Sums have a fixed order.
#include "common.cuh"

typedef ELEMENT T;

extern "C" __global__ void __launch_bounds__(1024)
softmax_rows(const T* x, T* out, i64 n, int cached) {
    DYNAMIC_SHARED(ACC, cache);
    const T* row = x + blockIdx.x * n;
    ACC best = lowest<ACC>();
    each_of_row(row, 0, n, threadIdx.x, blockDim.x, [&](i64 i, T v) {
        ACC wide = convert<ACC>(v);
        if (cached) cache[i] = wide;
        if (wide > best) best = wide;
    });
    best = block_reduce(best, lowest<ACC>(), [](ACC a, ACC b) { return b > a ? b : a; });
    // A thread reads what it wrote itself.
    ACC sum = 0;
    auto value = [&](i64 i) { return (cached ? cache[i] : convert<ACC>(row[i])) - best; };
    const int N = Width<T>::value;
    for (i64 i = (i64)threadIdx.x * N; i < n; i += (i64)blockDim.x * N)
        for (int k = 0; k < N && i + k < n; k++) {
            ACC shifted = value(i + k), e = exp(shifted);
            if (cached) cache[i + k] = LOG ? shifted : e;
            sum += e;
        }
    sum = block_sum(sum);
    if (LOG) sum = log(sum);
    write_row(out + blockIdx.x * n, n, [&](i64 i) {
        if (LOG) return convert<T>((cached ? cache[i] : value(i)) - sum);
        return convert<T>((cached ? cache[i] : exp(value(i))) / sum);
    });
}

extern "C" __global__ void __launch_bounds__(256)
softmax_columns(const T* x, T* out, i64 outer, i64 n, i64 inner) {
    for (i64 c = global_thread(); c < outer * inner; c += global_threads()) {
        i64 block = quotient(c, inner), at = block * n * inner + c - block * inner;
        ACC best = lowest<ACC>(), sum = 0;
        for (i64 k = 0; k < n; k++) {
            ACC v = convert<ACC>(x[at + k * inner]);
            if (v > best) best = v;
        }
        for (i64 k = 0; k < n; k++) sum += exp(convert<ACC>(x[at + k * inner]) - best);
        if (LOG) sum = log(sum);
        for (i64 k = 0; k < n; k++) {
            ACC v = convert<ACC>(x[at + k * inner]) - best;
            out[at + k * inner] = convert<T>(LOG ? v - sum : exp(v) / sum);
        }
    }
}

// The input's gradient from that of the output, g, and the output, y.
extern "C" __global__ void __launch_bounds__(1024)
softmax_backward_rows(const T* g, const T* y, T* out, i64 n) {
    const T* g_row = g + blockIdx.x * n;
    const T* y_row = y + blockIdx.x * n;
    ACC sum = 0;
    each_of_rows(g_row, y_row, n, [&](i64, T a, T b) {
        sum += LOG ? convert<ACC>(a) : convert<ACC>(a) * convert<ACC>(b);
    });
    sum = block_sum(sum);
    write_row(out + blockIdx.x * n, n, [&](i64 i) {
        ACC a = convert<ACC>(g_row[i]), b = convert<ACC>(y_row[i]);
        return convert<T>(LOG ? a - exp(b) * sum : (a - sum) * b);
    });
}

extern "C" __global__ void __launch_bounds__(256)
softmax_backward_columns(const T* g, const T* y, T* out, i64 outer, i64 n,
                                                    i64 inner) {
    for (i64 c = global_thread(); c < outer * inner; c += global_threads()) {
        i64 block = quotient(c, inner), at = block * n * inner + c - block * inner;
        ACC sum = 0;
        for (i64 k = 0; k < n; k++) {
            ACC a = convert<ACC>(g[at + k * inner]);
            sum += LOG ? a : a * convert<ACC>(y[at + k * inner]);
        }
        for (i64 k = 0; k < n; k++) {
            ACC a = convert<ACC>(g[at + k * inner]), b = convert<ACC>(y[at + k * inner]);
            out[at + k * inner] = convert<T>(LOG ? a - exp(b) * sum : (a - sum) * b);
        }
    }
}
