"""Writes index.txt: x[index], x after x[index] = v, and the gradient of x in (x[index] * w).sum(), for indices that mix
numbers, slices, new axes, ellipses, integer tensors and masks. x counts from 0; v is -1, -2, ... where no place is named
twice, else -1; w counts from 1. `shape | index | result's shape | result | x after | gradient` a line. python3 make_index.py"""
import random
import torch

random.seed(0)


def item(size, kinds):
    kind = random.choice(kinds)
    if kind == "int":
        return str(random.randrange(-size, size))
    if kind == "slice":
        a, b = random.choice(["", "0", "1", "-2", "9"]), random.choice(["", "2", "-1", "9", "1"])
        return f"{a}:{b}:{random.choice(['1', '1', '2', '3'])}"
    if kind == "list":
        return "t" + ",".join(str(random.randrange(-size, size)) for _ in range(3))
    if kind == "grid":
        return "g" + ",".join(str(random.randrange(-size, size)) for _ in range(6))
    bits = [random.randrange(2) for _ in range(size)]
    while sum(bits) != 3 and size >= 3:
        bits = [random.randrange(2) for _ in range(size)]
    return "m" + "".join(map(str, bits))


def value(text):
    if text == "...":
        return ...
    if text == "None":
        return None
    if text[0] == "t":
        return torch.tensor([int(v) for v in text[1:].split(",")])
    if text[0] == "g":
        return torch.tensor([int(v) for v in text[1:].split(",")]).view(2, 3)
    if text[0] == "m":
        return torch.tensor([c == "1" for c in text[1:]])
    if ":" in text:
        a, b, s = (int(v) if v else None for v in text.split(":"))
        return slice(a, b, s)
    return int(text)


def numbers(t):
    return " ".join(str(int(v)) for v in t.reshape(-1).tolist())


OUT = []
while len(OUT) < 120:
    shape = [random.choice([3, 4, 5]) for _ in range(random.choice([1, 2, 3, 3, 4]))]
    items = [item(n, ["int", "slice", "slice", "list", "grid", "mask"]) for n in shape[: random.randint(1, len(shape))]]
    if random.random() < 0.3:
        items.insert(random.randint(0, len(items)), "None")
    if len(items) < len(shape) and random.random() < 0.4:
        at = random.randint(0, len(items))
        items = items[:at] + ["..."] + [item(shape[-1 - i], ["int", "slice", "list", "mask"]) for i in range(len(items) - at)][::-1]
    if len(items) > 6:
        continue
    index = tuple(value(i) for i in items)
    n = torch.Size(shape).numel()
    x = torch.arange(n, dtype=torch.float64).view(shape).requires_grad_()
    try:
        y = x[index]
    except (IndexError, RuntimeError):
        continue
    (y * torch.arange(1, y.numel() + 1).view(y.shape)).sum().backward()
    after, distinct = x.detach().clone(), len(set(y.reshape(-1).tolist())) == y.numel()
    after[index] = -1.0 - torch.arange(y.numel(), dtype=torch.float64).view(y.shape) if distinct else -1.0
    OUT.append(" | ".join([" ".join(map(str, shape)), " ".join(items), " ".join(map(str, y.shape)), numbers(y),
                           numbers(after), numbers(x.grad)]))
open("index.txt", "w").write("\n".join(OUT) + "\n")
