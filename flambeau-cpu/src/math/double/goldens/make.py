"""Values of the functions of f64 to 100 digits, by mpmath: python3 make.py [ARGUMENTS] > values.txt

Each line: the function, and in hexadecimal the bits of an argument, of the nearest f64 to the value, and
of what is left of it."""

import random
import struct
import sys

from mpmath import cos, erf, erfc, exp, expm1, floor, isnan, log, log1p, mp, mpf, nan, sin, sqrt, tan, tanh

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


random.seed(0)
for name, (f, low, high) in FUNCTIONS.items():
    for x in arguments(low, high):
        if not low <= x <= high or (x == 0 and name.startswith("log")):
            continue
        y = f(mpf(x))
        if isnan(y) or abs(y) > MAX:
            continue
        head = nearest(y)
        print(name, bits(x), bits(head), bits(nearest(y - mpf(head))))
