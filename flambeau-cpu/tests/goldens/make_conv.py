#!/usr/bin/env python3
"""PyTorch's convolutions on small integers (so every result is exact), written to conv.txt.

Element i of x is i * 37 % 17 - 8, of the weight i * 29 % 13 - 6, of the bias i % 5 - 2, of grad_out
i * 31 % 11 - 5. A case is a line of 19 numbers (batch, in, out, groups; input, kernel, stride,
padding, dilation of three axes), then out, grad_in, grad_w, grad_bias, a line each.
"""
import pathlib
import torch
import torch.nn.functional as F


def ints(shape, mul, mod):
    n = 1
    for s in shape:
        n *= s
    return ((torch.arange(n) * mul) % mod - mod // 2).double().reshape(shape)


CASES = [  # batch, in, out, groups, input, kernel, stride, padding, dilation
    (2, 3, 2, 1, (7, 6), (3, 2), (1, 1), (0, 0), (1, 1)),
    (1, 2, 3, 1, (6, 7), (3, 3), (2, 2), (1, 1), (1, 1)),
    (1, 4, 4, 2, (6, 5), (3, 2), (2, 1), (2, 0), (2, 3)),
    (2, 3, 3, 3, (5, 5), (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 2, 4, 2, (4, 9), (1, 3), (1, 3), (0, 2), (1, 1)),
    (2, 3, 2, 1, (11,), (4,), (2,), (1,), (2,)),
    (1, 2, 2, 1, (4, 3, 5), (2, 3, 2), (1, 1, 2), (1, 1, 0), (1, 1, 2)),
]
lines = []
for n, i, o, g, size, kernel, stride, pad, dil in CASES:
    x = ints((n, i, *size), 37, 17).requires_grad_()
    w = ints((o, i // g, *kernel), 29, 13).requires_grad_()
    b = (torch.arange(o) % 5 - 2).double().requires_grad_()
    conv = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(size)]
    y = conv(x, w, b, stride=stride, padding=pad, dilation=dil, groups=g)
    y.backward(ints(y.shape, 31, 11))
    full = lambda v, fill: (fill,) * (3 - len(v)) + tuple(v)
    head = (n, i, o, g) + full(size, 1) + full(kernel, 1) + full(stride, 1) + full(pad, 0) + full(dil, 1)
    lines.append(" ".join(map(str, head)))
    for t in (y, x.grad, w.grad, b.grad):
        lines.append(" ".join(str(int(v)) for v in t.detach().flatten().round().tolist()))
pathlib.Path(__file__).with_name("conv.txt").write_text("\n".join(lines) + "\n")
