// What every kernel file includes: element types, conversions, index arithmetic, reductions over
// a warp and a block, dynamic shared memory.
//
// The same text is compiled by NVRTC for a GPU and, in the tests, by a C++ compiler with
// src/emulate/emulate.h in front. It includes no header of CUDA, so that a machine needs none.
#pragma once

typedef long long i64;
typedef unsigned long long u64;
typedef unsigned int u32;
typedef signed char i8;
typedef unsigned char u8;
typedef short i16;

// Memory that the launch sizes, as an array of T called `name`.
#ifdef FLAMBEAU_EMULATE
#define DYNAMIC_SHARED(T, name) T* name = (T*)emulate::dynamic_shared_memory
#else
#define DYNAMIC_SHARED(T, name)                                                                    \
    extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];                         \
    T* name = (T*)dynamic_shared_memory
#endif
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef NAN
#define NAN __int_as_float(0x7fffffff)
#endif

const int WARP = 32;
const u32 ALL_LANES = 0xffffffffu;

// ------------------------------------------------------------------- 16-bit floating-point types
// Storage alone: kernels compute in float. CUDA's own headers would have to be found at run time.

struct f16 {
    unsigned short bits;
};
struct bf16 {
    unsigned short bits;
};

#ifdef FLAMBEAU_EMULATE
__device__ inline float widen(f16 x) {
    u32 sign = (u32)(x.bits & 0x8000) << 16, rest = x.bits & 0x7fff;
    if (rest >= 0x7c00) return __uint_as_float(sign | 0x7f800000 | (rest & 0x3ff) << 13);
    float magnitude = rest >= 0x400 ? __uint_as_float((rest << 13) + (112u << 23))
                                    : (float)rest * __uint_as_float(103u << 23); // 2^-24
    return __uint_as_float(sign | __float_as_uint(magnitude));
}
__device__ inline f16 narrow_f16(float x) {
    u32 bits = __float_as_uint(x), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    f16 out;
    if (rest > 0x7f800000)
        out.bits = (unsigned short)(sign | 0x7e00);
    else if (rest >= 0x477ff000) // What rounds to 2^16 and more.
        out.bits = (unsigned short)(sign | 0x7c00);
    else if (rest < 0x38800000) // Below 2^-14; adding 0.5 leaves the multiples of 2^-24.
        out.bits = (unsigned short)(sign | (__float_as_uint(__uint_as_float(rest) + 0.5f) - 0x3f000000));
    else
        out.bits = (unsigned short)(sign | (rest - (112u << 23) + 0xfff + (rest >> 13 & 1)) >> 13);
    return out;
}
__device__ inline bf16 narrow_bf16(float x) {
    u32 bits = __float_as_uint(x);
    bf16 out;
    out.bits = x != x ? 0x7fff : (unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    return out;
}
#else
__device__ inline float widen(f16 x) {
    float out;
    asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(x.bits));
    return out;
}
__device__ inline f16 narrow_f16(float x) {
    f16 out;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out.bits) : "f"(x));
    return out;
}
__device__ inline bf16 narrow_bf16(float x) {
    bf16 out;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out.bits) : "f"(x));
    return out;
}
#endif
__device__ inline float widen(bf16 x) { return __uint_as_float((u32)x.bits << 16); }
// Any other type stands for itself.
template <class T> __device__ inline T widen(T x) { return x; }

// ------------------------------------------------------------------------------------ conversions

// Towards zero; what is too large becomes the largest, NaN becomes 0.
__device__ inline i64 truncate(double x) {
    if (x != x) return 0;
    if (x >= 9223372036854775808.0) return 0x7fffffffffffffffLL;
    if (x < -9223372036854775808.0) return -0x7fffffffffffffffLL - 1;
    return (i64)x;
}
__device__ inline i64 truncate(float x) {
    if (x != x) return 0;
    if (x >= 9223372036854775808.0f) return 0x7fffffffffffffffLL;
    if (x < -9223372036854775808.0f) return -0x7fffffffffffffffLL - 1;
    return (i64)x;
}
template <class T> __device__ inline T truncate(T x) { return x; }

