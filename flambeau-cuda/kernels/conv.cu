// Convolution in three dimensions (fewer have sizes of 1) as an implicit matrix product, where no
// library does it: forward, gradient of the input, gradient of the weight; groups, strides,
// padding, dilation.
//
// Layouts, all contiguous: x [batch, in, D, H, W], w [out, in / groups, kD, kH, kW],
// y [batch, out, oD, oH, oW]; or, channels_last, with the second dimension innermost. Defines: ELEMENT (maps), W (weight and bias), ACC. Launch: 256
// threads; grid (tiles of 64 x 64, groups, parts). Terms are summed in order, without atomics; the
// long sums of `conv_weight` are cut in parts, which `parts` gets side by side to be added.
#include "common.cuh"
#include "gemm.cuh"

typedef ELEMENT T;

struct Conv {
    i64 batch;
    int in_channels, out_channels, groups;
    int input[3], output[3], kernel[3], stride[3], padding[3], dilation[3];
    int channels_last;
};

// Where place `at` of a channel's map, of `volume` places, lies in sample (or filter) `b`.
__device__ inline i64 at_map(const Conv& c, i64 b, i64 channel, int channels, int volume, i64 at) {
    return c.channels_last ? (b * volume + at) * channels + channel : (b * channels + channel) * volume + at;
}

__device__ inline int volume(const int (&size)[3]) { return size[0] * size[1] * size[2]; }
__device__ inline void split(const int (&size)[3], int i, int (&at)[3]) {
    at[2] = i % size[2];
    at[1] = i / size[2] % size[1];
    at[0] = i / size[2] / size[1];
}
__device__ inline int join(const int (&size)[3], const int (&at)[3]) {
    return (at[0] * size[1] + at[1]) * size[2] + at[2];
}
// The input's place that output `o` meets through kernel element `k`; -1 in the padding.
__device__ inline int input_place(const Conv& c, int o, int k) {
    int out[3], kernel[3], at[3];
    split(c.output, o, out);
    split(c.kernel, k, kernel);
#pragma unroll
    for (int d = 0; d < 3; d++) {
        at[d] = out[d] * c.stride[d] - c.padding[d] + kernel[d] * c.dilation[d];
        if (at[d] < 0 || at[d] >= c.input[d]) return -1;
    }
    return join(c.input, at);
}
// The output's place that meets input `i` through kernel element `k`; -1 where none does.
__device__ inline int output_place(const Conv& c, int i, int k) {
    int in[3], kernel[3], at[3];
    split(c.input, i, in);
    split(c.kernel, k, kernel);
#pragma unroll
    for (int d = 0; d < 3; d++) {
        int reach = in[d] + c.padding[d] - kernel[d] * c.dilation[d];
        at[d] = reach / c.stride[d];
        if (reach < 0 || reach % c.stride[d] != 0 || at[d] >= c.output[d]) return -1;
    }
    return join(c.output, at);
}

struct Tile {
    i64 m, n;
};
__device__ inline Tile tile(i64 n) {
    i64 across = (n + TILE - 1) / TILE;
    return Tile{blockIdx.x / across * TILE, blockIdx.x % across * TILE};
}

extern "C" __global__ void __launch_bounds__(256)
conv_forward(const T* x, const W* w, const W* bias, T* y, Conv c) {
    int ins = c.in_channels / c.groups, outs = c.out_channels / c.groups, group = blockIdx.y;
    int taps = volume(c.kernel), inputs = volume(c.input), outputs = volume(c.output);
    i64 n_end = c.batch * outputs, k_end = (i64)ins * taps;
    Tile t = tile(n_end);
    gemm_tile<ACC, true, false>(
        t.m, outs, t.n, n_end, 0, k_end,
        [&](i64 m, i64 k) {
            i64 filter = group * outs + m, channel = quotient(k, taps);
            return convert<ACC>(w[at_map(c, filter, channel, ins, taps, k - channel * taps)]);
        },
        [&](i64 k, i64 n) {
            int at = input_place(c, (int)modulo(n, outputs), (int)modulo(k, taps));
            i64 sample = quotient(n, outputs), channel = group * ins + quotient(k, taps);
            return at < 0 ? (ACC)0 : convert<ACC>(x[at_map(c, sample, channel, c.in_channels, inputs, at)]);
        },
        [&](i64 m, i64 n, ACC sum) {
            i64 sample = quotient(n, outputs), channel = group * outs + m;
            if (bias) sum += convert<ACC>(bias[channel]);
            y[at_map(c, sample, channel, c.out_channels, outputs, n - sample * outputs)] = convert<T>(sum);
        });
}

