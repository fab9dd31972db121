// Normalisation: layer and group norm over rows, batch norm over channels; forward and backward.
//
// Defines: ELEMENT (x, its gradient, the output), W (weight and bias), ACC (statistics, computing type).
//
// Layer and group norm take rows of `width` neighbours; element i belongs to channel
// i / inner % channels: layer norm has inner = 1 and channels = width, group norm rows of
// channels / groups * inner elements. `stats` holds mean and inverse deviation of each row.
// `row_norm_*`: a block for each row, any multiple of 32 threads; `held` says that they keep the
// whole row in registers, else they read it again for each pass. `channel_*` (batch norm over [batch, channels, inner], mean and variance
// given in ACC): flat, 256 threads. `affine_*` sum the gradients of weight and bias: rows (a block
// for each piece of a channel) or columns (inner = 1: 32 channels for a block of (32, 8)), then
// `affine_parts`, a warp for each channel. Sums have a fixed order.
#include "common.cuh"

typedef ELEMENT T;

__device__ inline i64 channel_of(i64 i, i64 inner, i64 channels) {
    return modulo(inner == 1 ? i : quotient(i, inner), channels);
}

// The channel of element i of the row that begins at `start`.
__device__ inline i64 channel_in_row(i64 start, i64 i, i64 inner, i64 channels, i64 width) {
    return inner == 1 && channels == width ? i : channel_of(start + i, inner, channels);
}

extern "C" __global__ void __launch_bounds__(1024)
row_norm_forward(const T* x, const W* weight, const W* bias, T* out, ACC* stats, i64 width,
                 i64 channels, i64 inner, double eps, int held) {
    i64 start = blockIdx.x * width;
    x += start, out += start;
    ACC sum = 0, squares = 0, mean, inverse;
    auto square = [&](ACC v) { squares += (v - mean) * (v - mean); };
    auto finish = [&] {
        inverse = 1 / sqrt(block_sum(squares) / (ACC)width + (ACC)eps);
        if (threadIdx.x == 0) stats[2 * blockIdx.x] = mean, stats[2 * blockIdx.x + 1] = inverse;
    };
    auto normal = [&](ACC v, i64 i) {
        i64 c = channel_in_row(start, i, inner, channels, width);
        v = (v - mean) * inverse;
        if (weight) v *= convert<ACC>(weight[c]);
        if (bias) v += convert<ACC>(bias[c]);
        return convert<T>(v);
    };
    if (held) {
        Held<T, ACC> row(x, width, 0);
#pragma unroll
        for (ACC v : row.at) sum += v;
        mean = block_sum(sum) / (ACC)width;
#pragma unroll
        for (int j = 0; j < row.COUNT; j++)
            if (row.place(j) < width) square(row.at[j]);
        finish();
        return row.write(out, width, [&](int j, i64 i) { return normal(row.at[j], i); });
    }
    each_of_row(x, 0, width, threadIdx.x, blockDim.x, [&](i64, T v) { sum += convert<ACC>(v); });
    mean = block_sum(sum) / (ACC)width;
    each_of_row(x, 0, width, threadIdx.x, blockDim.x, [&](i64, T v) { square(convert<ACC>(v)); });
    finish();
    write_row(out, width, [&](i64 i) { return normal(convert<ACC>(x[i]), i); });
}

