"""Writes create.txt: what PyTorch's creation functions give. `name | dtype | shape | numbers` a line. python3 make_create.py"""
import torch

OUT = []


def put(name, x):
    text = " ".join(repr(v) for v in x.double().reshape(-1).tolist())
    OUT.append(f"{name} | {str(x.dtype)[6:]} | {' '.join(map(str, x.shape))} | {text}")


f64, i64, i32, u8, f16, bf16 = torch.float64, torch.int64, torch.int32, torch.uint8, torch.float16, torch.bfloat16
for i, a in enumerate([(0, 10, 1), (5, -5, -2), (0, 1, 0.1), (0.0, 3.0, 1), (1, 2.05, 0.35), (-1, 1, 0.3), (0, 0, 1),
                       (10, 3, -3), (0.5, 20.5, 0.7), (2.5, 3, 1), (-3, 1e-9, 0.1), (1, 1.0000001, 1)]):
    put(f"arange {i}", torch.arange(*a))
    put(f"arange64 {i}", torch.arange(*a, dtype=f64))
put("arange_int", torch.arange(0.5, 6.2, 1.5, dtype=i64))
put("arange_u8", torch.arange(0, 5, dtype=u8))
put("arange_half", torch.arange(0, 1, 0.125, dtype=f16))
for i, a in enumerate([(0, 1, 5), (-10, 10, 7), (3, 3, 4), (1, 0, 3), (2, 5, 1), (0, 1, 0), (-1.5, 2.25, 10), (0, 100, 2)]):
    put(f"linspace {i}", torch.linspace(*a))
    put(f"linspace64 {i}", torch.linspace(*a, dtype=f64))
    put(f"linspace_i {i}", torch.linspace(*a, dtype=i64))
    put(f"logspace {i}", torch.logspace(a[0] / 10, a[1] / 10, a[2]))
    put(f"logspace2 {i}", torch.logspace(a[0] / 10, a[1] / 10, a[2], base=2, dtype=f64))
put("eye 3 3", torch.eye(3))
put("eye 2 4", torch.eye(2, 4, dtype=i64))
put("eye 4 2", torch.eye(4, 2, dtype=torch.bool))
put("eye 0 3", torch.eye(0, 3))
put("full int", torch.full((2, 2), 7))
put("full float", torch.full((3,), 0.1))
put("full bool", torch.full((1,), True))
put("full typed", torch.full((2,), 3.9, dtype=i32))
put("zeros", torch.zeros(2, 0, 3))
put("ones", torch.ones(2, dtype=u8))
like = torch.ones(2, 3, dtype=i32)
put("zeros_like", torch.zeros_like(like))
put("ones_like", torch.ones_like(like, dtype=f64))
put("full_like", torch.full_like(like, 2.7))
put("full_like typed", torch.full_like(like, 2.5, dtype=bf16))
for i, (r, c, o) in enumerate([(3, 3, 0), (4, 3, -1), (4, 3, 1), (2, 5, 2), (5, 2, -2), (3, 3, 9), (3, 3, -9), (0, 4, 0)]):
    put(f"tril {i}", torch.tril_indices(r, c, o))
    put(f"triu {i}", torch.triu_indices(r, c, o))
for i, g in enumerate(torch.meshgrid(torch.arange(2), torch.arange(3), torch.tensor(5), indexing="ij")):
    put(f"meshgrid {i}", g)
open("create.txt", "w").write("\n".join(OUT) + "\n")