// PyTorch's conversions: towards integers floats are truncated, and narrow types wrap, by way of
// i64; towards bool whatever differs from zero is true; f64 goes to 16 bits by way of float.
template <class To> struct Convert {
    template <class From> __device__ static To from(From x) { return (To)truncate(widen(x)); }
};
template <> struct Convert<float> {
    template <class From> __device__ static float from(From x) { return (float)widen(x); }
};
template <> struct Convert<double> {
    template <class From> __device__ static double from(From x) { return (double)widen(x); }
};
template <> struct Convert<bool> {
    template <class From> __device__ static bool from(From x) { return widen(x) != 0; }
};
template <> struct Convert<f16> {
    template <class From> __device__ static f16 from(From x) { return narrow_f16((float)widen(x)); }
    __device__ static f16 from(f16 x) { return x; }
};
template <> struct Convert<bf16> {
    template <class From> __device__ static bf16 from(From x) { return narrow_bf16((float)widen(x)); }
    __device__ static bf16 from(bf16 x) { return x; }
};
template <class To, class From> __device__ inline To convert(From x) { return Convert<To>::from(x); }

template <class T> __device__ inline bool is_nan(T x) { return x != x; }

// The least number of a type that sums are taken in.
template <class A> __device__ inline A lowest();
template <> __device__ inline float lowest<float>() { return -INFINITY; }
template <> __device__ inline double lowest<double>() { return -(double)INFINITY; }
template <> __device__ inline int lowest<int>() { return -0x7fffffff - 1; }
template <> __device__ inline i64 lowest<i64>() { return -0x7fffffffffffffffLL - 1; }
template <class A> __device__ inline A highest();
template <> __device__ inline float highest<float>() { return INFINITY; }
template <> __device__ inline double highest<double>() { return (double)INFINITY; }
template <> __device__ inline int highest<int>() { return 0x7fffffff; }
template <> __device__ inline i64 highest<i64>() { return 0x7fffffffffffffffLL; }

template <class A> __device__ inline A power(A x, double p) { return (A)pow((double)x, p); }
__device__ inline float power(float x, double p) { return powf(x, (float)p); }
template <class A> __device__ inline A square_root(A x) { return (A)sqrt((double)x); }
__device__ inline float square_root(float x) { return sqrtf(x); }

// 1 / x and 1 / sqrt(x), in float within 2 units in the last place: a correctly rounded division takes
// ten times the instructions.
template <class A> __device__ inline A reciprocal(A x) { return 1 / x; }
template <class A> __device__ inline A inverse_root(A x) { return 1 / sqrt(x); }
__device__ inline float reciprocal(float x) { return __fdividef(1, x); }
__device__ inline float inverse_root(float x) { return rsqrtf(x); }

// Whether `a` is the better one: a NaN beats every number.
template <bool LARGEST, class A> __device__ inline bool beats(A a, A b) {
    return (LARGEST ? a > b : a < b) || (is_nan(a) && !is_nan(b));
}

// --------------------------------------------------------------------------- vectors of elements

// N elements that are loaded and stored as one; at most 16 bytes make one instruction.
template <class T, int N> struct __align__(sizeof(T) * N) Vector {
    T at[N];
};
template <int N, class T> __device__ inline Vector<T, N> load(const T* p) {
#ifdef FLAMBEAU_EMULATE
    if ((u64)p % sizeof(Vector<T, N>) != 0) {
        emulate::fail("a misaligned vector is loaded");
        emulate::stop_here();
    }
#endif
    return *(const Vector<T, N>*)p;
}
template <int N, class T> __device__ inline void store(T* p, const Vector<T, N>& v) {
#ifdef FLAMBEAU_EMULATE
    if ((u64)p % sizeof(Vector<T, N>) != 0) {
        emulate::fail("a misaligned vector is stored");
        emulate::stop_here();
    }
#endif
    *(Vector<T, N>*)p = v;
}
template <int N, class T> __device__ inline bool aligned(const T* p) {
    return (u64)p % (sizeof(T) * N) == 0;
}

// -------------------------------------------------------------------------------- strided tensors

const int MAX_DIMS = 8;

// The sizes that N tensors share, the last one running fastest, and the strides of each in
// elements. `magic` and `shift` divide by the sizes without a division, for places below 2^31
// (Granlund and Montgomery, "Division by invariant integers using multiplication", 1994).
template <int N> struct Layout {
    int ndim, unused;
    i64 size[MAX_DIMS];
    u32 magic[MAX_DIMS];
    u32 shift[MAX_DIMS];
    i64 stride[N][MAX_DIMS];
};

template <int N> __device__ inline u32 divide(const Layout<N>& l, int d, u32 i) {
    return (__umulhi(i, l.magic[d]) + i) >> l.shift[d];
}
template <int N> __device__ inline u64 divide(const Layout<N>& l, int d, u64 i) {
    return i / (u64)l.size[d];
}

