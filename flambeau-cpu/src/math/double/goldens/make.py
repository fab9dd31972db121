"""Values of the functions of f64 to 100 digits, by mpmath: python3 make.py [ARGUMENTS] > values.txt

Each line: the function, and in hexadecimal the bits of its arguments, of the nearest f64 to the value, and
of what is left of it."""

import random
import struct
import sys

from mpmath import (
    acos, acosh, asin, asinh, atan, atan2, atanh, cos, cosh, erf, erfc, erfinv, exp, expm1, floor, gamma, isnan, log, log1p,
    loggamma, mp, mpf, nan, psi, sin, sinh, sqrt, tan, tanh
)

mp.prec = 350
COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 25
MAX, TINY = 1.7976931348623157e308, 5e-324

# The function, and from where to where its arguments are taken; those below 0 too where the start is.
FUNCTIONS = {
    "exp": (exp, -746, 710),
    "exp2": (lambda x: mpf(2) ** x, -1076, 1025),
    "expm1": (expm1, -45, 710),
    "tanh": (tanh, -25, 25),
    "sigmoid": (lambda x: 1 / (1 + exp(-x)), -746, 60),
    "silu": (lambda x: x / (1 + exp(-x)), -700, 60),
    "gelu_tanh": (lambda x: x / (1 + exp(-2 * sqrt(2 / mp.pi) * (x + mpf("0.044715") * x**3))), 0, 10),
    "log": (log, 0, MAX),
    "log1p": (log1p, -1, MAX),
    "log2": (lambda x: log(x) / log(mpf(2)), 0, MAX),
    "log10": (lambda x: log(x) / log(mpf(10)), 0, MAX),
    "erf": (erf, -6.5, 6.5),
    "erfc": (erfc, -6.5, 27.3),
    "gelu": (lambda x: x * erfc(-x / sqrt(mpf(2))) / 2, -38.6, 10),
    "sin": (sin, -MAX, MAX),
    "cos": (cos, -MAX, MAX),
    "tan": (tan, -MAX, MAX),
    "sinh": (sinh, -710.4, 710.4),
    "cosh": (cosh, -710.4, 710.4),
    "asinh": (asinh, -MAX, MAX),
    "acosh": (acosh, 1, MAX),
    "atanh": (atanh, -1, 1),
    "asin": (asin, -1, 1),
    "acos": (acos, -1, 1),
    "atan": (atan, -MAX, MAX),
    "erfinv": (lambda x: inverse(x), -1, 1),
    "lgamma": (lambda x: log(abs(gamma(x))) if abs(x) < 1000 else loggamma(x).real, -30, 1e305),
    "digamma": (lambda x: psi(0, x), -30, MAX),
    "trigamma": (lambda x: psi(1, x), -30, 1e150),
    "log1p_exp": (lambda x: log1p(exp(-x)), 0, 745),
}


def inverse(x):
    """By Newton's method on the end that is near."""
    a = abs(x)
    y = erfinv(float(a)) if a < 0.5 else sqrt(-log((1 - a) * sqrt(mp.pi)))
    for _ in range(60):
        error = erf(y) - a if a < 0.5 else (1 - a) - erfc(y)
        step = error * sqrt(mp.pi) / 2 * exp(y * y)
        y -= step / (1 + y * step)
    return y if x >= 0 else -y



def power(x, e):
    # Without this a result far beyond the exponents takes long.
    return x**e if abs(e * log(x)) < 760 else nan


PAIRS = {
    "atan2": (lambda y, x: atan2(y, x), -MAX),
    "hypot": (lambda x, y: sqrt(x * x + y * y), -MAX),
    "pow": (power, 0),
}


def bits(x):
    return f"{struct.unpack('<Q', struct.pack('<d', x))[0]:x}"


def nearest(y):
    """The nearest f64: mpmath's own conversion rounds subnormal numbers twice."""
    if abs(y) >= mpf(2) ** -1022 or y == 0:
        return float(y)
    steps = floor(abs(y) * mpf(2) ** 1074 + mpf(1) / 2)
    value = float(steps) * TINY
    return -value if y < 0 else value


def arguments(low, high):
    """Evenly spread over the interval, and over the exponents; both more often where results are ordinary."""
    for _ in range(COUNT):
        near = random.random() < 0.5
        a, b = max(low, -5), min(high, 5)
        yield random.uniform(a, b) if near else random.uniform(low / 2, high / 2) * 2
        size = 2.0 ** random.uniform(-60 if near else -1074, 16 if near else 1023.99) * random.uniform(0.5, 1)
        yield size if low >= 0 or random.random() < 0.5 else -size
        # Near 1, and near multiples of a quarter of a turn.
        yield 1 + random.uniform(-1, 1) * 2.0 ** random.uniform(-52, -1)
        yield float(random.randrange(1, 2 ** random.randrange(1, 17)) * mp.pi / 2) * random.choice([1, -1])


def write(name, f, *x):
    y = f(*map(mpf, x))
    if not isnan(y) and abs(y) <= MAX:
        head = nearest(y)
        print(name, *map(bits, x), bits(head), bits(nearest(y - mpf(head))))


random.seed(0)
for name, (f, low, high) in FUNCTIONS.items():
    for x in arguments(low, high):
        pole = (
            (x == 0 and name.startswith("log"))
            or (abs(x) == 1 and name in ("atanh", "erfinv"))
            or (x <= 0 and x == floor(x) and name.endswith("gamma"))
        )
        if low <= x <= high and not pole:
            write(name, f, x)
for name, (f, low) in PAIRS.items():
    for x, y in zip(arguments(low, MAX), arguments(-MAX, MAX)):
        # Of the same size too, and where a power is an ordinary number.
        for other in (y, x * random.uniform(-2, 2), random.uniform(-700, 700) / (log(mpf(x)) or 1) if low == 0 < x else y):
            other = float(other)
            if x != 0 and x >= low and abs(other) <= MAX:
                write(name, f, x, other)
