// Functions for expressions that CUDA's own mathematics lacks, or has under two names.
#pragma once

// PyTorch's maximum and minimum: a NaN stays one.
template <class T> __device__ inline T maximum(T a, T b) { return a > b || a != a ? a : b; }
template <class T> __device__ inline T minimum(T a, T b) { return a < b || a != a ? a : b; }

template <class T> __device__ inline T sign(T x) { return (T)((x > 0) - (x < 0)); }
template <class T> __device__ inline T square(T x) { return x * x; }
__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
__device__ inline double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

// The remainder with the divisor's sign, and the quotient towards minus infinity.
__device__ inline float remainder_floor(float a, float b) {
    float r = fmodf(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
__device__ inline double remainder_floor(double a, double b) {
    double r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
// Of integers; nothing is divided by 0, which the host has to refuse, and -1 does not overflow.
template <class T> __device__ inline T remainder_floor(T a, T b) {
    if (b == 0 || b == (T)-1) return 0;
    T r = a % b;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
__device__ inline float divide_floor(float a, float b) {
    // Python's rule, which keeps a = b divide_floor(a, b) + remainder as nearly as can be.
    float r = fmodf(a, b), q = (a - r) / b;
    if (r != 0 && (b < 0) != (r < 0)) q -= 1;
    if (b == 0) return a / b;
    if (q == 0) return copysignf(0 * a, a / b);
    return q - floorf(q) > 0.5f ? floorf(q) + 1 : floorf(q);
}
__device__ inline double divide_floor(double a, double b) {
    double r = fmod(a, b), q = (a - r) / b;
    if (r != 0 && (b < 0) != (r < 0)) q -= 1;
    if (b == 0) return a / b;
    if (q == 0) return copysign(0 * a, a / b);
    return q - floor(q) > 0.5 ? floor(q) + 1 : floor(q);
}
// Integers to a power, wrapping; of a negative power only what 1 and -1 give is not 0.
template <class T> __device__ inline T power(T a, T b) {
    if (b < 0) return a == 1 ? 1 : a == (T)-1 ? (b % 2 == 0 ? 1 : (T)-1) : 0;
    u64 base = (u64)a, out = 1;
    for (u64 e = (u64)b; e > 0; e >>= 1, base *= base)
        if (e & 1) out *= base;
    return (T)out;
}
template <class T> __device__ inline T divide_floor(T a, T b) {
    if (b == 0) return (T)-1;
    if (b == (T)-1) return (T)(0 - (u64)a);
    T q = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

// The derivative of lgamma: by recurrence to where the asymptotic series holds (Abramowitz and
// Stegun 6.3.5 and 6.3.18), by reflection (6.3.7) for negative numbers.
__device__ inline double digamma(double x) {
    if (x == 0) return copysign((double)INFINITY, -x);
    double result = 0;
    if (x < 0) {
        double whole;
        double part = modf(x, &whole);
        if (part == 0) return (double)NAN;
        result = -3.14159265358979323846 / tan(3.14159265358979323846 * part);
        x = 1 - x;
    }
    for (; x < 10; x += 1) result -= 1 / x;
    double r = 1 / (x * x);
    double series = r * (1.0 / 12 - r * (1.0 / 120 - r * (1.0 / 252 - r * (1.0 / 240 - r * (1.0 / 132
                    - r * (691.0 / 32760 - r / 12))))));
    return result + log(x) - 0.5 / x - series;
}
__device__ inline float digamma(float x) { return (float)digamma((double)x); }

// Hurwitz's zeta by Euler and Maclaurin's sum (DLMF 25.11.5), which makes polygamma.
__device__ inline double hurwitz(double s, double a) {
    const double bernoulli[] = {1.0 / 6, -1.0 / 30, 1.0 / 42, -1.0 / 30, 5.0 / 66, -691.0 / 2730, 7.0 / 6};
    double sum = 0;
    for (int i = 0; i < 12; i++, a += 1) sum += pow(a, -s);
    double power = pow(a, -s);
    sum += power * a / (s - 1) + power / 2;
    double factor = s * power / a / 2; // s (s + 1) ... / (2k)! a^(-s - 2k + 1)
    for (int k = 0; k < 7; k++) {
        sum += bernoulli[k] * factor;
        factor *= (s + 2 * k + 1) * (s + 2 * k + 2) / ((2 * k + 3) * (2 * k + 4) * a * a);
    }
    return sum;
}
// The n-th derivative of digamma, n at least 1; by (DLMF 5.15.1) for positive x.
__device__ inline double polygamma(int n, double x) {
    double factorial = n % 2 ? 1 : -1;
    for (int i = 2; i <= n; i++) factorial *= i;
    return factorial * hurwitz(n + 1.0, x);
}