extern "C" __global__ void __launch_bounds__(256)
conv_data(const T* grad, const W* w, const W* bias, T* out, Conv c) {
    int ins = c.in_channels / c.groups, outs = c.out_channels / c.groups, group = blockIdx.y;
    int taps = volume(c.kernel), inputs = volume(c.input), outputs = volume(c.output);
    i64 n_end = c.batch * inputs, k_end = (i64)outs * taps;
    Tile t = tile(n_end);
    gemm_tile<ACC, true, false>(
        t.m, ins, t.n, n_end, 0, k_end,
        [&](i64 m, i64 k) {
            i64 filter = quotient(k, taps);
            return convert<ACC>(w[at_map(c, group * outs + filter, m, ins, taps, k - filter * taps)]);
        },
        [&](i64 k, i64 n) {
            int at = output_place(c, (int)modulo(n, inputs), (int)modulo(k, taps));
            i64 sample = quotient(n, inputs), channel = group * outs + quotient(k, taps);
            return at < 0 ? (ACC)0 : convert<ACC>(grad[at_map(c, sample, channel, c.out_channels, outputs, at)]);
        },
        [&](i64 m, i64 n, ACC sum) {
            i64 sample = quotient(n, inputs), channel = group * ins + m;
            if (bias) sum += convert<ACC>(bias[channel]);
            out[at_map(c, sample, channel, c.in_channels, inputs, n - sample * inputs)] = convert<T>(sum);
        });
}

// Part z of the sums over batch and outputs, `piece` terms each; `parts` [parts, weight] in ACC
// where there are several, else `out`.
extern "C" __global__ void __launch_bounds__(256)
conv_weight(const T* x, const T* grad, W* out, ACC* parts, Conv c, i64 piece) {
    int ins = c.in_channels / c.groups, outs = c.out_channels / c.groups, group = blockIdx.y;
    int taps = volume(c.kernel), inputs = volume(c.input), outputs = volume(c.output);
    i64 n_end = (i64)ins * taps, k_end = c.batch * outputs;
    i64 from = blockIdx.z * piece, size = (i64)c.out_channels * n_end;
    Tile t = tile(n_end);
    gemm_tile<ACC, true, true>(
        t.m, outs, t.n, n_end, from, min(from + piece, k_end),
        [&](i64 m, i64 k) {
            i64 sample = quotient(k, outputs), channel = group * outs + m;
            i64 at = at_map(c, sample, channel, c.out_channels, outputs, k - sample * outputs);
            return convert<ACC>(grad[at]);
        },
        [&](i64 k, i64 n) {
            int at = input_place(c, (int)modulo(k, outputs), (int)modulo(n, taps));
            i64 sample = quotient(k, outputs), channel = group * ins + quotient(n, taps);
            return at < 0 ? (ACC)0 : convert<ACC>(x[at_map(c, sample, channel, c.in_channels, inputs, at)]);
        },
        [&](i64 m, i64 n, ACC sum) {
            i64 channel = quotient(n, taps);
            i64 at = at_map(c, group * outs + m, channel, ins, taps, n - channel * taps);
            if (gridDim.z > 1)
                parts[blockIdx.z * size + at] = sum;
            else
                out[at] = convert<W>(sum);
        });
}
