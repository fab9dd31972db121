// Rows of `n` neighbours in ascending or descending order, equal elements as they stand, NaN as the
// greatest; values and positions of the first `k`.
//
// Positions break ties, so that the order is total. Defines: ELEMENT, ACC (compared in).
//
// `sort_rows`: rows up to LOCAL, a block of size / 2 threads each, by a bitonic network (Batcher 1968) in
// shared memory; `size` is a power of two. Longer rows: `sort_start` sorts pieces of LOCAL in the same way
// into `values` and `positions` [rows, n], and `sort_merge` merges pairs of sorted runs of `span` into
// others, for span = LOCAL, 2 * LOCAL and so on: a block of 512 threads for each tile of LOCAL results,
// whose part of both runs it finds by bisection (merge path, Odeh et al. 2012). Of each run only the first
// `k` are looked at. `sort_finish` writes the results.
#include "common.cuh"

typedef ELEMENT T;

const int LOCAL = 1024;
// The position of padding, which comes last.
const u32 NONE = 0xffffffffu;

struct Item {
    T value;
    u32 position;
};

__device__ inline bool after(Item a, Item b, int descending) {
    if (a.position == NONE || b.position == NONE) return a.position == NONE && b.position != NONE;
    ACC x = convert<ACC>(a.value), y = convert<ACC>(b.value);
    if (beats<true>(x, y)) return !descending;
    if (beats<true>(y, x)) return descending;
    return a.position > b.position;
}

__device__ inline void compare(T* values, u32* positions, int i, int j, bool up, int descending) {
    Item a = {values[i], positions[i]}, b = {values[j], positions[j]};
    if (after(a, b, descending) == up) {
        values[i] = b.value, positions[i] = b.position;
        values[j] = a.value, positions[j] = a.position;
    }
}

// Comparisons in shared memory, at distances from `distance` down, for blocks of half as many threads as
// there are elements; `span` is the length of runs.
__device__ inline void merge(T* values, u32* positions, int span, int distance, int descending) {
    for (; distance > 0; distance /= 2) {
        int i = (int)threadIdx.x / distance * 2 * distance + (int)threadIdx.x % distance;
        compare(values, positions, i, i + distance, (i & span) == 0, descending);
        __syncthreads();
    }
}

extern "C" __global__ void __launch_bounds__(512)
sort_rows(const T* x, T* out, i64* order, i64 n, i64 k, int descending) {
    __shared__ T values[LOCAL];
    __shared__ u32 positions[LOCAL];
    int size = 2 * blockDim.x;
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        if (i < n) values[i] = x[blockIdx.x * n + i];
        positions[i] = i < n ? (u32)i : NONE;
    }
    __syncthreads();
    for (int span = 2; span <= size; span *= 2) merge(values, positions, span, span / 2, descending);
    for (int i = threadIdx.x; i < k; i += blockDim.x) {
        if (out) out[blockIdx.x * k + i] = values[i];
        order[blockIdx.x * k + i] = positions[i];
    }
}

extern "C" __global__ void __launch_bounds__(512)
sort_start(const T* x, T* values, u32* positions, i64 n, int descending) {
    __shared__ T local[LOCAL];
    __shared__ u32 places[LOCAL];
    i64 pieces = (n + LOCAL - 1) / LOCAL, row = blockIdx.x / pieces, first = blockIdx.x % pieces * LOCAL;
    i64 start = row * n + first, count = n - first;
    for (int i = threadIdx.x; i < LOCAL; i += blockDim.x) {
        if (i < count) local[i] = x[start + i];
        places[i] = i < count ? (u32)(first + i) : NONE;
    }
    __syncthreads();
    for (int span = 2; span <= LOCAL; span *= 2) merge(local, places, span, span / 2, descending);
    for (int i = threadIdx.x; i < LOCAL && i < count; i += blockDim.x)
        values[start + i] = local[i], positions[start + i] = places[i];
}

// A sorted run.
struct Run {
    const T* values;
    const u32* positions;
    i64 count;
    __device__ Item at(i64 i) const { return Item{values[i], positions[i]}; }
};
// How many of the first `o` elements of both runs merged are of `a`.
__device__ inline i64 share(Run a, Run b, i64 o, int descending) {
    i64 low = max(o - b.count, (i64)0), high = min(o, a.count);
    while (low < high) {
        i64 middle = (low + high) / 2;
        if (after(a.at(middle), b.at(o - 1 - middle), descending))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

extern "C" __global__ void __launch_bounds__(512)
sort_merge(const T* values, const u32* positions, T* to, u32* to_positions, i64 n, i64 k, i64 span,
           i64 pairs, i64 tiles, int descending) {
    __shared__ T local[LOCAL], merged[LOCAL];
    __shared__ u32 places[LOCAL], merged_places[LOCAL];
    __shared__ i64 shares[2];
    i64 tile = blockIdx.x % tiles, pair = blockIdx.x / tiles % pairs, row = blockIdx.x / tiles / pairs;
    i64 first = row * n + pair * 2 * span, rest = n - pair * 2 * span;
    Run a = {values + first, positions + first, min(min(span, rest), k)};
    Run b = {a.values + span, a.positions + span, min(max(min(span, rest - span), (i64)0), k)};
    i64 from = tile * LOCAL, end = min(from + LOCAL, min(a.count + b.count, k));
    if (from >= end) return;
    if (threadIdx.x < 2) shares[threadIdx.x] = share(a, b, threadIdx.x == 0 ? from : end, descending);
    __syncthreads();
    i64 left = shares[0], right = from - left;
    int count = (int)(end - from), lefts = (int)(shares[1] - left);
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        Item item = i < lefts ? a.at(left + i) : b.at(right + i - lefts);
        local[i] = item.value, places[i] = item.position;
    }
    __syncthreads();
    // Each element's place: after those before it in its own run, and those of the other that it is after.
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        Item item = {local[i], places[i]};
        bool mine = i < lefts;
        int base = mine ? lefts : 0, low = 0, high = mine ? count - lefts : lefts;
        while (low < high) {
            int middle = (low + high) / 2;
            if (after(item, Item{local[base + middle], places[base + middle]}, descending))
                low = middle + 1;
            else
                high = middle;
        }
        int place = (mine ? i : i - lefts) + low;
        merged[place] = item.value, merged_places[place] = item.position;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += blockDim.x)
        to[first + from + i] = merged[i], to_positions[first + from + i] = merged_places[i];
}

extern "C" __global__ void __launch_bounds__(256)
sort_finish(const T* values, const u32* positions, T* out, i64* order, i64 rows, i64 n, i64 k) {
    for (i64 t = global_thread(); t < rows * k; t += global_threads()) {
        i64 row = quotient(t, k), at = row * n + t - row * k;
        if (out) out[t] = values[at];
        order[t] = positions[at];
    }
}
