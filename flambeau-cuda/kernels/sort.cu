// Rows of `n` neighbours in ascending or descending order, equal elements as they stand, NaN as the
// greatest; values and positions of the first `k`.
//
// A bitonic network (Batcher 1968) over rows padded to a power of two, `size`. Positions break ties,
// so that the order is total and the network stable. Defines: ELEMENT, ACC (compared in).
//
// `sort_rows`: rows up to LOCAL, a block of size / 2 threads each, in shared memory. Longer rows lie in
// `values` and `positions` [rows, size]: `sort_start` sorts pieces of LOCAL, then for each span
// 2 * LOCAL .. size `sort_step` compares at distances down to LOCAL and `sort_merge` does the rest
// in shared memory; `sort_finish` writes the results.
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

__device__ inline void compare(T* values, u32* positions, i64 i, i64 j, bool up, int descending) {
    Item a = {values[i], positions[i]}, b = {values[j], positions[j]};
    if (after(a, b, descending) == up) {
        values[i] = b.value, positions[i] = b.position;
        values[j] = a.value, positions[j] = a.position;
    }
}

// Comparisons of a piece of `size` elements in shared memory, at distances from `distance` down, for
// blocks of size / 2 threads. `first` is the piece's place in its row, `span` the length of runs.
__device__ inline void merge(T* values, u32* positions, i64 first, i64 span, int distance,
                             int descending) {
    for (; distance > 0; distance /= 2) {
        int i = (int)threadIdx.x / distance * 2 * distance + (int)threadIdx.x % distance;
        compare(values, positions, i, i + distance, ((first + i) & span) == 0, descending);
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
    for (int span = 2; span <= size; span *= 2) merge(values, positions, 0, span, span / 2, descending);
    for (int i = threadIdx.x; i < k; i += blockDim.x) {
        if (out) out[blockIdx.x * k + i] = values[i];
        order[blockIdx.x * k + i] = positions[i];
    }
}

// A piece of a padded row, to shared memory and back.
__device__ inline void fetch(const T* values, const u32* positions, T* to, u32* to_positions) {
    for (int i = threadIdx.x; i < LOCAL; i += blockDim.x)
        to[i] = values[i], to_positions[i] = positions[i];
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(512)
sort_start(const T* x, T* values, u32* positions, i64 n, i64 size,
                                      int descending) {
    __shared__ T local[LOCAL];
    __shared__ u32 places[LOCAL];
    i64 pieces = size / LOCAL, row = blockIdx.x / pieces, first = blockIdx.x % pieces * LOCAL;
    for (int i = threadIdx.x; i < LOCAL; i += blockDim.x) {
        if (first + i < n) local[i] = x[row * n + first + i];
        places[i] = first + i < n ? (u32)(first + i) : NONE;
    }
    __syncthreads();
    for (int span = 2; span <= LOCAL; span *= 2) merge(local, places, first, span, span / 2, descending);
    fetch(local, places, values + row * size + first, positions + row * size + first);
}

extern "C" __global__ void __launch_bounds__(256)
sort_step(T* values, u32* positions, i64 rows, i64 size, i64 span, i64 distance, int descending) {
    for (i64 t = global_thread(); t < rows * size / 2; t += global_threads()) {
        i64 row = t / (size / 2), p = t % (size / 2);
        i64 i = p / distance * 2 * distance + p % distance;
        compare(values + row * size, positions + row * size, i, i + distance, (i & span) == 0,
                descending);
    }
}

extern "C" __global__ void __launch_bounds__(512)
sort_merge(T* values, u32* positions, i64 size, i64 span, int descending) {
    __shared__ T local[LOCAL];
    __shared__ u32 places[LOCAL];
    i64 pieces = size / LOCAL, row = blockIdx.x / pieces, first = blockIdx.x % pieces * LOCAL;
    T* mine = values + row * size + first;
    u32* my_places = positions + row * size + first;
    fetch(mine, my_places, local, places);
    merge(local, places, first, span, LOCAL / 2, descending);
    fetch(local, places, mine, my_places);
}

extern "C" __global__ void __launch_bounds__(256)
sort_finish(const T* values, const u32* positions, T* out, i64* order, i64 rows, i64 size, i64 k) {
    for (i64 t = global_thread(); t < rows * k; t += global_threads()) {
        i64 at = t / k * size + t % k;
        if (out) out[t] = values[at];
        order[t] = positions[at];
    }
}
