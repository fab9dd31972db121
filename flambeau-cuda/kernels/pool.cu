// Pooling over [planes, D, H, W, inner]: maximum and average, with windows of one size or adaptive ones.
// `inner` is 1, or the channels where these are innermost (and planes the samples).
//
// Defines: ELEMENT (elements), ACC (computing type). A thread for each result, 256 to a block, any number
// of blocks. The backward kernels gather: a thread for each element of the input adds up what its
// windows give it, in their order, so that nothing is written twice and the bits do not vary.
#include "common.cuh"

typedef ELEMENT T;

struct Pool {
    i64 planes;
    i64 inner;
    i64 divisor; // What an average divides by; 0: the window's size.
    int input[3], output[3], kernel[3], stride[3], padding[3], dilation[3];
    int adaptive;    // Windows floor(o * in / out) .. ceil((o + 1) * in / out).
    int include_pad; // Whether padding counts in an average's size.
};

// Where the elements of window `o` along an axis lie: start + k * step for k in from..to.
struct Span {
    int start, step, from, to;
};
__device__ inline Span window(const Pool& p, int axis, int o) {
    int in = p.input[axis], out = p.output[axis];
    if (p.adaptive) {
        int start = (int)((i64)o * in / out);
        return Span{start, 1, 0, (int)(((i64)(o + 1) * in + out - 1) / out) - start};
    }
    int start = o * p.stride[axis] - p.padding[axis], step = p.dilation[axis], k = p.kernel[axis];
    int from = start < 0 ? (-start + step - 1) / step : 0;
    int to = start < in ? min(k, (in - start + step - 1) / step) : 0;
    return Span{start, step, from, to};
}
// What window `o` counts for along an axis in an average.
__device__ inline int extent(const Pool& p, int axis, int o) {
    Span s = window(p, axis, o);
    if (p.adaptive || !p.include_pad) return max(s.to - s.from, 0);
    return min(s.start + p.kernel[axis], p.input[axis] + p.padding[axis]) - s.start;
}
// The windows that may hold element `i` along an axis: first..last, of which `holds` tells.
__device__ inline void candidates(const Pool& p, int axis, int i, int& first, int& last) {
    int in = p.input[axis], out = p.output[axis];
    if (p.adaptive) {
        first = (int)((i64)i * out / in);
        last = (int)(((i64)(i + 1) * out + in - 1) / in);
    } else {
        int reach = i + p.padding[axis] - p.dilation[axis] * (p.kernel[axis] - 1);
        first = reach <= 0 ? 0 : (reach + p.stride[axis] - 1) / p.stride[axis];
        last = min(out, (i + p.padding[axis]) / p.stride[axis] + 1);
    }
}
__device__ inline bool holds(const Pool& p, int axis, int o, int i) {
    Span s = window(p, axis, o);
    int d = i - s.start;
    return d >= 0 && d % s.step == 0 && d / s.step >= s.from && d / s.step < s.to;
}

__device__ inline i64 volume(const int (&size)[3]) { return (i64)size[0] * size[1] * size[2]; }
// Which map an element belongs to. A map's elements are `inner` apart.
struct Map {
    i64 plane, channel;
    // Where the map starts in planes of `volume` places.
    __device__ i64 start(i64 volume, i64 inner) const { return plane * volume * inner + channel; }
};
// Map and place of element `i` of maps of that size.
__device__ inline Map place(const Pool& p, const int (&size)[3], i64 i, int (&at)[3]) {
    i64 column = p.inner == 1 ? i : quotient(i, p.inner);
    i64 row = quotient(column, size[2]), slice = quotient(row, size[1]);
    i64 plane = quotient(slice, size[0]);
    at[2] = (int)(column - row * size[2]);
    at[1] = (int)(row - slice * size[1]);
    at[0] = (int)(slice - plane * size[0]);
    return Map{plane, i - column * p.inner};
}

