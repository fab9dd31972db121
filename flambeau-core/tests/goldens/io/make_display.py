"""Writes display.txt: tensors and how PyTorch prints them.

A case is a line `# dtype | shape | values | gradient | options`, then the text, then an empty line.
Values are numbers, or `lin A B` for A + B * i. Run with torch installed: python3 make_display.py
"""
import torch

OUT = []


def case(dtype, shape, values, grad="", **options):
    n = 1
    for s in shape:
        n *= s
    if isinstance(values, str):
        a, b = map(float, values.split()[1:])
        data = [a + b * i for i in range(n)]
        text = values
    else:
        data, text = values, " ".join(repr(float(v)) for v in values)
    x = torch.tensor(data, dtype=torch.float64).to(getattr(torch, dtype)).reshape(shape)
    if grad:
        x.requires_grad_()
    x = {"": lambda: x, "leaf": lambda: x, "mul": lambda: x * 2, "exp": lambda: x.exp(), "select": lambda: x[0],
         "t": lambda: x.t(), "relu": lambda: torch.relu(x), "view": lambda: x.view(-1), 
         "slices": lambda: slices(x)}[grad]()
    torch.set_printoptions(profile="default")
    torch.set_printoptions(**options)
    opts = " ".join(f"{k}={v}" for k, v in options.items())
    OUT.append(f"# {dtype} | {' '.join(map(str, shape))} | {text} | {grad} | {opts}\n{str(x)}\n")
    torch.set_printoptions(profile="default")


def slices(x):
    y = x * 1
    y[0].zero_()
    return y


nan, inf = float("nan"), float("inf")
case("float32", (), [3.5])
case("float32", (), [3.0])
case("float32", (), [nan])
case("float32", (), [1e-10])
case("int64", (), [-7])
case("bool", (), [1])
case("float64", (), [0.1])
case("float32", (0,), [])
case("int64", (0,), [])
case("bool", (2, 0), [])
case("float32", (0, 3), [])
case("float64", (1, 0, 2), [])
case("float32", (3,), [1, 2, 3])
case("float32", (3,), [1, -2.5, 3])
case("float32", (4,), [0, 0, 0, 0])
case("float32", (3,), [0.0, -0.0, nan])
case("float32", (3,), [1, nan, inf])
case("float32", (3,), [-1.5, -inf, inf])
case("float32", (2,), [nan, inf])
case("float32", (3,), [1e-5, 1, 2])
case("float32", (3,), [1e-4, 0.05, 0.0])
case("float32", (2,), [1e-3, 1.01])
case("float32", (2,), [0.5, 499.0])
case("float32", (2,), [0.5, 501.0])
case("float32", (2,), [1e8, 2e8])
case("float32", (2,), [2e8, 1.0])
case("float32", (3,), [1000, 1, 0])
case("float32", (3,), [1001, 1, nan])
case("float32", (3,), [1e20, -3e-20, inf])
case("float64", (3,), [1e200, -3e-200, 5])
case("float32", (4,), [0.00005, 0.12345, 0.99995, 0.000049])
case("float32", (5,), [0.5, 1.5, 2.5, 0.12345, 0.00012345])
case("float64", (2,), [1 / 3, 2 / 3])
case("float16", (3,), [0.1, 65504, 1])
case("float16", (2, 2), [0.1, 0.2, 1.5, 2])
case("bfloat16", (3,), [0.1, 3.14159, 1e10])
case("bfloat16", (2,), [1, 2])
case("int32", (3,), [1, -20, 300])
case("int16", (2, 2), [1, -20, 300, 7])
case("int8", (3,), [1, -128, 127])
case("uint8", (2, 3), [0, 255, 3, 4, 5, 60])
case("int64", (2, 3), [1, 2, 3, 4, 5, 600000])
case("bool", (2, 3), [1, 0, 1, 1, 1, 0])
case("bool", (40,), [i % 3 == 0 for i in range(40)])
case("float32", (2, 3, 2), "lin -3 0.7")
case("float32", (2, 2, 2, 2), "lin 0 1")
case("float32", (1, 1, 1), [2])
case("float32", (50,), "lin 0 1")
case("float32", (50,), "lin 0.5 -1.25")
case("int64", (50,), "lin 0 1000")
case("float32", (3, 30), "lin 0.25 0.125")
case("float32", (1000,), "lin 0 1")
case("float32", (1001,), "lin 0 1")
case("float32", (2000,), "lin 0.5 0.5")
case("int64", (40, 40), "lin 0 1")
case("float32", (40, 40), "lin -1 0.001")
case("float32", (2, 3, 400), "lin 0 0.01")
case("float32", (10, 10, 11), "lin 0 1")
case("float32", (7, 7, 7, 7), "lin 1e-3 1e3")
case("float64", (6, 300), "lin 0 1")
case("uint8", (1, 28, 40), "lin 0 0.1")
case("float32", (500, 3), "lin 0 1")
case("float32", (3,), [1, 2, 3], "leaf")
case("float32", (2, 2), [1, 2, 3, 4], "leaf")
case("float32", (2,), [1.5, 2], "mul")
case("float64", (2,), [1.5, 2], "exp")
case("float32", (2, 2), [1, 2, 3, 4], "t")
case("float32", (2, 2), [1, 2, 3, 4], "select")
case("float32", (2, 2), [1, -2, 3, 4], "relu")
case("float32", (2, 2), [1, -2, 3, 4], "view")
case("float32", (2, 2), [1, -2, 3, 4], "slices")
case("float32", (2, 9), "lin 1000.5 1", "mul")
case("float64", (9,), "lin 1.5 1", "leaf")
case("float64", (8,), "lin 1.5 1", "mul")
case("float32", (3,), [1.23456, 2, 3], precision=2)
case("float32", (3,), [1.23456, 2, 3], precision=0)
case("float32", (3,), [1.23456, 2, 3], sci_mode=True)
case("float32", (3,), [1, 2, 3], sci_mode=True)
case("float32", (3,), [1e-9, 2, 3], sci_mode=False)
case("float32", (10,), "lin 0 1", threshold=5)
case("float32", (10, 10), "lin 0 1", threshold=5, edgeitems=1)
case("float32", (10, 10), "lin 0 1", threshold=5, edgeitems=0)
case("int64", (10,), "lin 0 1", threshold=5, edgeitems=0)
case("float32", (20,), "lin 0 1", linewidth=40)
case("float32", (3, 5), "lin 0 1", linewidth=10)
open("display.txt", "w").write("\n".join(OUT))
