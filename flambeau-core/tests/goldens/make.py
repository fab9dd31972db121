"""Answers the questions of `cargo xtask goldens` with PyTorch.

usage: make.py REQUESTS.json FOLDER

REQUESTS.json is a list of {"name", "cases": [{"key", "torch", "args"}]}; for each name this writes
FOLDER/NAME.txt, for each case a line `case KEY`, a line per output and, where an argument asks for
gradients, a line per such argument:

    out DTYPE [SHAPE] NUMBERS...
    grad DTYPE [SHAPE] NUMBERS...      (or `grad none` where the outputs do not depend on it)

Gradients are those of the sum over all differentiable outputs of output * cotangent, element i of
a cotangent being ((7 i + 3) mod 11 - 5) / 4 + 1 / 8.
"""

import json
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F


def decode(arg, leaves):
    if isinstance(arg, dict) and "tensors" in arg:
        return [decode(a, leaves) for a in arg["tensors"]]
    if not isinstance(arg, dict):
        return arg
    dtype = getattr(torch, arg["dtype"])
    wide = torch.float64 if dtype.is_floating_point else torch.int64
    t = torch.tensor(arg["data"], dtype=wide).reshape(arg["shape"]).to(dtype)
    if arg["grad"]:
        leaves.append(t.requires_grad_())
    return t


def flatten(result):
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, (tuple, list)):
        return [t for r in result for t in flatten(r)]
    return [torch.tensor(result)]


def line(word, t):
    t = t.detach().clone(memory_format=torch.contiguous_format)  # sgn answers with a ZeroTensor
    t = t + torch.zeros_like(t) if t._is_zerotensor() else t
    name = str(t.dtype).removeprefix("torch.")
    values = t.float().numpy() if t.dtype in (torch.bfloat16, torch.float16) else t.numpy()
    # NumPy's text of a float is the shortest that reads back as the same value.
    numbers = [str(int(v)) if t.dtype == torch.bool else str(v) for v in values.reshape(-1)]
    shape = ",".join(map(str, t.shape))
    return " ".join([word, name, f"[{shape}]", *numbers])


def cotangent(t):
    i = torch.arange(t.numel(), dtype=torch.float64)
    return (((7 * i + 3) % 11 - 5) / 4 + 0.125).reshape(t.shape).to(t.dtype)


def answer(case):
    leaves = []
    args = [decode(a, leaves) for a in case["args"]]
    function = eval(case["torch"], {"torch": torch, "F": F, "np": np})
    outputs = flatten(function(*args))
    lines = ["case " + case["key"]] + [line("out", t) for t in outputs]
    if leaves:
        outputs = [t for t in outputs if t.requires_grad]
        grads = torch.autograd.grad(
            outputs, leaves, [cotangent(t) for t in outputs], allow_unused=True
        )
        lines += ["grad none" if g is None else line("grad", g) for g in grads]
    return lines


def main():
    requests, folder = sys.argv[1:]
    torch.set_num_threads(1)
    failed = False
    for request in json.load(open(requests)):
        lines = []
        try:
            for case in request["cases"]:
                lines += answer(case)
        except Exception as e:
            print(f"{request['name']}, case {case['key']}: {type(e).__name__}: {e}", file=sys.stderr)
            failed = True
            continue
        path = os.path.join(folder, request["name"] + ".txt")
        with open(path + ".tmp", "w") as f:
            f.write("\n".join(lines) + "\n")
        os.replace(path + ".tmp", path)
    sys.exit(failed)


if __name__ == "__main__":
    main()
