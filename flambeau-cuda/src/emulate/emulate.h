// CUDA C++ on one CPU thread, for tests.
//
// Included in front of a kernel file, it gives the words of CUDA C++ a meaning in plain C++. Each
// thread of a block is a fiber with a stack of its own; a fiber runs until it ends or waits at a
// barrier or a warp primitive, and the scheduler then takes the next one. Blocks run one after
// another. What would hang or be undefined on a GPU is an error that names the places: threads of
// a block at different barriers, a barrier that an ended thread never reaches, a lane that its
// warp's mask names and that does not come, a read from a lane outside of the mask.
#pragma once
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#define FLAMBEAU_EMULATE 1
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
// One block runs at a time, so that a variable of the block is a static one.
#define __shared__ static
#define __global__ __attribute__((used, noinline))

// ---------------------------------------------------------------------------------- vector types

#define FLAMBEAU_VECTORS(T, name)                                                                  \
    struct alignas(2 * sizeof(T)) name##2 { T x, y; };                                             \
    struct name##3 { T x, y, z; };                                                                 \
    struct alignas(sizeof(T) < 8 ? 4 * sizeof(T) : 16) name##4 { T x, y, z, w; };                  \
    static inline name##2 make_##name##2(T x, T y) { return {x, y}; }                              \
    static inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                      \
    static inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
FLAMBEAU_VECTORS(unsigned char, uchar)
FLAMBEAU_VECTORS(unsigned short, ushort)
FLAMBEAU_VECTORS(int, int)
FLAMBEAU_VECTORS(unsigned int, uint)
FLAMBEAU_VECTORS(float, float)
FLAMBEAU_VECTORS(double, double)
FLAMBEAU_VECTORS(long long, longlong)
FLAMBEAU_VECTORS(unsigned long long, ulonglong)
#undef FLAMBEAU_VECTORS

struct dim3 {
    unsigned x, y, z;
};

// Not static: the scheduler changes them behind the kernel's back.
#define FLAMBEAU_GLOBAL __attribute__((visibility("hidden")))
FLAMBEAU_GLOBAL uint3 threadIdx, blockIdx;
FLAMBEAU_GLOBAL dim3 blockDim, gridDim;
static const int warpSize = 32;

// -------------------------------------------------------------------------------------- scheduler

