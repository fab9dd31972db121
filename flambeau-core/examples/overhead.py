"""The same as overhead.rs with PyTorch: python3 overhead.py"""
import time
import torch

torch.set_num_threads(1)


def measure(name, calls, f):
    best = float("inf")
    for _ in range(30):
        start = time.perf_counter()
        for _ in range(calls):
            f()
        best = min(best, (time.perf_counter() - start) / calls)
    print(f"{name:<44} {best * 1e9:>10.0f} ns")


a, b = torch.ones(16), torch.full((16,), 0.5)
x = torch.ones(16, requires_grad=True)


def chain():
    y = x
    for _ in range(20):
        y = (y * b) + b
    return y.sum()


def step():
    chain().backward()
    x.grad = None


def without():
    with torch.no_grad():
        chain()


measure("add, 16 elements", 5000, lambda: a + b)
measure("add, 16 elements, recorded", 5000, lambda: x + b)
measure("mul, 16 elements, recorded", 5000, lambda: x * b)
measure("add_, 16 elements", 5000, lambda: a.add_(b))
measure("view, recorded", 5000, lambda: x.view(4, 4))
measure("20 x (mul, add), sum, no_grad", 200, without)
measure("20 x (mul, add), sum, forward", 200, chain)
measure("20 x (mul, add), sum, forward and backward", 200, step)