extern "C" __global__ void __launch_bounds__(1024)
row_norm_backward(const T* x, const T* grad, const W* weight, const ACC* stats, T* out, i64 width,
                  i64 channels, i64 inner, int held) {
    i64 start = blockIdx.x * width;
    x += start, grad += start, out += start;
    ACC mean = stats[2 * blockIdx.x], inverse = stats[2 * blockIdx.x + 1], sum = 0, dot = 0;
    auto scaled = [&](ACC g, i64 i) {
        return weight ? g * convert<ACC>(weight[channel_in_row(start, i, inner, channels, width)]) : g;
    };
    auto add = [&](ACC v, ACC s) {
        sum += s;
        dot += s * ((v - mean) * inverse);
    };
    auto finish = [&] {
        sum = block_sum(sum) / (ACC)width;
        dot = block_sum(dot) / (ACC)width;
    };
    auto gradient = [&](ACC v, ACC s) {
        return convert<T>((s - sum - (v - mean) * inverse * dot) * inverse);
    };
    if (held) {
        Held<T, ACC> v(x, width, 0), s(grad, width, 0);
#pragma unroll
        for (int j = 0; j < v.COUNT; j++)
            if (v.place(j) < width) {
                s.at[j] = scaled(s.at[j], v.place(j));
                add(v.at[j], s.at[j]);
            }
        finish();
        return v.write(out, width, [&](int j, i64) { return gradient(v.at[j], s.at[j]); });
    }
    each_of_rows(x, grad, width, [&](i64 i, T v, T g) { add(convert<ACC>(v), scaled(convert<ACC>(g), i)); });
    finish();
    write_row(out, width, [&](i64 i) { return gradient(convert<ACC>(x[i]), scaled(convert<ACC>(grad[i]), i)); });
}

// f(i, c, step) of every N neighbours from i on: the first is of channel c, the channels of others `step`
// apart. N is more than 1 where they all are of one channel, or are of neighbouring ones.
template <int N, class F> __device__ inline void by_channel(i64 n, i64 channels, i64 inner, F f) {
    int step = inner == 1;
    for (i64 i = global_thread() * N; i < n; i += global_threads() * N) f(i, channel_of(i, inner, channels), step);
}
// Whether N neighbours are so.
template <int N> __device__ inline bool alike(i64 channels, i64 inner) {
    return (inner == 1 ? channels : inner) % N == 0;
}

extern "C" __global__ void __launch_bounds__(256)
channel_norm_forward(const T* x, const ACC* mean, const ACC* var, const W* weight, const W* bias,
                     T* out, i64 n, i64 channels, i64 inner, double eps) {
    const int N = Width<T>::value;
    auto numbers = [&](i64 c, ACC& scale, ACC& shift) {
        scale = inverse_root(var[c] + (ACC)eps);
        if (weight) scale *= convert<ACC>(weight[c]);
        shift = bias ? convert<ACC>(bias[c]) : (ACC)0;
    };
    if (alike<N>(channels, inner) && aligned<N>(x) && aligned<N>(out)) {
        by_channel<N>(n, channels, inner, [&](i64 i, i64 c, int step) {
            ACC scale, shift, m = mean[c];
            numbers(c, scale, shift);
            Vector<T, N> v = load<N>(x + i);
#pragma unroll
            for (int k = 0; k < N; k++) {
                if (k > 0 && step) m = mean[c + k], numbers(c + k, scale, shift);
                v.at[k] = convert<T>((convert<ACC>(v.at[k]) - m) * scale + shift);
            }
            store<N>(out + i, v);
        });
    } else {
        by_channel<1>(n, channels, inner, [&](i64 i, i64 c, int) {
            ACC scale, shift;
            numbers(c, scale, shift);
            out[i] = convert<T>((convert<ACC>(x[i]) - mean[c]) * scale + shift);
        });
    }
}

// `sums` holds for each channel the sums of g and of g times the normalised x (as `affine_parts`
// writes them); null where the statistics are given ones, which have no gradient.
extern "C" __global__ void __launch_bounds__(256)
channel_norm_backward(const T* x, const T* grad, const ACC* mean, const ACC* var, const W* weight,
                      const ACC* sums, T* out, i64 n, i64 channels, i64 inner, double eps) {
    const int N = Width<T>::value;
    ACC each = 1 / (ACC)(n / channels);
    auto one = [&](ACC v, ACC g, i64 c) {
        ACC inverse = inverse_root(var[c] + (ACC)eps);
        if (sums) g -= (sums[2 * c] + (v - mean[c]) * inverse * sums[2 * c + 1]) * each;
        return convert<T>(g * inverse * (weight ? convert<ACC>(weight[c]) : (ACC)1));
    };
    if (alike<N>(channels, inner) && aligned<N>(x) && aligned<N>(grad) && aligned<N>(out)) {
        by_channel<N>(n, channels, inner, [&](i64 i, i64 c, int step) {
            Vector<T, N> v = load<N>(x + i), g = load<N>(grad + i);
#pragma unroll
            for (int k = 0; k < N; k++)
                v.at[k] = one(convert<ACC>(v.at[k]), convert<ACC>(g.at[k]), c + k * step);
            store<N>(out + i, v);
        });
    } else {
        by_channel<1>(n, channels, inner, [&](i64 i, i64 c, int) {
            out[i] = one(convert<ACC>(x[i]), convert<ACC>(grad[i]), c);
        });
    }
}

