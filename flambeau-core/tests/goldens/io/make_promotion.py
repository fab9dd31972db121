"""Writes promotion.txt: torch.promote_types and torch.result_type of every pair of element types, operands being
tensors with dimensions, 0-d tensors and numbers. `table row | results by column` a line. python3 make_promotion.py"""
import torch

NAMES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
TYPES = [getattr(torch, n) for n in NAMES]
NUMBERS = [True, 3, 2.5]
many = [torch.ones(2, dtype=t) for t in TYPES]
one = [torch.ones((), dtype=t) for t in TYPES]


def table(name, rows, columns, f=torch.result_type):
    for row, label in zip(rows, NAMES):
        yield f"{name} {label} | " + " ".join(str(f(row, column))[6:] for column in columns)


OUT = [*table("promote", TYPES, TYPES, torch.promote_types), *table("many-many", many, many), *table("many-one", many, one),
       *table("one-one", one, one), *table("many-number", many, NUMBERS), *table("one-number", one, NUMBERS)]
open("promotion.txt", "w").write("\n".join(OUT) + "\n")
