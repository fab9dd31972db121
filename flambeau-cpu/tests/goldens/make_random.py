"""Writes random.txt: numbers drawn by PyTorch's CPU generator (made with 2.15 on x86-64, AVX2 or better).

A line `seed S` starts a generator; the lines after it draw from it in turn, so a wrong count of
words anywhere shows in all that follows. A draw is

    OP DTYPE SIZE ARGUMENTS... = RESULT

with the elements' bits in hexadecimal; `#` and the FNV-1a hash of the bytes stands for a long
result that must agree bit for bit, `..` for what is left out of another long one.
"""

import pathlib
import warnings

import torch

warnings.filterwarnings("ignore", "(from|to - 1) is out of bounds")

DTYPES = {
    "f32": torch.float32, "f64": torch.float64, "f16": torch.float16, "bf16": torch.bfloat16,
    "i64": torch.int64, "i32": torch.int32, "i16": torch.int16, "i8": torch.int8,
    "u8": torch.uint8, "bool": torch.bool,
}
SIZES = [0, 1, 2, 15, 16, 17, 31, 32, 100, 624, 625, 1000]
lines = []


def bits(tensor):
    data = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    width = tensor.element_size()
    return data, [data[i:i + width][::-1].hex() for i in range(0, len(data), width)]


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"#{value:016x}"


def emit(head, tensor, exact):
    data, words = bits(tensor)
    if len(words) > 24:
        words = [fnv(data)] if exact else words[:3] + [".."] + words[-18:]
    lines.append(f"{head} = {' '.join(words)}".rstrip())


def weights(count, dtype):
    return torch.tensor([(i * 7919 % 13) / 4 for i in range(count)], dtype=DTYPES[dtype])


class Case:
    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)
        lines.append(f"seed {seed}")

    def fill(self, op, dtype, size, *args):
        out = torch.empty(size, dtype=DTYPES[dtype])
        g = self.generator
        words = " ".join(repr(a) for a in args)
        exact = op in ("uniform", "random", "randint", "bernoulli", "bernoulli_each")
        if op == "randint":
            out.random_(*args, generator=g)
        elif op == "bernoulli_each":
            out.bernoulli_(torch.arange(size, dtype=torch.float64).div(size).to(DTYPES[args[0]]), generator=g)
            words = args[0]
        elif op == "normal_strided":
            out = torch.empty(size, 2, dtype=DTYPES[dtype])[:, 0]
            out.normal_(*args, generator=g)
        else:
            getattr(out, op + "_")(*args, generator=g)
            exact = exact or (op == "normal" and size >= 16 and dtype != "f64")
        emit(" ".join(f"{op} {dtype} {size} {words}".split()), out, exact)
        return self

    def randperm(self, n):
        emit(f"randperm i64 {n}", torch.randperm(n, generator=self.generator), True)
        return self

    def multinomial(self, dtype, rows, categories, samples, replacement):
        table = torch.stack([weights(categories, dtype) for _ in range(rows)])
        drawn = torch.multinomial(table, samples, replacement, generator=self.generator)
        head = f"multinomial {dtype} {rows} {categories} {samples} {int(replacement)}"
        emit(head, drawn, True)
        return self

    def state(self):
        lines.append(f"state = {fnv(self.generator.get_state().numpy().tobytes())}")
        return self


# Every fill at every size, the generator never started anew in between.
for seed in (0, 1, 42, 2**32 + 5, 67280421310721):
    case = Case(seed).state()
    for size in SIZES:
        for dtype in ("f32", "f64", "f16", "bf16"):
            case.fill("uniform", dtype, size, 0.0, 1.0)
            case.fill("normal", dtype, size, 0.0, 1.0)
        case.fill("random", "i64", size).fill("randint", "i64", size, 0, 10).randperm(size)
        case.state()

# Bounds, means and probabilities that are not the common ones.
case = Case(7)
for dtype in ("f32", "f64", "f16", "bf16"):
    for low, high in ((-0.1377, 0.1377), (-3.0, 5.0), (1e4, 1.0001e4), (2.0, 2.0), (1.0, 1.001)):
        case.fill("uniform", dtype, 1000, low, high)
    for mean, std in ((0.3, 0.77), (-5.0, 0.0), (10.0, 100.0)):
        case.fill("normal", dtype, 5, mean, std).fill("normal", dtype, 1000, mean, std)
        case.fill("normal_strided", dtype, 17, mean, std)
    case.fill("exponential", dtype, 30, 1.7).fill("cauchy", dtype, 30, 0.3, 1.7)
    case.fill("log_normal", dtype, 31, 0.1, 0.5)
    case.state()
for dtype in DTYPES:
    case.fill("random", dtype, 1000)
    for p in (0.0, 0.3, 0.5, 1.0):
        case.fill("bernoulli", dtype, 1001, p)
    for p in ("f32", "f64", "f16", "bf16"):
        case.fill("bernoulli_each", dtype, 101, p)
    case.fill("randint", dtype, 100, 0, 2).fill("randint", dtype, 7, 1, None)
    if dtype != "bool":
        case.fill("randint", dtype, 1000, 3, 100).fill("geometric", dtype, 30, 0.3)
    if dtype not in ("bool", "u8"):
        case.fill("randint", dtype, 1000, -100, 100).fill("randint", dtype, 20, -1, None)
    case.state()
for dtype in ("i64", "i32", "f32", "f64", "bf16"):
    case.fill("randint", dtype, 101, -5, 2**28 - 6).fill("randint", dtype, 101, -5, 2**28 - 5)
    case.fill("randint", dtype, 101, 0, 2**31 - 1).state()
for dtype in ("i64", "f32", "f64", "bf16"):
    case.fill("randint", dtype, 101, -2**40, 2**45).fill("randint", dtype, 101, 0, 2**62 + 12345)
    case.fill("randint", dtype, 101, -2**53 + 1, 2**60 + 1).fill("randint", dtype, 101, -2**63, None)
for low, high in ((0, 65504), (-2047, 2049), (-65504, 65504), (-4099, 5001)):
    case.fill("randint", "f16", 1000, low, high)
case.randperm(20000).state()

# Weights.
case = Case(11)
for dtype in ("f32", "f64"):
    for rows, categories in ((1, 5), (1, 100), (3, 40)):
        for samples in (1, 2, 4):
            case.multinomial(dtype, rows, categories, samples, True)
            case.multinomial(dtype, rows, categories, samples, False)
    case.multinomial(dtype, 1, 1000, 5000, True).multinomial(dtype, 1, 1000, 900, False)
for dtype in ("f16", "bf16"):
    case.multinomial(dtype, 2, 50, 40, True).multinomial(dtype, 2, 50, 1, False)
case.state()

# A program's mixture; the kept normal is passed from one type to the next.
case = Case(3)
case.fill("uniform", "f32", 3, 0.0, 1.0).fill("normal", "f32", 5, 0.0, 1.0).state()
case.fill("normal", "f32", 20, 0.0, 1.0).fill("normal", "f64", 1, 0.0, 1.0)
case.fill("randint", "i64", 4, 0, 6).fill("normal", "bf16", 3, 1.0, 2.0).randperm(9)
case.fill("log_normal", "f32", 1, 0.0, 1.0).fill("bernoulli", "f32", 8, 0.5)
case.fill("normal", "f16", 2, 0.0, 1.0).fill("random", "i64", 1).state()

path = pathlib.Path(__file__).with_name("random.txt")
path.write_text("\n".join(lines) + "\n")
print(path, path.stat().st_size, "bytes,", len(lines), "lines")