namespace emulate {

struct Site {
    const char* file;
    int line;
};

enum State { FRESH, READY, AT_BARRIER, AT_WARP, ENDED };

struct Fiber {
    State state;
    Site site;
    // Of a warp primitive: who takes part, and this lane's contribution and answer. `slot` is
    // overwritten when the next primitive of the same lanes is complete, not before.
    unsigned mask;
    uint64_t offered, slot;
    char* stack;
#if defined(__x86_64__)
    void* saved;
#else
    ucontext_t saved;
#endif
};

const int MAX_THREADS = 1024;
// Kernels keep a few arrays of registers each; printf alone would need more.
const size_t STACK = 64 << 10;

FLAMBEAU_GLOBAL Fiber fibers[MAX_THREADS];
FLAMBEAU_GLOBAL char* idle_stacks[MAX_THREADS];
FLAMBEAU_GLOBAL int idle_count, thread_count, current;
FLAMBEAU_GLOBAL bool failed;
FLAMBEAU_GLOBAL char* message;
FLAMBEAU_GLOBAL size_t message_size;
FLAMBEAU_GLOBAL void (*body)(void*);
FLAMBEAU_GLOBAL void* body_argument;
FLAMBEAU_GLOBAL char* dynamic_shared_memory;

#if defined(__x86_64__)
FLAMBEAU_GLOBAL void* scheduler;
extern "C" FLAMBEAU_GLOBAL void flambeau_emulate_switch(void** save, void* load);
asm(R"(
.text
.p2align 4
.hidden flambeau_emulate_switch
.globl flambeau_emulate_switch
flambeau_emulate_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
static inline void to_scheduler() { flambeau_emulate_switch(&fibers[current].saved, scheduler); }
static inline void to_fiber(int t) { flambeau_emulate_switch(&scheduler, fibers[t].saved); }
#else
FLAMBEAU_GLOBAL ucontext_t scheduler;
static inline void to_scheduler() { swapcontext(&fibers[current].saved, &scheduler); }
static inline void to_fiber(int t) { swapcontext(&scheduler, &fibers[t].saved); }
#endif

static void fail(const char* format, ...) __attribute__((format(printf, 1, 2), unused));
static void fail(const char* format, ...) {
    if (failed) return;
    failed = true;
    va_list list;
    va_start(list, format);
    vsnprintf(message, message_size, format, list);
    va_end(list);
}

static void entry() {
    body(body_argument);
    fibers[current].state = ENDED;
    to_scheduler();
    abort();
}

static bool start(int t) {
    Fiber& f = fibers[t];
    if (idle_count == 0) {
        void* p = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) {
            fail("no memory for a fiber's stack");
            return false;
        }
        idle_stacks[idle_count++] = static_cast<char*>(p);
    }
    f.stack = idle_stacks[--idle_count];
#if defined(__x86_64__)
    // As if `entry` had been called: the stack is 8 below a multiple of 16 when it begins.
    void** top = reinterpret_cast<void**>(f.stack + STACK) - 2;
    *top = reinterpret_cast<void*>(&entry);
    for (int i = 1; i <= 6; i++) top[-i] = nullptr;
    f.saved = top - 6;
#else
    getcontext(&f.saved);
    f.saved.uc_stack.ss_sp = f.stack;
    f.saved.uc_stack.ss_size = STACK;
    f.saved.uc_link = nullptr;
    makecontext(&f.saved, entry, 0);
#endif
    f.state = READY;
    return true;
}

static void wait(State state, Site site) {
    fibers[current].state = state;
    fibers[current].site = site;
    to_scheduler();
}

// A fiber that may not go on: it is left where it is, and the launch ends with the message.
static void stop_here() {
    to_scheduler();
    abort();
}

static bool same(Site a, Site b) { return a.line == b.line && strcmp(a.file, b.file) == 0; }

static void describe(int t, char* text, size_t size) {
    const Fiber& f = fibers[t];
    const char* at = f.state == AT_BARRIER ? "waits at the barrier" : "waits for its warp";
    if (f.state == ENDED)
        snprintf(text, size, "thread %d has ended", t);
    else
        snprintf(text, size, "thread %d %s at %s:%d", t, at, f.site.file, f.site.line);
}

static void diverged(int a, int b) {
    char one[300], two[300];
    describe(a, one, sizeof one);
    describe(b, two, sizeof two);
    fail("block (%u, %u, %u): %s, %s", blockIdx.x, blockIdx.y, blockIdx.z, one, two);
}

// Nobody can run: either all wait at one barrier, which opens, or the block hangs.
static bool open_barrier() {
    for (int t = 0; t < thread_count; t++) {
        if (fibers[t].state == AT_WARP) {
            int warp = t / 32 * 32;
            for (int lane = 0; lane < 32; lane++) {
                int other = warp + lane;
                if (!(fibers[t].mask >> lane & 1)) continue;
                if (other >= thread_count) {
                    fail("thread %d waits for lane %d at %s:%d, which the block does not have", t,
                         lane, fibers[t].site.file, fibers[t].site.line);
                    return false;
                }
                if (fibers[other].state != AT_WARP || !same(fibers[other].site, fibers[t].site) ||
                    fibers[other].mask != fibers[t].mask) {
                    diverged(t, other);
                    return false;
                }
            }
        }
        if (fibers[t].state != fibers[0].state ||
            (fibers[t].state == AT_BARRIER && !same(fibers[t].site, fibers[0].site))) {
            diverged(0, t);
            return false;
        }
    }
    for (int t = 0; t < thread_count; t++) fibers[t].state = READY;
    return true;
}

static void run_block(bool reverse) {
    for (int t = 0; t < thread_count; t++) fibers[t].state = FRESH;
    int left = thread_count;
    while (left > 0) {
        bool ran = false;
        for (int i = 0; i < thread_count; i++) {
            int t = reverse ? thread_count - 1 - i : i;
            Fiber& f = fibers[t];
            if (f.state == FRESH && !start(t)) return;
            if (f.state != READY) continue;
            ran = true;
            current = t;
            threadIdx.x = t % blockDim.x;
            threadIdx.y = t / blockDim.x % blockDim.y;
            threadIdx.z = t / blockDim.x / blockDim.y;
            to_fiber(t);
            if (failed) return;
            if (f.state == ENDED) {
                idle_stacks[idle_count++] = f.stack;
                f.stack = nullptr;
                left--;
            }
        }
        if (!ran && !open_barrier()) return;
    }
}

static void barrier(Site site) { wait(AT_BARRIER, site); }

// Offers a value to the lanes of the mask and waits for them.
static void meet(Site site, unsigned mask, uint64_t value) {
    int warp = current / 32 * 32;
    Fiber& me = fibers[current];
    if (!(mask >> (current % 32) & 1)) {
        fail("thread %d is not in its own mask %08x at %s:%d", current, mask, site.file, site.line);
        stop_here();
    }
    me.offered = value;
    me.mask = mask;
    me.site = site;
    me.state = AT_WARP;
    for (int lane = 0; lane < 32; lane++) {
        if (!(mask >> lane & 1)) continue;
        int t = warp + lane;
        if (t >= thread_count || fibers[t].state != AT_WARP || fibers[t].mask != mask ||
            !same(fibers[t].site, site)) {
            to_scheduler();
            return;
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        if (!(mask >> lane & 1)) continue;
        fibers[warp + lane].slot = fibers[warp + lane].offered;
        fibers[warp + lane].state = READY;
    }
}

template <class T> static T exchange(Site site, unsigned mask, T value, int lane) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(T));
    meet(site, mask, bits);
    if (!(mask >> lane & 1)) {
        fail("thread %d reads lane %d outside of the mask %08x at %s:%d", current, lane, mask,
             site.file, site.line);
        stop_here();
    }
    T answer;
    memcpy(&answer, &fibers[current / 32 * 32 + lane].slot, sizeof(T));
    return answer;
}

