// Running results along the middle dimension of [outer, n, inner].
//
// Defines: OP (Sum, Prod, Linear, MaxAt, MinAt), ELEMENT, ACC (what runs), OUT. `scan_rows` (inner
// = 1): a block of 256 threads for each of a row's `pieces`, of `piece` elements, which it walks over chunk
// by chunk. Where there are several, `scan_totals` says before what each comes to, and `scan_parts`, a block
// for each row, what stands before it. `scan_columns`: a thread for each column. `reverse` runs from the
// end. Order is fixed.
#include "common.cuh"

typedef ELEMENT T;

struct Sum {
    typedef ACC State;
    __device__ static State identity() { return 0; }
    __device__ static State of(T x, T, i64) { return convert<ACC>(x); }
    __device__ static State join(State a, State b) { return a + b; }
    __device__ static void put(State s, OUT* out, i64*, i64 i) { out[i] = convert<OUT>(s); }
};
struct Prod : Sum {
    __device__ static State identity() { return 1; }
    __device__ static State join(State a, State b) { return a * b; }
};
// y[k] = x[k] + c[k] * y[k - 1]: a step is y -> value + factor * y, and so are several.
struct Linear {
    struct State {
        ACC value, factor;
    };
    __device__ static State identity() { return State{0, 1}; }
    __device__ static State of(T x, T c, i64) { return State{convert<ACC>(x), convert<ACC>(c)}; }
    __device__ static State join(State a, State b) {
        return State{b.value + b.factor * a.value, a.factor * b.factor};
    }
    __device__ static void put(State s, OUT* out, i64*, i64 i) { out[i] = convert<OUT>(s.value); }
};
// The best so far and where it stands, the last among equals.
template <bool LARGEST> struct ExtremeAt {
    struct State {
        ACC value;
        i64 at;
    };
    __device__ static State identity() { return State{0, -1}; }
    __device__ static State of(T x, T, i64 k) { return State{convert<ACC>(x), k}; }
    __device__ static State join(State a, State b) {
        if (b.at < 0) return a;
        return a.at >= 0 && beats<LARGEST>(a.value, b.value) ? a : b;
    }
    __device__ static void put(State s, OUT* out, i64* at, i64 i) {
        out[i] = convert<OUT>(s.value);
        at[i] = s.at;
    }
};
typedef ExtremeAt<true> MaxAt;
typedef ExtremeAt<false> MinAt;
typedef OP::State State;

// The running results of a block's threads, each with those before it; `total` of all of them.
__device__ inline State block_scan(State s, State& total) {
    __shared__ State warps[WARP];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    for (int by = 1; by < WARP; by *= 2) {
        State before = shuffle_up(s, by);
        if (lane >= by) s = OP::join(before, s);
    }
    __syncthreads();
    if (lane == WARP - 1) warps[warp] = s;
    __syncthreads();
    State before = OP::identity();
    total = before;
    for (int w = 0; w < (int)blockDim.x / WARP; w++) {
        if (w == warp) before = total;
        total = OP::join(total, warps[w]);
    }
    return OP::join(before, s);
}

// What the thread before has; the first one has the identity.
__device__ inline State the_one_before(State s) {
    __shared__ State all[256];
    __syncthreads();
    all[threadIdx.x] = s;
    __syncthreads();
    return threadIdx.x == 0 ? OP::identity() : all[threadIdx.x - 1];
}

// The running results of row elements first..end, each by put(place, state), after `carry`; returns the
// last one. `c` has the factors of Linear, else it is null.
template <class Put>
__device__ inline State walk(const T* x, const T* c, i64 n, i64 first, i64 end, int reverse, State carry,
                             Put put) {
    for (; first < end; first += blockDim.x) {
        i64 k = first + threadIdx.x, place = reverse ? n - 1 - k : k;
        State s = OP::identity(), total;
        if (k < end) s = OP::of(x[place], c ? c[place] : x[place], place);
        s = block_scan(s, total);
        if (k < end) put(place, OP::join(carry, s));
        carry = OP::join(carry, total);
    }
    return carry;
}

// What the elements of each piece come to.
extern "C" __global__ void __launch_bounds__(256)
scan_totals(const T* x, const T* c, State* parts, i64 n, i64 pieces, i64 piece, int reverse) {
    i64 row = blockIdx.x / pieces * n, first = blockIdx.x % pieces * piece;
    State total = walk(x + row, c ? c + row : c, n, first, min(first + piece, n), reverse, OP::identity(),
                       [](i64, State) {});
    if (threadIdx.x == 0) parts[blockIdx.x] = total;
}

// What stands before each piece, in place of what it comes to.
extern "C" __global__ void __launch_bounds__(256)
scan_parts(State* parts, i64 pieces) {
    State* mine = parts + blockIdx.x * pieces;
    State carry = OP::identity();
    for (i64 first = 0; first < pieces; first += blockDim.x) {
        i64 k = first + threadIdx.x;
        State s = k < pieces ? mine[k] : OP::identity(), total, before = the_one_before(block_scan(s, total));
        __syncthreads();
        if (k < pieces) mine[k] = OP::join(carry, before);
        carry = OP::join(carry, total);
    }
}

extern "C" __global__ void __launch_bounds__(256)
scan_rows(const T* x, const T* c, OUT* out, i64* at, const State* parts, i64 n, i64 pieces, i64 piece,
          int reverse) {
    i64 row = blockIdx.x / pieces * n, first = blockIdx.x % pieces * piece;
    State carry = parts ? parts[blockIdx.x] : OP::identity();
    walk(x + row, c ? c + row : c, n, first, min(first + piece, n), reverse, carry,
         [&](i64 place, State s) { OP::put(s, out, at, row + place); });
}

extern "C" __global__ void __launch_bounds__(256)
scan_columns(const T* x, const T* c, OUT* out, i64* at, i64 outer, i64 n, i64 inner, int reverse) {
    for (i64 j = global_thread(); j < outer * inner; j += global_threads()) {
        i64 block = quotient(j, inner), top = block * n * inner + j - block * inner;
        State s = OP::identity();
        for (i64 k = 0; k < n; k++) {
            i64 place = reverse ? n - 1 - k : k, i = top + place * inner;
            s = OP::join(s, OP::of(x[i], c ? c[i] : x[i], place));
            OP::put(s, out, at, i);
        }
    }
}
