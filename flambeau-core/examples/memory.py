"""memory.rs with PyTorch: python3 memory.py [--threads N] [--only PART] [--with BINARY]

With the built example as BINARY, runs both and prints PyTorch's time over ours, the worst last."""
import argparse
import json
import os
import subprocess
import time

import torch
import torch.nn.functional as F

args = argparse.ArgumentParser()
args.add_argument("--threads", type=int, default=2)
args.add_argument("--only", default="")
args.add_argument("--with", dest="binary")
args = args.parse_args()
torch.set_num_threads(args.threads)
torch.manual_seed(0)
times = {}


def measure(name, f):
    if args.only not in name:
        return
    f()
    start = time.perf_counter()
    f()
    calls = int(min(max(1e-3 / (time.perf_counter() - start), 1), 1e4))
    best, begun, rounds = float("inf"), time.perf_counter(), 0
    while rounds < 5 or time.perf_counter() - begun < 0.06:
        start = time.perf_counter()
        for _ in range(calls):
            f()
        best = min(best, (time.perf_counter() - start) / calls)
        rounds += 1
    times[name] = best


def both(name, inputs, f):
    if args.only not in name:
        return

    def forward():
        with torch.no_grad():
            f(*inputs)

    measure(name + " fwd", forward)
    leaves = [x.detach().requires_grad_(x.is_floating_point()) for x in inputs]
    grad = torch.ones_like(f(*leaves))

    def step():
        f(*leaves).backward(grad)
        for x in leaves:
            x.grad = None

    measure(name + " fwd+bwd", step)


SIZES = {"1k": 1 << 10, "32k": 1 << 15, "1M": 1 << 20, "16M": 1 << 24}


def elementwise():
    for label, n in SIZES.items():
        x, y = torch.randn(n), torch.randn(n)
        mask, positive = x > 0, x.abs() + 0.1
        half, f16 = y.bfloat16(), y.half()
        integer, byte = x.long(), mask.to(torch.uint8)
        for name, f in {
            "add": lambda: x + y,
            "add_": lambda: x.add_(y),
            "add scalar": lambda: x + 0.5,
            "mul_ scalar": lambda: x.mul_(1.0),
            "div": lambda: x / y,
            "relu": lambda: x.relu(),
            "relu_": lambda: x.relu_(),
            "sqrt": lambda: positive.sqrt(),
            "exp": lambda: y.exp(),
            "log": lambda: positive.log(),
            "tanh": lambda: y.tanh(),
            "erf": lambda: y.erf(),
            "sigmoid": lambda: y.sigmoid(),
            "gelu": lambda: F.gelu(y),
            "silu": lambda: F.silu(y),
            "clamp": lambda: y.clamp(-1.0, 1.0),
            "gt": lambda: x > y,
            "where": lambda: torch.where(mask, x, y),
            "masked_fill": lambda: x.masked_fill(mask, 0.0),
            "dropout": lambda: F.dropout(x, 0.5),
            "fill_": lambda: x.fill_(1.0),
            "clone": lambda: y.clone(),
            "f32 to bf16": lambda: y.bfloat16(),
            "bf16 to f32": lambda: half.float(),
            "bf16 add": lambda: half + half,
            "bf16 gelu": lambda: F.gelu(half),
            "f32 to f16": lambda: y.half(),
            "f16 add": lambda: f16 + f16,
            "i64 to f32": lambda: integer.float(),
            "u8 to f32": lambda: byte.float(),
        }.items():
            measure(f"{name} {label}", f)
    for label, n in list(SIZES.items())[:3]:
        x = torch.randn(n)
        both(f"gelu {label}", [x], F.gelu)
        both(f"relu {label}", [x], torch.relu)
        both(f"tanh {label}", [x], torch.tanh)
        both(f"silu {label}", [x], F.silu)
        both(f"mul {label}", [x, x], torch.mul)
    image, channel = torch.randn(32, 64, 32, 32), torch.randn(64, 1, 1)
    rows, row, column = torch.randn(4096, 1024), torch.randn(1024), torch.randn(4096, 1)
    both("add [32,64,32,32]+[64,1,1]", [image, channel], torch.add)
    both("add 4096x1024 + 1024", [rows, row], torch.add)
    both("mul 4096x1024 * 4096x1", [rows, column], torch.mul)
    measure("add 4096x1024 + t", lambda: rows.view(1024, 4096) + rows.t())