// The maximum of each window, and its place in the plane: the first of equal ones, of NaN the last;
// minus infinity and -1 for a window that holds no element.
extern "C" __global__ void __launch_bounds__(256)
max_pool(const T* x, T* out, i64* indices, Pool p) {
    i64 n = p.planes * p.inner * volume(p.output), in = volume(p.input);
    for (i64 i = global_thread(); i < n; i += global_threads()) {
        int o[3];
        const T* map = x + place(p, p.output, i, o).start(in, p.inner);
        Span d = window(p, 0, o[0]), h = window(p, 1, o[1]), w = window(p, 2, o[2]);
        ACC best = lowest<ACC>();
        i64 at = -1;
        for (int kd = d.from; kd < d.to; kd++)
            for (int kh = h.from; kh < h.to; kh++)
                for (int kw = w.from; kw < w.to; kw++) {
                    i64 j = ((i64)(d.start + kd * d.step) * p.input[1] + h.start + kh * h.step) *
                                p.input[2] + w.start + kw * w.step;
                    ACC v = convert<ACC>(map[j * p.inner]);
                    if (v > best || is_nan(v) || at < 0) best = v, at = j;
                }
        out[i] = convert<T>(best);
        if (indices) indices[i] = at;
    }
}

extern "C" __global__ void __launch_bounds__(256)
avg_pool(const T* x, T* out, Pool p) {
    i64 n = p.planes * p.inner * volume(p.output), in = volume(p.input);
    for (i64 i = global_thread(); i < n; i += global_threads()) {
        int o[3];
        const T* map = x + place(p, p.output, i, o).start(in, p.inner);
        Span d = window(p, 0, o[0]), h = window(p, 1, o[1]), w = window(p, 2, o[2]);
        ACC sum = 0;
        for (int kd = d.from; kd < d.to; kd++)
            for (int kh = h.from; kh < h.to; kh++) {
                i64 row = ((i64)(d.start + kd) * p.input[1] + h.start + kh) * p.input[2] + w.start;
                for (int kw = w.from; kw < w.to; kw++) sum += convert<ACC>(map[(row + kw) * p.inner]);
            }
        i64 by = p.divisor;
        if (by == 0) by = (i64)extent(p, 0, o[0]) * extent(p, 1, o[1]) * extent(p, 2, o[2]);
        // A window with nothing in it is 0, not 0 / 0.
        out[i] = convert<T>(sum == 0 ? sum : sum / (ACC)by);
    }
}

// The sum of share(output's number, od, oh, ow) over the windows that hold an input's element.
template <class F> __device__ inline ACC gather(const Pool& p, const int (&at)[3], F share) {
    int first[3], last[3];
#pragma unroll
    for (int a = 0; a < 3; a++) candidates(p, a, at[a], first[a], last[a]);
    ACC sum = 0;
    for (int d = first[0]; d < last[0]; d++) {
        if (!holds(p, 0, d, at[0])) continue;
        for (int h = first[1]; h < last[1]; h++) {
            if (!holds(p, 1, h, at[1])) continue;
            for (int w = first[2]; w < last[2]; w++)
                if (holds(p, 2, w, at[2]))
                    sum += share(((i64)d * p.output[1] + h) * p.output[2] + w, d, h, w);
        }
    }
    return sum;
}

extern "C" __global__ void __launch_bounds__(256)
max_pool_backward(const T* grad, const i64* indices, T* out, Pool p) {
    i64 in = volume(p.input), outputs = volume(p.output);
    for (i64 i = global_thread(); i < p.planes * p.inner * in; i += global_threads()) {
        int at[3];
        Map map = place(p, p.input, i, at);
        const T* g = grad + map.start(outputs, p.inner);
        const i64* chosen = indices + map.start(outputs, p.inner);
        i64 me = ((i64)at[0] * p.input[1] + at[1]) * p.input[2] + at[2];
        out[i] = convert<T>(gather(p, at, [&](i64 o, int, int, int) {
            return chosen[o * p.inner] == me ? convert<ACC>(g[o * p.inner]) : (ACC)0;
        }));
    }
}

extern "C" __global__ void __launch_bounds__(256)
avg_pool_backward(const T* grad, T* out, Pool p) {
    i64 in = volume(p.input), outputs = volume(p.output);
    for (i64 i = global_thread(); i < p.planes * p.inner * in; i += global_threads()) {
        int at[3];
        Map map = place(p, p.input, i, at);
        const T* g = grad + map.start(outputs, p.inner);
        out[i] = convert<T>(gather(p, at, [&](i64 o, int d, int h, int w) {
            i64 by = p.divisor;
            if (by == 0) by = (i64)extent(p, 0, d) * extent(p, 1, h) * extent(p, 2, w);
            return convert<ACC>(g[o * p.inner]) / (ACC)by;
        }));
    }
}
