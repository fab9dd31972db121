// One pass over many tensors: optimizers' updates and what goes with them, in one launch.
//
// A `List` holds up to TENSORS tensors of up to DEPTH arrays each by value; block b takes one chunk
// of CHUNK elements of the tensor that `first` names. Defines: ELEMENT (all arrays), ACC, WRITES and
// READS (how many arrays an update changes and reads), BODY (statements over w0 to w3, which it
// may assign, r0, r1, and the numbers p0 to p11, all ACC). Launch: 256 threads, a block for each chunk.
#include "common.cuh"
#include "math.cuh"

typedef ELEMENT T;

const int TENSORS = 48, DEPTH = 6, NUMBERS = 24;
const int CHUNK = 4096;

struct List {
    u64 array[DEPTH][TENSORS];
    i64 length[TENSORS];
    u32 first[TENSORS + 1]; // The first chunk of each tensor, and how many there are in all.
    u32 count;
};
struct Numbers {
    double p[NUMBERS];
};

// The tensor whose chunk this block takes, and where the chunk starts.
__device__ inline int mine(const List& list, i64& from) {
    int low = 0, high = (int)list.count;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (list.first[middle] <= blockIdx.x)
            low = middle;
        else
            high = middle;
    }
    from = (i64)(blockIdx.x - list.first[low]) * CHUNK;
    return low;
}

#ifdef BODY
// `numbers`, where not null, holds the numbers on the device: for launches that are replayed.
// `found`, where not null and not 0, says that the step is not to be taken; gradients (r0) are
// multiplied by `scale`, where not null.
extern "C" __global__ void __launch_bounds__(256)
update(List list, Numbers given, const double* numbers, const float* scale, const float* found) {
    if (found && *found != 0) return;
    i64 from;
    int t = mine(list, from);
    i64 to = min(from + CHUNK, list.length[t]);
    ACC p[NUMBERS];
#pragma unroll
    for (int i = 0; i < NUMBERS; i++) p[i] = (ACC)(numbers ? numbers[i] : given.p[i]);
    const ACC p0 = p[0], p1 = p[1], p2 = p[2], p3 = p[3], p4 = p[4], p5 = p[5], p6 = p[6],
              p7 = p[7], p8 = p[8], p9 = p[9], p10 = p[10], p11 = p[11];
    (void)p0, (void)p1, (void)p2, (void)p3, (void)p4, (void)p5;
    (void)p6, (void)p7, (void)p8, (void)p9, (void)p10, (void)p11;
    ACC unscale = scale ? (ACC)*scale : (ACC)1;
    const int N = Width<T>::value, ARRAYS = WRITES + READS;
    T* array[ARRAYS];
    bool vectors = true;
#pragma unroll
    for (int a = 0; a < ARRAYS; a++) {
        array[a] = (T*)list.array[a][t];
        vectors = vectors && aligned<N>(array[a]);
    }
    for (i64 i = from + (i64)threadIdx.x * N; i < to; i += (i64)blockDim.x * N) {
        bool whole = vectors && i + N <= to;
        Vector<T, N> v[ARRAYS];
#pragma unroll
        for (int a = 0; a < ARRAYS; a++) {
            if (whole)
                v[a] = load<N>(array[a] + i);
            else
                for (int k = 0; k < N && i + k < to; k++) v[a].at[k] = array[a][i + k];
        }
#pragma unroll
        for (int k = 0; k < N; k++) {
            if (i + k >= to) break;
            ACC w0 = convert<ACC>(v[0].at[k]);
            [[maybe_unused]] ACC w1 = WRITES > 1 ? convert<ACC>(v[WRITES > 1 ? 1 : 0].at[k]) : (ACC)0;
            [[maybe_unused]] ACC w2 = WRITES > 2 ? convert<ACC>(v[WRITES > 2 ? 2 : 0].at[k]) : (ACC)0;
            [[maybe_unused]] ACC w3 = WRITES > 3 ? convert<ACC>(v[WRITES > 3 ? 3 : 0].at[k]) : (ACC)0;
            [[maybe_unused]] ACC r0 = READS > 0 ? convert<ACC>(v[READS > 0 ? WRITES : 0].at[k]) * unscale : (ACC)0;
            [[maybe_unused]] ACC r1 = READS > 1 ? convert<ACC>(v[READS > 1 ? WRITES + 1 : 0].at[k]) : (ACC)0;
            BODY;
            v[0].at[k] = convert<T>(w0);
            if (WRITES > 1) v[WRITES > 1 ? 1 : 0].at[k] = convert<T>(w1);
            if (WRITES > 2) v[WRITES > 2 ? 2 : 0].at[k] = convert<T>(w2);
            if (WRITES > 3) v[WRITES > 3 ? 3 : 0].at[k] = convert<T>(w3);
        }
#pragma unroll
        for (int a = 0; a < WRITES; a++) {
            if (whole)
                store<N>(array[a] + i, v[a]);
            else
                for (int k = 0; k < N && i + k < to; k++) array[a][i + k] = v[a].at[k];
        }
    }
}
#else
// The sum of squares of each chunk, in double.
extern "C" __global__ void __launch_bounds__(256) list_squares(List list, double* parts) {
    i64 from;
    int t = mine(list, from);
    const T* x = (const T*)list.array[0][t];
    double sum = 0;
    each_of_row(x, from, min(from + CHUNK, list.length[t]), threadIdx.x, blockDim.x, [&](i64, T v) {
        double wide = (double)convert<ACC>(v);
        sum += wide * wide;
    });
    sum = block_sum(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// The root of the sum of all parts, by one block.
extern "C" __global__ void __launch_bounds__(1024)
list_norm(const double* parts, i64 n, float* out) {
    double sum = 0;
    for (i64 i = threadIdx.x; i < n; i += blockDim.x) sum += parts[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *out = (float)sqrt(sum);
}

// Multiplies by `scale`; `found` becomes 1 where an element is then no finite number.
extern "C" __global__ void __launch_bounds__(256)
list_unscale(List list, const float* scale, float* found) {
    i64 from;
    int t = mine(list, from);
    T* x = (T*)list.array[0][t];
    ACC by = (ACC)*scale;
    bool bad = false;
    for (i64 i = from + threadIdx.x; i < min(from + CHUNK, list.length[t]); i += blockDim.x) {
        ACC v = convert<ACC>(x[i]) * by;
        bad = bad || !(v - v == 0);
        x[i] = convert<T>(v);
    }
    // Whoever writes, writes the same.
    if (bad) *found = 1.0f;
}
#endif
