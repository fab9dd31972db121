// Folds the elements along some dimensions of a tensor with any strides.
//
// Defines: OP (a struct below), ELEMENT, ACC (what is folded), OUT (the result), and, where
// the operation has a second result, it goes to `aux`: i64 for positions, OUT for means.
//
// `reduce_rows`: a block for each piece of a row of `n` elements; `reduce_warps`: a warp for each
// row, 8 to a block of 256; `reduce_columns`: 32 columns that lie side by side for a block of
// (32, 8). A row that several blocks share (`pieces` above 1) leaves a state each in `parts`, which
// `reduce_parts` (a warp for each row) joins. Pieces depend on sizes alone, sums are taken in a
// fixed order without atomics: the same bits in each run.
#include "common.cuh"

typedef ELEMENT T;

struct Sum {
    typedef ACC State;
    __device__ static State identity() { return 0; }
    __device__ static State step(State s, T x, i64, double) { return s + convert<ACC>(x); }
    __device__ static State join(State a, State b) { return a + b; }
    template <class Aux>
    __device__ static void finish(State s, i64, double, OUT* out, Aux*, i64 i) {
        out[i] = convert<OUT>(s);
    }
};

struct Mean : Sum {
    template <class Aux>
    __device__ static void finish(State s, i64 n, double, OUT* out, Aux*, i64 i) {
        out[i] = convert<OUT>(s / (ACC)n);
    }
};

struct Prod : Sum {
    __device__ static State identity() { return 1; }
    __device__ static State step(State s, T x, i64, double) { return s * convert<ACC>(x); }
    __device__ static State join(State a, State b) { return a * b; }
};

// The square root of the sum of squares.
struct Norm2 : Sum {
    __device__ static State step(State s, T x, i64, double) {
        ACC v = convert<ACC>(x);
        return s + v * v;
    }
    template <class Aux>
    __device__ static void finish(State s, i64, double, OUT* out, Aux*, i64 i) {
        out[i] = convert<OUT>(square_root(s));
    }
};

// (sum of |x|^p)^(1/p).
struct NormP : Sum {
    __device__ static State step(State s, T x, i64, double p) {
        ACC v = convert<ACC>(x);
        return s + power(v < 0 ? -v : v, p);
    }
    template <class Aux>
    __device__ static void finish(State s, i64, double p, OUT* out, Aux*, i64 i) {
        out[i] = convert<OUT>(power(s, 1 / p));
    }
};

template <bool LARGEST> struct Extreme : Sum {
    __device__ static State identity() { return LARGEST ? lowest<ACC>() : highest<ACC>(); }
    __device__ static State step(State s, T x, i64, double) { return join(s, convert<ACC>(x)); }
    __device__ static State join(State a, State b) { return beats<LARGEST>(b, a) ? b : a; }
};
typedef Extreme<true> Max;
typedef Extreme<false> Min;

// The extreme and the first position where it stands.
template <bool LARGEST> struct ExtremeAt {
    struct State {
        ACC value;
        i64 at;
    };
    __device__ static State identity() {
        return State{LARGEST ? lowest<ACC>() : highest<ACC>(), highest<i64>()};
    }
    __device__ static State step(State s, T x, i64 i, double) {
        return join(s, State{convert<ACC>(x), i});
    }
    __device__ static State join(State a, State b) {
        if (beats<LARGEST>(a.value, b.value)) return a;
        if (beats<LARGEST>(b.value, a.value)) return b;
        return a.at < b.at ? a : b;
    }
    __device__ static void finish(State s, i64, double, OUT* out, i64* aux, i64 i) {
        if (out) out[i] = convert<OUT>(s.value);
        aux[i] = s.at;
    }
};
typedef ExtremeAt<true> MaxAt;
typedef ExtremeAt<false> MinAt;

template <bool OF_ALL> struct Truth {
    typedef u32 State;
    __device__ static State identity() { return OF_ALL; }
    __device__ static State step(State s, T x, i64, double) { return join(s, convert<bool>(x)); }
    __device__ static State join(State a, State b) { return OF_ALL ? a & b : a | b; }
    template <class Aux>
    __device__ static void finish(State s, i64, double, OUT* out, Aux*, i64 i) {
        out[i] = convert<OUT>(s);
    }
};
typedef Truth<false> Any;
typedef Truth<true> All;

// Variance by Welford's running mean, joined as by Chan, Golub and LeVeque (1983). The number given
// is the correction; the mean goes to `aux` where it is not null.
template <bool ROOT> struct Moments {
    struct State {
        ACC mean, squares;
        i64 count;
    };
    __device__ static State identity() { return State{0, 0, 0}; }
    __device__ static State step(State s, T x, i64, double) {
        ACC v = convert<ACC>(x), d = v - s.mean;
        s.count++;
        // No thread walks over 2^32 elements.
        s.mean += d * reciprocal((ACC)(u32)s.count);
        s.squares += d * (v - s.mean);
        return s;
    }
    __device__ static State join(State a, State b) {
        if (b.count == 0) return a;
        if (a.count == 0) return b;
        i64 n = a.count + b.count;
        ACC d = b.mean - a.mean, share = (ACC)b.count / (ACC)n;
        return State{a.mean + d * share, a.squares + b.squares + d * d * (ACC)a.count * share, n};
    }
    __device__ static void finish(State s, i64 n, double correction, OUT* out, OUT* aux, i64 i) {
        ACC by = (ACC)((double)n - correction);
        ACC v = s.squares / (by > 0 ? by : (ACC)0);
        out[i] = convert<OUT>(ROOT ? square_root(v) : v);
        if (aux) aux[i] = convert<OUT>(n > 0 ? s.mean : (ACC)NAN);
    }
};
typedef Moments<false> Var;
typedef Moments<true> Std;