// Lanes that reach beyond their segment of `width` lanes read themselves.
template <class T> static T shfl(Site s, unsigned mask, T v, int lane, int width = 32) {
    int first = current % 32 / width * width;
    return exchange(s, mask, v, first + lane % width);
}
template <class T> static T shfl_xor(Site s, unsigned mask, T v, int by, int width = 32) {
    int lane = current % 32, other = lane ^ by;
    return exchange(s, mask, v, other / width > lane / width ? lane : other);
}
template <class T> static T shfl_down(Site s, unsigned mask, T v, int by, int width = 32) {
    int lane = current % 32;
    return exchange(s, mask, v, lane % width + by < width ? lane + by : lane);
}
template <class T> static T shfl_up(Site s, unsigned mask, T v, int by, int width = 32) {
    int lane = current % 32;
    return exchange(s, mask, v, lane % width >= by ? lane - by : lane);
}
static inline unsigned ballot(Site s, unsigned mask, bool vote) {
    meet(s, mask, vote);
    unsigned all = 0;
    for (int lane = 0; lane < 32; lane++)
        if (mask >> lane & 1) all |= unsigned(fibers[current / 32 * 32 + lane].slot & 1) << lane;
    return all;
}

template <class... A> struct Values;
template <> struct Values<> {
    explicit Values(void**) {}
    template <class K, class... B> void call(K kernel, B... b) { kernel(b...); }
};
template <class A, class... Rest> struct Values<A, Rest...> {
    A value;
    Values<Rest...> rest;
    explicit Values(void** p) : rest(p + 1) { memcpy((void*)&value, *p, sizeof(A)); }
    template <class K, class... B> void call(K kernel, B... b) { rest.call(kernel, b..., value); }
};

template <class... A>
static int launch(void (*kernel)(A...), const unsigned* grid, const unsigned* block,
                  unsigned shared, void** arguments, int reverse, char* text, size_t text_size) {
    struct Call {
        void (*kernel)(A...);
        Values<A...> values;
    } call{kernel, Values<A...>(arguments)};
    body = [](void* p) {
        Call* c = static_cast<Call*>(p);
        c->values.call(c->kernel);
    };
    body_argument = &call;
    message = text;
    message_size = text_size;
    failed = false;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    thread_count = block[0] * block[1] * block[2];
    dynamic_shared_memory = static_cast<char*>(aligned_alloc(16, (shared + 31) / 16 * 16));
    uint64_t blocks = uint64_t(grid[0]) * grid[1] * grid[2];
    for (uint64_t i = 0; i < blocks && !failed; i++) {
        uint64_t b = reverse ? blocks - 1 - i : i;
        blockIdx.x = b % grid[0];
        blockIdx.y = b / grid[0] % grid[1];
        blockIdx.z = b / grid[0] / grid[1];
        // Not what an earlier block left: NaN as floats, -1 as integers.
        memset(dynamic_shared_memory, 0xff, shared);
        run_block(reverse);
    }
    free(dynamic_shared_memory);
    if (failed) {
        // The stacks of fibers that were left where they stood.
        for (int t = 0; t < thread_count; t++) {
            if (fibers[t].stack) idle_stacks[idle_count++] = fibers[t].stack;
            fibers[t].stack = nullptr;
        }
    }
    return failed;
}

} // namespace emulate

#define FLAMBEAU_SITE (emulate::Site{__FILE__, __LINE__})
#define __syncthreads() emulate::barrier(FLAMBEAU_SITE)
#define __syncwarp(...) emulate::meet(FLAMBEAU_SITE, (0xffffffffu, ##__VA_ARGS__), 0)
#define __shfl_sync(...) emulate::shfl(FLAMBEAU_SITE, __VA_ARGS__)
#define __shfl_xor_sync(...) emulate::shfl_xor(FLAMBEAU_SITE, __VA_ARGS__)
#define __shfl_down_sync(...) emulate::shfl_down(FLAMBEAU_SITE, __VA_ARGS__)
#define __shfl_up_sync(...) emulate::shfl_up(FLAMBEAU_SITE, __VA_ARGS__)
#define __ballot_sync(mask, vote) emulate::ballot(FLAMBEAU_SITE, mask, vote)
#define __any_sync(mask, vote) (emulate::ballot(FLAMBEAU_SITE, mask, vote) != 0)
#define __all_sync(mask, vote) (emulate::ballot(FLAMBEAU_SITE, mask, vote) == (mask))

