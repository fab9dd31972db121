// Softmax along the middle dimension of [outer, n, inner], or its logarithm, and the gradient.
//
// Defines: ELEMENT (elements), ACC (computing type), LOG (0 or 1). `*_rows` (inner = 1): a block for each
// row, any multiple of 32 threads; `held` says that they keep the whole row in registers, else they
// read it again for each pass. `*_columns`: a thread for each column, neighbours side by side. Sums
// have a fixed order.
#include "common.cuh"

typedef ELEMENT T;

extern "C" __global__ void __launch_bounds__(1024)
softmax_rows(const T* x, T* out, i64 n, int held) {
    x += blockIdx.x * n, out += blockIdx.x * n;
    auto larger = [](ACC a, ACC b) { return b > a ? b : a; };
    ACC best = lowest<ACC>(), sum = 0;
    if (held) {
        Held<T, ACC> row(x, n, lowest<ACC>());
#pragma unroll
        for (ACC v : row.at) best = larger(best, v);
        best = block_reduce(best, lowest<ACC>(), larger);
#pragma unroll
        for (int j = 0; j < row.COUNT; j++) {
            ACC shifted = row.at[j] - best, e = exp(shifted);
            row.at[j] = LOG ? shifted : e;
            if (row.place(j) < n) sum += e;
        }
        sum = block_sum(sum);
        ACC number = LOG ? log(sum) : 1 / sum;
        return row.write(out, n, [&](int j, i64) {
            return convert<T>(LOG ? row.at[j] - number : row.at[j] * number);
        });
    }
    each_of_row(x, 0, n, threadIdx.x, blockDim.x, [&](i64, T v) { best = larger(best, convert<ACC>(v)); });
    best = block_reduce(best, lowest<ACC>(), larger);
    each_of_row(x, 0, n, threadIdx.x, blockDim.x, [&](i64, T v) { sum += exp(convert<ACC>(v) - best); });
    sum = block_sum(sum);
    ACC number = LOG ? log(sum) : 1 / sum;
    write_row(out, n, [&](i64 i) {
        ACC shifted = convert<ACC>(x[i]) - best;
        return convert<T>(LOG ? shifted - number : exp(shifted) * number);
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
softmax_backward_rows(const T* g, const T* y, T* out, i64 n, int held) {
    g += blockIdx.x * n, y += blockIdx.x * n, out += blockIdx.x * n;
    ACC sum = 0;
    auto add = [&](ACC a, ACC b) { sum += LOG ? a : a * b; };
    auto gradient = [&](ACC a, ACC b) { return convert<T>(LOG ? a - exp(b) * sum : (a - sum) * b); };
    if (held) {
        Held<T, ACC> a(g, n, 0), b(y, n, 0);
#pragma unroll
        for (int j = 0; j < a.COUNT; j++) add(a.at[j], b.at[j]);
        sum = block_sum(sum);
        return a.write(out, n, [&](int j, i64) { return gradient(a.at[j], b.at[j]); });
    }
    each_of_rows(g, y, n, [&](i64, T a, T b) { add(convert<ACC>(a), convert<ACC>(b)); });
    sum = block_sum(sum);
    write_row(out, n, [&](i64 i) { return gradient(convert<ACC>(g[i]), convert<ACC>(y[i])); });
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