// Sums of g and of g times the normalised x.
struct Pair {
    ACC g, gx;
};
struct AddPairs {
    __device__ Pair operator()(Pair a, Pair b) const { return Pair{a.g + b.g, a.gx + b.gx}; }
};

// What normalised an element: `stats` of rows of `width` (mean, inverse deviation) where width is
// not 0, else mean and variance of its channel.
struct Statistics {
    const ACC* stats;
    const ACC* mean;
    const ACC* var;
    i64 width;
    double eps;
    __device__ ACC normal(ACC v, i64 i, i64 c) const {
        if (width == 0) return (v - mean[c]) * inverse_root(var[c] + (ACC)eps);
        i64 row = quotient(i, width);
        return (v - stats[2 * row]) * stats[2 * row + 1];
    }
};

extern "C" __global__ void __launch_bounds__(256)
affine_rows(const T* x, const T* grad, Pair* parts, Statistics of, i64 batch, i64 channels,
            i64 inner, i64 pieces, i64 piece) {
    i64 c = blockIdx.x / pieces, k = blockIdx.x % pieces, n = batch * inner;
    i64 to = min((k + 1) * piece, n);
    Pair sum = {0, 0};
    for (i64 j = k * piece + threadIdx.x; j < to; j += blockDim.x) {
        i64 sample = quotient(j, inner), i = (sample * channels + c) * inner + j - sample * inner;
        ACC g = convert<ACC>(grad[i]);
        sum = Pair{sum.g + g, sum.gx + g * of.normal(convert<ACC>(x[i]), i, c)};
    }
    sum = block_reduce(sum, Pair{0, 0}, AddPairs());
    if (threadIdx.x == 0) parts[c * pieces + k] = sum;
}

const int LINES = 8;

extern "C" __global__ void __launch_bounds__(256)
affine_columns(const T* x, const T* grad, Pair* parts, Statistics of, i64 batch, i64 channels,
               i64 pieces, i64 piece) {
    __shared__ Pair tile[LINES][WARP];
    i64 c = (i64)blockIdx.x * WARP + threadIdx.x, to = min((blockIdx.y + 1) * piece, batch);
    Pair sum = {0, 0};
    if (c < channels)
#pragma unroll 4
        for (i64 b = blockIdx.y * piece + threadIdx.y; b < to; b += LINES) {
            i64 i = b * channels + c;
            ACC g = convert<ACC>(grad[i]);
            sum = Pair{sum.g + g, sum.gx + g * of.normal(convert<ACC>(x[i]), i, c)};
        }
    tile[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || c >= channels) return;
    for (int k = 1; k < LINES; k++) sum = AddPairs()(sum, tile[k][threadIdx.x]);
    parts[c * pieces + blockIdx.y] = sum;
}

// Any of the results may be null.
extern "C" __global__ void __launch_bounds__(256)
affine_parts(const Pair* parts, ACC* sums, W* grad_weight, W* grad_bias, i64 channels, i64 pieces) {
    int lane = threadIdx.x % WARP;
    for (i64 c = global_thread() / WARP; c < channels; c += global_threads() / WARP) {
        Pair sum = {0, 0};
        for (i64 k = lane; k < pieces; k += WARP) sum = AddPairs()(sum, parts[c * pieces + k]);
        sum = warp_reduce(sum, AddPairs());
        if (lane != 0) continue;
        if (sums) sums[2 * c] = sum.g, sums[2 * c + 1] = sum.gx;
        if (grad_weight) grad_weight[c] = convert<W>(sum.gx);
        if (grad_bias) grad_bias[c] = convert<W>(sum.g);
    }
}
