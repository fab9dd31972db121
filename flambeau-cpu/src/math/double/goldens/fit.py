"""Minimax polynomials of the functions of f64, by Remez' algorithm in mpmath: python3 fit.py [NAME...]

Coefficients are printed as the functions take them, the highest first. Each fit makes the largest of
|weight * (polynomial - function)| as small as can be; the weights make that the relative error of a result. Those
in use came from grids of other sizes and differ in the last digits."""

import sys

from mpmath import (
    asin, atan, atanh, cos, erf, erfc, euler, exp, expm1, findroot, log, loggamma, lu_solve, matrix, mp, mpf, pi,
    polyval, psi, sinh, sqrt
)

mp.prec = 200
NEAR_0 = mpf(10) ** -8


def remez(f, weight, n, low, high):
    """The n coefficients, the lowest first, and the error; extremes are looked for on a grid."""
    low, high, m = mpf(low), mpf(high), 8 * n
    xs = [(low + high) / 2 - (high - low) / 2 * cos(pi * (2 * i + 1) / (2 * m)) for i in range(m)]
    ys, ws = [f(x) for x in xs], [weight(x) for x in xs]
    at = [round((m - 1) * i / n) for i in range(n + 1)]
    for _ in range(12):
        a, b = matrix(n + 1, n + 1), matrix(n + 1, 1)
        for row, i in enumerate(at):
            for power in range(n):
                a[row, power] = xs[i] ** power
            a[row, n], b[row] = (-1) ** row / ws[i], ys[i]
        solution = lu_solve(a, b)
        c = [solution[i] for i in range(n)]
        errors = [w * (polyval(c[::-1], x) - y) for x, y, w in zip(xs, ys, ws)]
        extremes = []
        for i, e in enumerate(errors):
            if not extremes or (e > 0) != (errors[extremes[-1]] > 0):
                extremes.append(i)
            elif abs(e) > abs(errors[extremes[-1]]):
                extremes[-1] = i
        while len(extremes) > n + 1:
            extremes.pop(0 if abs(errors[extremes[0]]) < abs(errors[extremes[-1]]) else -1)
        if len(extremes) < n + 1 or extremes == at:
            break
        at = extremes
    return c, max(map(abs, errors))


def erfinv_over_x(w):
    """erfinv(x) / x where 1 - x^2 = exp(-w), by Newton's method from the end that is near."""
    x = sqrt(-expm1(-w))
    rest = exp(-w) / (1 + x)
    near = x < 0.9
    y = x if near else sqrt(-log(rest * sqrt(pi) * sqrt(-log(rest))))
    for _ in range(100):
        step = ((erf(y) - x) if near else (rest - erfc(y))) * sqrt(pi) / 2 * exp(y * y)
        y -= step / (1 + y * step)
        if abs(step) < mpf(10) ** -45:
            return y / x


def odd(f, first):
    """What follows `first * s` in an odd function, over s^3, as one of s^2."""
    return lambda z: (f(sqrt(z)) / sqrt(z) - first) / z


def series(f, order):
    """A function of a large y, times y^order, as one of 1 / y^2."""
    return lambda u: f(1 / sqrt(u)) / sqrt(u) ** order


def stirling(y):
    return loggamma(y) - ((y - mpf(1) / 2) * log(y) - y + log(2 * pi) / 2)


ROOT = findroot(lambda x: psi(0, x), mpf("1.46"))
LOG2 = log(mpf(2))
lgamma = lambda t: loggamma(2 + t) / t if abs(t) > mpf(10) ** -30 else 1 - euler
digamma = lambda t: psi(0, t + mpf(3) / 2) / (t + mpf(3) / 2 - ROOT)
# Beyond a under the normal distribution, over the density there and times 1 + 1.41 a; a by t = (a - 5) / (a + 5).
tail = lambda a: exp(a * a / 2) * erfc(a / sqrt(mpf(2))) / 2 * (1 + mpf(1.4140625) * a)
by_t = lambda t: tail(5 * (1 + t) / (1 - t))
twice_atanh = odd(lambda s: 2 * atanh(s), 2)
twice_half = lambda u: twice_atanh(u) / 2
log2_rest = lambda z: (twice_atanh(z) - mpf(2) / 3) / z / LOG2
deep = lambda centre: lambda t: erfinv_over_x((t + centre) ** 2)

# The function, its weight, how many coefficients, and from where to where.
FITS = {
    "sinh": (odd(sinh, 1), lambda z: z * sqrt(z) / sinh(sqrt(z)), 7, NEAR_0, 1),
    "log_of_ratio": (twice_atanh, lambda z: z / 2, 8, NEAR_0, 0.043),
    "log2_pair": (log2_rest, lambda z: z * z / 2 * LOG2, 7, NEAR_0, 0.02944),
    "atan": (odd(atan, 1), lambda z: z, 12, NEAR_0, (sqrt(mpf(2)) - 1) ** 2),
    "asin": (odd(asin, 1), lambda z: z, 12, NEAR_0, 0.25),
    "gelu": (by_t, lambda t: 1 / by_t(t), 22, -mpf(4.125) / 5.875, mpf(33.7) / 43.7),
    "erfinv_near": (lambda t: erfinv_over_x(t + 2), lambda t: 1 / erfinv_over_x(t + 2), 21, mpf(10) ** -12 - 2, 2),
    "erfinv_mid": (deep(2.796875), lambda t: 1 / deep(2.796875)(t), 21, 2 - 2.796875, sqrt(mpf(13)) - 2.796875),
    "erfinv_far": (
        deep(4.84375), lambda t: 1 / deep(4.84375)(t), 21, sqrt(mpf(13)) - 4.84375, sqrt(mpf(37)) - 4.84375
    ),
    "lgamma": (lgamma, lambda t: 1 / abs(lgamma(t)), 20, sqrt(mpf(2)) - 2, 0.5),
    "stirling": (series(stirling, 1), lambda u: sqrt(u) / loggamma(1 / sqrt(u)), 6, mpf(10) ** -4, 1 / mpf(8.5) ** 2),
    "digamma": (digamma, lambda t: 1 / digamma(t), 23, -0.5, 0.5),
    "digamma_series": (
        series(lambda y: log(y) - 1 / (2 * y) - psi(0, y), 2), lambda u: u / psi(0, 1 / sqrt(u)), 6, mpf(10) ** -4, 0.01
    ),
    "log1p_exp": (twice_half, lambda u: u / (1 + u * twice_half(u)), 10, NEAR_0, mpf(1) / 9),
    "trigamma_series": (
        series(lambda y: psi(1, y) - 1 / y - 1 / (2 * y * y), 3),
        lambda u: u * sqrt(u) / psi(1, 1 / sqrt(u)),
        6,
        mpf(10) ** -4,
        0.01,
    ),
}

for name in sys.argv[1:] or FITS:
    c, error = remez(*FITS[name])
    print(f"{name}: error 2^{float(log(error, 2)):.1f}, constant term and what it lacks:", float(c[0]), float(c[0] - float(c[0])))
    print(*(repr(float(v)) for v in c[::-1]), sep=",\n")