#ifndef AUX
#define AUX OUT
#endif
typedef OP::State State;
struct Join {
    __device__ State operator()(State a, State b) const { return OP::join(a, b); }
};

// The state of elements from..to of the row at `x`, as far as this thread is concerned.
__device__ inline State walk(const T* x, const Layout<1>& reduced, i64 from, i64 to, int thread,
                             int threads, double p) {
    State s = OP::identity();
    if (reduced.ndim == 0 || (reduced.ndim == 1 && reduced.stride[0][0] == 1)) {
        each_of_row(x, from, to, thread, threads, [&](i64 i, T v) { s = OP::step(s, v, i, p); });
    } else {
        for (i64 i = from + thread; i < to; i += threads)
            s = OP::step(s, x[offset_of(reduced, i)], i, p);
    }
    return s;
}

extern "C" __global__ void __launch_bounds__(256)
reduce_rows(const T* x, OUT* out, AUX* aux, State* parts, Layout<1> kept, Layout<1> reduced, i64 n,
            i64 pieces, i64 piece, double p) {
    i64 row = blockIdx.x / pieces, k = blockIdx.x % pieces, from = k * piece;
    State s = walk(x + offset_of(kept, row), reduced, from, min(from + piece, n), threadIdx.x,
                   blockDim.x, p);
    s = block_reduce(s, OP::identity(), Join());
    if (threadIdx.x != 0) return;
    if (pieces > 1)
        parts[row * pieces + k] = s;
    else
        OP::finish(s, n, p, out, aux, row);
}

extern "C" __global__ void __launch_bounds__(256)
reduce_warps(const T* x, OUT* out, AUX* aux, Layout<1> kept, Layout<1> reduced, i64 rows, i64 n,
             double p) {
    i64 row = global_thread() / WARP;
    if (row >= rows) return;
    int lane = threadIdx.x % WARP;
    State s = walk(x + offset_of(kept, row), reduced, 0, n, lane, WARP, p);
    s = warp_reduce(s, Join());
    if (lane == 0) OP::finish(s, n, p, out, aux, row);
}

const int LINES = 8;

extern "C" __global__ void __launch_bounds__(256)
reduce_columns(const T* x, OUT* out, AUX* aux, State* parts, Layout<1> kept, Layout<1> reduced,
               i64 columns, i64 n, i64 pieces, i64 piece, double p) {
    __shared__ State tile[LINES][WARP];
    i64 column = (i64)blockIdx.x * WARP + threadIdx.x, from = blockIdx.y * piece;
    i64 to = min(from + piece, n);
    State s = OP::identity();
    if (column < columns) {
        const T* top = x + offset_of(kept, column);
        i64 i = from + threadIdx.y;
        if (reduced.ndim == 1) {
            const i64 step = LINES * reduced.stride[0][0];
            const T* at = top + i * reduced.stride[0][0];
            // Several loads on their way at a time.
            const int AHEAD = 4;
            for (; i + (AHEAD - 1) * LINES < to; i += AHEAD * LINES, at += AHEAD * step) {
                T v[AHEAD];
#pragma unroll
                for (int k = 0; k < AHEAD; k++) v[k] = at[k * step];
#pragma unroll
                for (int k = 0; k < AHEAD; k++) s = OP::step(s, v[k], i + k * LINES, p);
            }
        }
        for (; i < to; i += LINES) s = OP::step(s, top[offset_of(reduced, i)], i, p);
    }
    tile[threadIdx.y][threadIdx.x] = s;
    __syncthreads();
    if (threadIdx.y != 0 || column >= columns) return;
    for (int k = 1; k < LINES; k++) s = OP::join(s, tile[k][threadIdx.x]);
    if (pieces > 1)
        parts[column * pieces + blockIdx.y] = s;
    else
        OP::finish(s, n, p, out, aux, column);
}

extern "C" __global__ void __launch_bounds__(256)
reduce_parts(const State* parts, OUT* out, AUX* aux, i64 rows, i64 n, i64 pieces, double p) {
    i64 row = global_thread() / WARP;
    if (row >= rows) return;
    int lane = threadIdx.x % WARP;
    State s = OP::identity();
    for (i64 k = lane; k < pieces; k += WARP) s = OP::join(s, parts[row * pieces + k]);
    s = warp_reduce(s, Join());
    if (lane == 0) OP::finish(s, n, p, out, aux, row);
}
