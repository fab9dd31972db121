// Philox 4x32-10 and what is made of its words, as cuRAND makes it.
#pragma once

struct Words {
    u32 x, y, z, w;
};

__device__ inline Words philox(u64 seed, u64 subsequence, u64 call) {
    u32 c0 = (u32)call, c1 = (u32)(call >> 32), c2 = (u32)subsequence, c3 = (u32)(subsequence >> 32);
    u32 k0 = (u32)seed, k1 = (u32)(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        u32 high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
        u32 high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return Words{c0, c1, c2, c3};
}

// From (0, 1]; a double takes 53 of two words' bits.
__device__ inline float unit(u32 x) { return x * 2.3283064e-10f + 2.3283064e-10f / 2.0f; }
__device__ inline double unit(u32 x, u32 y) {
    u64 bits = (u64)x ^ ((u64)y << 21);
    return bits * 1.1102230246251565e-16 + 1.1102230246251565e-16 / 2.0;
}

// The numbers of one call: COUNT of them.
template <class R> struct Draw;
template <> struct Draw<float> {
    static const int COUNT = 4;
    __device__ static void uniform(Words w, float (&out)[4]) {
        out[0] = unit(w.x), out[1] = unit(w.y), out[2] = unit(w.z), out[3] = unit(w.w);
    }
    // Box and Muller's pairs; the angle is from (0, 2 pi].
    __device__ static void normal(Words w, float (&out)[4]) {
        const float turn = 2.3283064e-10f * 6.2831855f;
        float r = sqrtf(-2.0f * logf(unit(w.x))), v = w.y * turn + turn / 2;
        out[0] = r * __sinf(v), out[1] = r * __cosf(v);
        r = sqrtf(-2.0f * logf(unit(w.z))), v = w.w * turn + turn / 2;
        out[2] = r * __sinf(v), out[3] = r * __cosf(v);
    }
};
template <> struct Draw<double> {
    static const int COUNT = 2;
    __device__ static void uniform(Words w, double (&out)[2]) {
        out[0] = unit(w.x, w.y), out[1] = unit(w.z, w.w);
    }
    __device__ static void normal(Words w, double (&out)[2]) {
        double r = sqrt(-2.0 * log(unit(w.x, w.y))), v = 2 * unit(w.z, w.w), s, c;
        sincospi(v, &s, &c);
        out[0] = r * s, out[1] = r * c;
    }
};
