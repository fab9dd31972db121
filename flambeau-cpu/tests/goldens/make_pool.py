#!/usr/bin/env python3
"""PyTorch's pooling, written to pool.txt.

Element i of x is i * 37 % 17 - 8, of grad_out i * 31 % 11 - 5; where the case says so, every 7th
element of x is NaN, or every element is minus infinity. A case is a line `kind fill numbers`, then
out, the indices (max only) and grad_in, a line each. The numbers are planes, input, kernel, stride,
padding, dilation, ceil_mode, count_include_pad, divisor_override (0: none), or for the adaptive
kinds planes, input, output.
"""
import pathlib
import torch
import torch.nn.functional as F


def ints(shape, mul, mod):
    n = 1
    for s in shape:
        n *= s
    return ((torch.arange(n) * mul) % mod - mod // 2).double().reshape(shape)


def full(v, fill):
    return (fill,) * (3 - len(v)) + tuple(v)


def text(t):
    return " ".join(f"{v:.17g}" for v in t.detach().flatten().tolist())


lines = []


def case(kind, fill, head, size, planes, f, indices):
    x = ints((1, planes, *size), 37, 17)
    if fill == "nan":
        x.view(-1)[::7] = float("nan")
    if fill == "lowest":
        x.fill_(float("-inf"))
    x.requires_grad_()
    y = f(x)
    rest = []
    if indices:
        y, at = y
        rest = [" ".join(map(str, at.flatten().tolist()))]
    y.backward(ints(y.shape, 31, 11))
    lines.append(" ".join([kind, fill, *map(str, head)]))
    lines.extend([text(y), *rest, text(x.grad)])


MAX = [  # planes, input, kernel, stride, padding, dilation, ceil_mode
    (3, (6, 8), (2, 2), (2, 2), (0, 0), (1, 1), False),
    (2, (5, 7), (2, 2), (2, 2), (0, 0), (1, 1), False),
    (2, (5, 7), (2, 2), (2, 2), (0, 0), (1, 1), True),
    (2, (7, 6), (3, 3), (2, 2), (1, 1), (1, 1), False),
    (1, (8, 9), (3, 2), (1, 2), (1, 1), (2, 3), True),
    (2, (10,), (3,), (2,), (1,), (1,), True),
    (1, (4, 5, 4), (2, 3, 2), (2, 1, 2), (1, 0, 1), (1, 2, 1), False),
]
for planes, size, k, s, p, d, ceil in MAX:
    f = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[len(size)]
    head = (planes, *full(size, 1), *full(k, 1), *full(s, 1), *full(p, 0), *full(d, 1), int(ceil), 0, 0)
    for fill in ("plain", "nan", "lowest"):
        case("max", fill, head, size, planes, lambda x: f(x, k, s, p, d, ceil, return_indices=True), True)
AVG = [  # planes, input, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override
    (2, (6, 8), (2, 2), (2, 2), (0, 0), False, True, None),
    (2, (5, 7), (3, 3), (2, 2), (1, 1), False, True, None),
    (2, (6, 7), (3, 2), (2, 2), (1, 1), True, True, None),
    (2, (6, 7), (3, 2), (2, 2), (1, 1), True, False, None),
    (1, (6, 7), (3, 4), (3, 3), (0, 2), True, False, 5),
    (2, (9,), (4,), (3,), (2,), True, False, 0),
    (1, (4, 5, 4), (2, 3, 2), (2, 1, 2), (1, 0, 1), False, False, None),
]
for planes, size, k, s, p, ceil, include, divisor in AVG:
    f = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[len(size)]
    head = (planes, *full(size, 1), *full(k, 1), *full(s, 1), *full(p, 0), 1, 1, 1, int(ceil), int(include), divisor or 0)
    extra = () if len(size) == 1 else (divisor,)
    case("avg", "plain", head, size, planes, lambda x: f(x, k, s, p, ceil, include, *extra), False)
ADAPTIVE = [(2, (5, 7), (3, 2)), (2, (6, 6), (1, 1)), (1, (3, 4), (5, 4)), (2, (7,), (3,)), (1, (3, 5, 4), (2, 3, 3))]
for planes, size, out in ADAPTIVE:
    head = (planes, *full(size, 1), *full(out, 1))
    f = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}[len(size)]
    case("adaptive_avg", "plain", head, size, planes, lambda x: f(x, out), False)
    f = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}[len(size)]
    for fill in ("plain", "nan"):
        case("adaptive_max", fill, head, size, planes, lambda x: f(x, out, return_indices=True), True)
pathlib.Path(__file__).with_name("pool.txt").write_text("\n".join(lines) + "\n")
