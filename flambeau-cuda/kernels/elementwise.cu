// out = EXPR of up to three inputs, element by element.
//
// Defines: ARITY (0 to 3), EXPR (a macro of ARITY parameters), COMPUTE (the type its parameters
// have), OUT and IN0 to IN2 (what memory holds; converted on the way). EXPR may use p0 to p3, the
// launch's numbers in type COMPUTE, and `index`, the element's number, row by row. NUMBER0 to NUMBER2,
// where defined, say which of those numbers stands for an input; the input's pointer is null then.
//
// `elementwise`: all contiguous, 16 bytes of the widest type at a time where addresses allow it;
// `elementwise_strided`: any layouts, the output's too. Launch: blocks of 256 threads, any number;
// threads walk with the grid's stride. Each element depends on its own operands alone, so that the
// output may be one of the inputs where their layouts are the same.
#include "common.cuh"
#include "math.cuh"

#ifndef IN0
#define IN0 OUT
#endif
#ifndef IN1
#define IN1 IN0
#endif
#ifndef IN2
#define IN2 IN0
#endif

struct Params {
    double real[4];
    i64 whole[4];
};

// Integers may need all 64 bits of a number, which a double does not have.
template <class C> __device__ inline C number(const Params& p, int i) { return (C)p.whole[i]; }
template <> __device__ inline float number<float>(const Params& p, int i) { return (float)p.real[i]; }
template <> __device__ inline double number<double>(const Params& p, int i) { return p.real[i]; }

#ifdef NUMBER0
#define HAS0 0
#else
#define NUMBER0 convert<COMPUTE>(a)
#define HAS0 (ARITY > 0)
#endif
#ifdef NUMBER1
#define HAS1 0
#else
#define NUMBER1 convert<COMPUTE>(b)
#define HAS1 (ARITY > 1)
#endif
#ifdef NUMBER2
#define HAS2 0
#else
#define NUMBER2 convert<COMPUTE>(c)
#define HAS2 (ARITY > 2)
#endif

#if ARITY == 0
#define CALL() EXPR()
#elif ARITY == 1
#define CALL() EXPR(x0)
#elif ARITY == 2
#define CALL() EXPR(x0, x1)
#else
#define CALL() EXPR(x0, x1, x2)
#endif

__device__ inline OUT apply(IN0 a, IN1 b, IN2 c, i64 index, const Params& params) {
    const COMPUTE p0 = number<COMPUTE>(params, 0), p1 = number<COMPUTE>(params, 1),
                  p2 = number<COMPUTE>(params, 2), p3 = number<COMPUTE>(params, 3);
    const COMPUTE x0 = NUMBER0, x1 = NUMBER1, x2 = NUMBER2;
    (void)x0, (void)x1, (void)x2, (void)p0, (void)p1, (void)p2, (void)p3, (void)index;
    return convert<OUT>(CALL());
}

const int WIDEST = sizeof(OUT) > sizeof(IN0) ? (int)sizeof(OUT) : (int)sizeof(IN0);
const int WIDEST12 = sizeof(IN1) > sizeof(IN2) ? (int)sizeof(IN1) : (int)sizeof(IN2);
const int N = 16 / (WIDEST > WIDEST12 ? WIDEST : WIDEST12);

// Inputs beyond ARITY are given as null and not read.
#define HAS(i) HAS##i

extern "C" __global__ void __launch_bounds__(256)
elementwise(OUT* out, const IN0* a, const IN1* b, const IN2* c, i64 n, Params params) {
    bool vectors = aligned<N>(out) && (!HAS(0) || aligned<N>(a)) && (!HAS(1) || aligned<N>(b)) &&
                   (!HAS(2) || aligned<N>(c));
    i64 done = 0;
    if (vectors) {
        done = n / N * N;
        for (i64 i = global_thread() * N; i < done; i += global_threads() * N) {
            Vector<IN0, N> va = {};
            Vector<IN1, N> vb = {};
            Vector<IN2, N> vc = {};
            if (HAS(0)) va = load<N>(a + i);
            if (HAS(1)) vb = load<N>(b + i);
            if (HAS(2)) vc = load<N>(c + i);
            Vector<OUT, N> result;
#pragma unroll
            for (int k = 0; k < N; k++)
                result.at[k] = apply(va.at[k], vb.at[k], vc.at[k], i + k, params);
            store<N>(out + i, result);
        }
    }
    for (i64 i = done + global_thread(); i < n; i += global_threads())
        out[i] = apply(HAS(0) ? a[i] : IN0{}, HAS(1) ? b[i] : IN1{}, HAS(2) ? c[i] : IN2{}, i,
                       params);
}

template <class I>
__device__ inline void strided(OUT* out, const IN0* a, const IN1* b, const IN2* c, I n,
                               const Layout<4>& layout, const Params& params) {
    for (I i = (I)global_thread(); i < n; i += (I)global_threads()) {
        i64 at[4];
        offsets<I>(layout, i, at);
        out[at[0]] = apply(HAS(0) ? a[at[1]] : IN0{}, HAS(1) ? b[at[2]] : IN1{},
                           HAS(2) ? c[at[3]] : IN2{}, (i64)i, params);
    }
}

extern "C" __global__ void __launch_bounds__(256)
elementwise_strided(OUT* out, const IN0* a, const IN1* b, const IN2* c, i64 n, Layout<4> layout,
                    Params params) {
    // Half of what 32 bits hold, for the sum of a place and the grid's stride not to wrap.
    if (n <= 0x7fffffff && global_threads() <= 0x7fffffff)
        strided<u32>(out, a, b, c, (u32)n, layout, params);
    else
        strided<u64>(out, a, b, c, (u64)n, layout, params);
}