// Where element `i`, counted row by row, lies in each tensor. I is u32 where every i is below 2^31.
template <class I, int N>
__device__ inline void offsets(const Layout<N>& l, I i, i64 (&at)[N]) {
#pragma unroll
    for (int n = 0; n < N; n++) at[n] = 0;
#pragma unroll
    for (int d = MAX_DIMS - 1; d >= 0; d--) {
        if (d >= l.ndim) continue;
        I q = d > 0 ? divide(l, d, i) : 0;
        i64 r = (i64)(i - q * (I)l.size[d]);
#pragma unroll
        for (int n = 0; n < N; n++) at[n] += r * l.stride[n][d];
        i = q;
    }
}
template <class I> __device__ inline i64 offset(const Layout<1>& l, I i) {
    i64 at[1];
    offsets<I>(l, i, at);
    return at[0];
}
// Of a place that may be beyond 2^31: rare, and 64-bit division is long, so that it is not inlined.
__device__ __noinline__ i64 far_offset(const Layout<1>& l, i64 i) { return offset<u64>(l, (u64)i); }
__device__ inline i64 offset_of(const Layout<1>& l, i64 i) {
    return i <= 0x7fffffff ? offset<u32>(l, (u32)i) : far_offset(l, i);
}

// Quotient and remainder of numbers that are not negative. 64-bit division is long, and rarely
// needed: it is not inlined.
__device__ __noinline__ i64 far_quotient(i64 a, i64 b) { return a / b; }
__device__ inline i64 quotient(i64 a, i64 b) {
    return (a | b) <= 0x7fffffff ? (i64)((u32)a / (u32)b) : far_quotient(a, b);
}
__device__ inline i64 modulo(i64 a, i64 b) { return a - quotient(a, b) * b; }

// The thread's number in the grid, and how many there are.
__device__ inline i64 global_thread() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline i64 global_threads() { return (i64)gridDim.x * blockDim.x; }

// ------------------------------------------------------------------------------------- reductions
// Always in the same order, whatever the timing: results have the same bits in each run.

template <class A> __device__ inline A shuffle_down(A value, int by) {
    static_assert(sizeof(A) % 4 == 0, "whole words");
    union {
        A whole;
        u32 words[sizeof(A) / 4];
    } u;
    u.whole = value;
#pragma unroll
    for (int i = 0; i < (int)(sizeof(A) / 4); i++)
        u.words[i] = __shfl_down_sync(ALL_LANES, u.words[i], by);
    return u.whole;
}

template <class A> __device__ inline A shuffle_up(A value, int by) {
    static_assert(sizeof(A) % 4 == 0, "whole words");
    union {
        A whole;
        u32 words[sizeof(A) / 4];
    } u;
    u.whole = value;
#pragma unroll
    for (int i = 0; i < (int)(sizeof(A) / 4); i++)
        u.words[i] = __shfl_up_sync(ALL_LANES, u.words[i], by);
    return u.whole;
}

// Of all lanes, in lane 0.
template <class A, class Join> __device__ inline A warp_reduce(A value, Join join) {
#pragma unroll
    for (int by = WARP / 2; by > 0; by /= 2) value = join(value, shuffle_down(value, by));
    return value;
}

// Of all threads of a block whose size is a multiple of a warp, in every thread.
template <class A, class Join> __device__ inline A block_reduce(A value, A identity, Join join) {
    __shared__ A parts[WARP];
    int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    int warps = (int)(blockDim.x * blockDim.y * blockDim.z) / WARP;
    value = warp_reduce(value, join);
    // What an earlier reduction left may still be read.
    __syncthreads();
    if (thread % WARP == 0) parts[thread / WARP] = value;
    __syncthreads();
    if (thread < WARP) {
        value = warp_reduce(thread < warps ? parts[thread] : identity, join);
        if (thread == 0) parts[0] = value;
    }
    __syncthreads();
    return parts[0];
}

template <class A> struct Add {
    __device__ A operator()(A a, A b) const { return a + b; }
};
template <class A> __device__ inline A block_sum(A value) {
    return block_reduce(value, A(0), Add<A>());
}

// ---------------------------------------------------------------------------------------- rows
// A block walks over a row of neighbours, 16 bytes for each thread at a time. Which thread gets
// which element does not depend on the row's address.

