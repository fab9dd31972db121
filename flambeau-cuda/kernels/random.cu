// Random numbers: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// 2011), in the arrangement that PyTorch's CUDA generator has, so that the same seed gives the same
// numbers.
//
// Thread t of the grid draws from subsequence t of the seed, from `offset` (a multiple of 4) on: four
// words (two doubles) a call, which go to elements t, t + threads, t + 2 threads, ... The grid
// therefore matters: the host launches PyTorch's, and advances its offset by what it says.
//
// Defines: KIND (Uniform, Normal, Bernoulli, Integers, WideIntegers), OUT, ACC (float or double).
#include "common.cuh"
#include "philox.cuh"

// What a kind makes of a call's words: COUNT results. `a` and `b` are the launch's numbers.
struct Uniform { // From a to b, b excluded.
    static const int COUNT = Draw<ACC>::COUNT;
    __device__ static void draw(Words w, OUT (&out)[COUNT], double a, double b, u64, i64) {
        ACC r[COUNT];
        Draw<ACC>::uniform(w, r);
        OUT from = convert<OUT>(a), to = convert<OUT>(b);
        ACC low = convert<ACC>(from), range = convert<ACC>(convert<OUT>(convert<ACC>(to) - low));
        for (int k = 0; k < COUNT; k++) {
            out[k] = convert<OUT>(r[k] * range + low);
            // The upper end, which rounding reaches too, becomes the lower one.
            if (convert<ACC>(out[k]) == convert<ACC>(to)) out[k] = from;
        }
    }
};
struct Normal { // Mean a, deviation b.
    static const int COUNT = Draw<ACC>::COUNT;
    __device__ static void draw(Words w, OUT (&out)[COUNT], double a, double b, u64, i64) {
        ACC r[COUNT];
        Draw<ACC>::normal(w, r);
        for (int k = 0; k < COUNT; k++) out[k] = convert<OUT>(r[k] * (ACC)b + (ACC)a);
    }
};
struct Bernoulli { // 1 with probability a.
    static const int COUNT = Draw<ACC>::COUNT;
    __device__ static void draw(Words w, OUT (&out)[COUNT], double a, double, u64, i64) {
        ACC r[COUNT];
        Draw<ACC>::uniform(w, r);
        for (int k = 0; k < COUNT; k++) out[k] = convert<OUT>(r[k] < (ACC)a);
    }
};
struct Integers { // base + a word modulo range.
    static const int COUNT = 4;
    __device__ static void draw(Words w, OUT (&out)[4], double, double, u64 range, i64 base) {
        u32 words[4] = {w.x, w.y, w.z, w.w};
        for (int k = 0; k < 4; k++) out[k] = convert<OUT>((i64)(words[k] % range) + base);
    }
};
struct WideIntegers { // The same with two words; PyTorch's from a range of 2^28 on.
    static const int COUNT = 2;
    __device__ static void draw(Words w, OUT (&out)[2], double, double, u64 range, i64 base) {
        u64 words[2] = {(u64)w.x << 32 | w.y, (u64)w.z << 32 | w.w};
        for (int k = 0; k < 2; k++)
            out[k] = convert<OUT>((i64)((range ? words[k] % range : words[k]) + (u64)base));
    }
};

// `state`, where not null, holds seed and offset on the device: for launches that are replayed, to
// whose own offset it adds.
extern "C" __global__ void __launch_bounds__(256)
draw_random(OUT* out, i64 n, u64 seed, u64 offset, const u64* state, double a, double b, u64 range,
       i64 base) {
    if (state) seed = state[0], offset += state[1];
    const int COUNT = KIND::COUNT;
    u64 threads = global_threads(), thread = global_thread(), call = offset / 4;
    for (u64 first = thread; first < (u64)n; first += threads * COUNT, call++) {
        OUT drawn[COUNT];
        KIND::draw(philox(seed, thread, call), drawn, a, b, range, base);
#pragma unroll
        for (int k = 0; k < COUNT; k++)
            if (first + k * threads < (u64)n) out[first + k * threads] = drawn[k];
    }
}