def reductions():
    for label, n in SIZES.items():
        x = torch.randn(n)
        half, mask = x.bfloat16(), x > 0
        measure(f"sum {label}", lambda: x.sum())
        measure(f"mean {label}", lambda: x.mean())
        measure(f"max {label}", lambda: x.max())
        measure(f"argmax {label}", lambda: x.argmax())
        measure(f"var {label}", lambda: x.var())
        measure(f"norm {label}", lambda: torch.linalg.vector_norm(x))
        measure(f"bf16 sum {label}", lambda: half.sum())
        measure(f"bool sum {label}", lambda: mask.sum())
        measure(f"any {label}", lambda: mask.logical_not().any())
    for shape in [[4096, 1024], [64, 256, 256], [32, 64, 1024], [100_000, 10]]:
        x = torch.randn(shape)
        for d in range(len(shape)):
            label = f"{shape} dim {d}"
            measure(f"sum {label}", lambda: x.sum(d))
            measure(f"mean {label}", lambda: x.mean(d))
            measure(f"amax {label}", lambda: x.amax(d))
            measure(f"max {label}", lambda: x.max(d))
            measure(f"argmax {label}", lambda: x.argmax(d))
            measure(f"var {label}", lambda: x.var(d))
            measure(f"std {label}", lambda: x.std(d))
            measure(f"cumsum {label}", lambda: x.cumsum(d))
            both(f"softmax {label}", [x], lambda x: x.softmax(d))
            both(f"log_softmax {label}", [x], lambda x: x.log_softmax(d))
    image = torch.randn(32, 64, 32, 32)
    both("sum [32,64,32,32] dims 0,2,3", [image], lambda x: x.sum((0, 2, 3)))
    both("mean [32,64,32,32] dims 2,3", [image], lambda x: x.mean((2, 3)))
    measure("var [32,64,32,32] dims 0,2,3", lambda: image.var((0, 2, 3)))
    for rows, classes in [(128, 10), (4096, 1024), (256, 50_000)]:
        x, y = torch.randn(rows, classes), torch.randint(0, classes, (rows,))
        both(f"cross_entropy {rows}x{classes}", [x], lambda x: F.cross_entropy(x, y))


def norms():
    for rows, width in [(4096, 1024), (1024, 256), (32, 768), (100_000, 32)]:
        inputs = [torch.randn(rows, width), torch.randn(width), torch.randn(width)]
        both(f"layer_norm {rows}x{width}", inputs, lambda x, w, b: F.layer_norm(x, (width,), w, b))
    for shape in [[32, 64, 32, 32], [32, 512, 4, 4], [4, 16, 8, 8], [128, 1024, 1, 1]]:
        c = shape[1]
        inputs = [torch.randn(shape), torch.randn(c), torch.randn(c)]
        mean, var = torch.zeros(c), torch.ones(c)
        for training in [True, False]:
            mode = "train" if training else "eval"
            both(
                f"batch_norm {mode} {shape}",
                inputs,
                lambda x, w, b: F.batch_norm(x, mean, var, w, b, training),
            )
        if shape[2] > 1:
            both(f"group_norm {shape}", inputs, lambda x, w, b: F.group_norm(x, 8, w, b))


def pools():
    for shape in [[32, 64, 32, 32], [32, 64, 112, 112], [4, 6, 28, 28]]:
        x = torch.randn(shape)
        both(f"max_pool 2x2 {shape}", [x], lambda x: F.max_pool2d(x, 2))
        both(f"max_pool 3x3 s2 p1 {shape}", [x], lambda x: F.max_pool2d(x, 3, 2, 1))
        both(f"avg_pool 2x2 {shape}", [x], lambda x: F.avg_pool2d(x, 2))
        both(f"avg_pool 3x3 s1 p1 {shape}", [x], lambda x: F.avg_pool2d(x, 3, 1, 1))
        both(f"adaptive_avg 1 {shape}", [x], lambda x: F.adaptive_avg_pool2d(x, 1))
        both(f"adaptive_avg 7 {shape}", [x], lambda x: F.adaptive_avg_pool2d(x, 7))