template <class T> struct Width {
    static const int value = 16 / (int)sizeof(T);
};

// Calls f(i, element) for elements from..to of the row.
template <class T, class F>
__device__ inline void each_of_row(const T* row, i64 from, i64 to, int thread, int threads, F f) {
    const int N = Width<T>::value;
    bool vectors = aligned<N>(row + from);
    for (i64 i = from + (i64)thread * N; i < to; i += (i64)threads * N) {
        if (vectors && i + N <= to) {
            Vector<T, N> v = load<N>(row + i);
#pragma unroll
            for (int k = 0; k < N; k++) f(i + k, v.at[k]);
        } else {
            for (int k = 0; k < N && i + k < to; k++) f(i + k, row[i + k]);
        }
    }
}

// The same for two rows of one type.
template <class T, class F>
__device__ inline void each_of_rows(const T* a, const T* b, i64 n, F f) {
    const int N = Width<T>::value;
    bool vectors = aligned<N>(a) && aligned<N>(b);
    for (i64 i = (i64)threadIdx.x * N; i < n; i += (i64)blockDim.x * N) {
        if (vectors && i + N <= n) {
            Vector<T, N> va = load<N>(a + i), vb = load<N>(b + i);
#pragma unroll
            for (int k = 0; k < N; k++) f(i + k, va.at[k], vb.at[k]);
        } else {
            for (int k = 0; k < N && i + k < n; k++) f(i + k, a[i + k], b[i + k]);
        }
    }
}

// Writes f(i) to the n elements of a row.
template <class T, class F> __device__ inline void write_row(T* row, i64 n, F f) {
    const int N = Width<T>::value;
    bool vectors = aligned<N>(row);
    for (i64 i = (i64)threadIdx.x * N; i < n; i += (i64)blockDim.x * N) {
        if (vectors && i + N <= n) {
            Vector<T, N> v;
#pragma unroll
            for (int k = 0; k < N; k++) v.at[k] = f(i + k);
            store<N>(row + i, v);
        } else {
            for (int k = 0; k < N && i + k < n; k++) row[i + k] = f(i + k);
        }
    }
}

// What a thread keeps of a row in registers: `COUNT` elements, read once, all at the same time. A block
// whose threads hold the whole row walks over it as often as it likes.
template <class T, class A> struct Held {
    enum : int { N = Width<T>::value, COUNT = sizeof(T) == 8 ? 8 : 16 };
    A at[COUNT];

    // Of the row's element that `at[j]` is; it may be beyond the row.
    __device__ static i64 place(int j) {
        return ((i64)(j / N) * blockDim.x + threadIdx.x) * N + j % N;
    }
    // What is beyond the row is `rest`.
    __device__ Held(const T* row, i64 n, A rest) {
        bool vectors = aligned<N>(row);
#pragma unroll
        for (int j = 0; j < COUNT; j += N) {
            i64 i = place(j);
            if (vectors && i + N <= n) {
                Vector<T, N> v = load<N>(row + i);
#pragma unroll
                for (int k = 0; k < N; k++) at[j + k] = convert<A>(v.at[k]);
            } else {
#pragma unroll
                for (int k = 0; k < N; k++) at[j + k] = i + k < n ? convert<A>(row[i + k]) : rest;
            }
        }
    }
    // Writes f(j, i), of the element `at[j]` at place i, to the row.
    template <class F> __device__ static void write(T* row, i64 n, F f) {
        bool vectors = aligned<N>(row);
#pragma unroll
        for (int j = 0; j < COUNT; j += N) {
            i64 i = place(j);
            if (vectors && i + N <= n) {
                Vector<T, N> v;
#pragma unroll
                for (int k = 0; k < N; k++) v.at[k] = f(j + k, i + k);
                store<N>(row + i, v);
            } else {
#pragma unroll
                for (int k = 0; k < N; k++)
                    if (i + k < n) row[i + k] = f(j + k, i + k);
            }
        }
    }
};

// ------------------------------------------------------------------------------------------ faults

// What a kernel found wrong, for the host to report: zeroed before the launch, and written once.
struct Fault {
    u32 code; // 0: nothing; 1: `value` is no index below `bound`; 2: what message `value` says.
    u32 unused;
    i64 value, bound;
};
__device__ inline void report(Fault* fault, i64 value, i64 bound, u32 code = 1) {
    if (fault && atomicCAS(&fault->code, 0u, code) == 0u) {
        fault->value = value;
        fault->bound = bound;
    }
}