static inline void __threadfence() {}
static inline void __threadfence_block() {}

// ---------------------------------------------------------------------------------------- atomics
// Fibers change places at barriers only, so that plain reads and writes are atomic.

template <class T> static T flambeau_swap(T* p, T value) { T old = *p; *p = value; return old; }
template <class T, class U> static T atomicAdd(T* p, U v) { return flambeau_swap(p, T(*p + T(v))); }
template <class T, class U> static T atomicSub(T* p, U v) { return flambeau_swap(p, T(*p - T(v))); }
template <class T, class U> static T atomicExch(T* p, U v) { return flambeau_swap(p, T(v)); }
template <class T, class U> static T atomicMax(T* p, U v) { return flambeau_swap(p, *p < T(v) ? T(v) : *p); }
template <class T, class U> static T atomicMin(T* p, U v) { return flambeau_swap(p, T(v) < *p ? T(v) : *p); }
template <class T, class U> static T atomicOr(T* p, U v) { return flambeau_swap(p, T(*p | T(v))); }
template <class T, class U> static T atomicAnd(T* p, U v) { return flambeau_swap(p, T(*p & T(v))); }
template <class T> static T atomicCAS(T* p, T expected, T value) {
    return flambeau_swap(p, *p == expected ? value : *p);
}
static inline unsigned atomicInc(unsigned* p, unsigned last) {
    return flambeau_swap(p, *p >= last ? 0u : *p + 1);
}

// --------------------------------------------------------------------------------------- builtins

template <class T> static inline T __ldg(const T* p) { return *p; }
template <class To, class From> static inline To flambeau_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "the same size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline unsigned __float_as_uint(float x) { return flambeau_bits<unsigned>(x); }
static inline int __float_as_int(float x) { return flambeau_bits<int>(x); }
static inline float __uint_as_float(unsigned x) { return flambeau_bits<float>(x); }
static inline float __int_as_float(int x) { return flambeau_bits<float>(x); }
static inline long long __double_as_longlong(double x) { return flambeau_bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return flambeau_bits<double>(x); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t(a) * b) >> 32; }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return ((unsigned __int128)a * b) >> 64;
}
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }

// ------------------------------------------------------------------------------------ mathematics

using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;
using std::abs;

#define FLAMBEAU_MIN_MAX(T)                                                                        \
    static inline T min(T a, T b) { return b < a ? b : a; }                                        \
    static inline T max(T a, T b) { return a < b ? b : a; }
FLAMBEAU_MIN_MAX(int)
FLAMBEAU_MIN_MAX(unsigned)
FLAMBEAU_MIN_MAX(long)
FLAMBEAU_MIN_MAX(unsigned long)
FLAMBEAU_MIN_MAX(long long)
FLAMBEAU_MIN_MAX(unsigned long long)
#undef FLAMBEAU_MIN_MAX
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
// The C library has its own functions of these names.
#define __expf expf
#define __logf logf
#define __sinf sinf
#define __cosf cosf
#define __powf powf
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fsub_rn(float x, float y) { return x - y; }
static inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
static inline double __dmul_rn(double x, double y) { return x * y; }
static inline double __dadd_rn(double x, double y) { return x + y; }
static inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1) : 0; }
static inline double sinpi(double x) { return sin(M_PI * remainder(x, 2)); }
static inline double cospi(double x) { return cos(M_PI * remainder(x, 2)); }
static inline float sinpif(float x) { return float(sinpi(x)); }
static inline float cospif(float x) { return float(cospi(x)); }
static inline void sincospif(float x, float* s, float* c) { *s = sinpif(x), *c = cospif(x); }
static inline void sincospi(double x, double* s, double* c) { *s = sinpi(x), *c = cospi(x); }
// Newton's steps on erf from Winitzki's approximation ("A handy approximation for the error
// function and its inverse", 2008), to the last bits of a double.
static inline double erfinv(double y) {
    if (!(y > -1 && y < 1)) return y == 1 ? HUGE_VAL : y == -1 ? -HUGE_VAL : NAN;
    double l = log1p(-y * y), a = 0.147, t = 2 / (M_PI * a) + l / 2;
    double x = copysign(sqrt(sqrt(t * t - l / a) - t), y);
    for (int i = 0; i < 4; i++) {
        double error = y < 0.5 && y > -0.5 ? erf(x) - y
                       : y > 0             ? (1 - y) - erfc(x)
                                           : erfc(-x) - (1 + y);
        x -= error / (2 / sqrt(M_PI) * exp(-x * x));
    }
    return x;
}
static inline float erfinvf(float y) { return float(erfinv(double(y))); }