def copies():
    for rows, columns in [(4096, 1024), (64, 64), (1000, 1000), (3, 1_000_000)]:
        x = torch.randn(rows, columns)
        half = x.bfloat16()
        measure(f"transpose {rows}x{columns}", lambda: x.t().contiguous())
        measure(f"transpose bf16 {rows}x{columns}", lambda: half.t().contiguous())
    image, last = torch.randn(32, 64, 32, 32), torch.randn(32, 32, 32, 64)
    heads = torch.randn(8, 128, 4, 64)
    measure("NCHW to NHWC", lambda: image.permute(0, 2, 3, 1).contiguous())
    measure("NHWC to NCHW", lambda: last.permute(0, 3, 1, 2).contiguous())
    measure("heads [8,128,4,64] 0,2,1,3", lambda: heads.permute(0, 2, 1, 3).contiguous())
    measure("heads [8,128,4,64] 0,2,3,1", lambda: heads.permute(0, 2, 3, 1).contiguous())
    measure("slice columns", lambda: image[..., ::2].contiguous())
    measure("copy_ t", lambda: image.copy_(last.permute(0, 3, 1, 2)))
    measure("expand contiguous", lambda: torch.ones(1024).expand(4096, 1024).contiguous())
    for d in [0, 1, 3]:
        both(f"cat dim {d}", [image, image], lambda a, b: torch.cat([a, b], d))
    row = torch.randn(3, 32, 32)
    measure("stack 128 of [3,32,32]", lambda: torch.stack([row] * 128))
    measure("flip", lambda: image.flip(3))
    table, index = torch.randn(50_000, 256), torch.randint(0, 50_000, (4096,))
    both("index_select 4096 of 50000x256", [table], lambda x: x.index_select(0, index))
    small, tokens = torch.randn(1000, 64), torch.randint(0, 1000, (32, 128))
    both("embedding 1000x64 [32,128]", [small], lambda x: F.embedding(tokens, x))
    both("embedding 50000x256 [4096]", [table], lambda x: F.embedding(index, x))
    x, along = torch.randn(4096, 1024), torch.randint(0, 1024, (4096, 1024))
    both("gather 4096x1024 dim 1", [x], lambda x: x.gather(1, along))
    both("gather 4096x1024 dim 0", [x], lambda x: x.gather(0, along))
    measure("scatter_add 4096x1024 dim 1", lambda: x.scatter_add(1, along, x))
    measure("scatter 4096x1024 dim 1", lambda: x.scatter(1, along, x))
    target, source = torch.zeros(50_000, 256), torch.randn(4096, 256)
    measure("index_add 4096 into 50000x256", lambda: target.index_add(0, index, source))
    wide = torch.randn(1 << 20)
    mask = wide > 0
    measure("masked_select 1M", lambda: wide.masked_select(mask))
    measure("tril 1024", lambda: x[:1024].tril())


parts = {f.__name__: f for f in [elementwise, reductions, norms, pools, copies]}
only = args.only
if args.only in parts:
    parts, args.only = {args.only: parts[args.only]}, ""
for part in parts.values():
    part()
if args.binary is None:
    for name, seconds in times.items():
        print(json.dumps({"name": name, "seconds": seconds}))
else:
    command = [args.binary, *filter(None, [only])]
    environment = {**os.environ, "FLAMBEAU_NUM_THREADS": str(args.threads)}
    lines = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    ours = {row["name"]: row["seconds"] for row in map(json.loads, lines.stdout.splitlines())}
    print(f"{'':<48} {'torch us':>12} {'ours us':>12} {'ratio':>8}")
    for name in sorted(times, key=lambda name: -times[name] / ours[name]):
        torch_us, ours_us = times[name] * 1e6, ours[name] * 1e6
        print(f"{name:<48} {torch_us:>12.1f} {ours_us:>12.1f} {torch_us / ours_us:>8.2f}")
