"""Writes the goldens of mixed precision from PyTorch: python mixed.py (torch 2.15).

Inputs are computed by both sides: see `eighths` and `pattern`.
"""
import json
import math
import pathlib
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.use_deterministic_algorithms(True)


def eighths(shape, salt):
    """Multiples of 1/8 between -1 and 1, none zero, which bf16 and f16 hold exactly."""
    n = math.prod(shape)
    values = [((i * 7 + salt * 5) % 16 - 7.5) / 8 for i in range(n)]
    return torch.tensor(values, dtype=torch.float32).reshape(shape)


def pattern(shape, salt):
    n = math.prod(shape)
    values = [-1 + 2 * ((i * 7919 + salt * 104729) % 997 + 0.5) / 997 for i in range(n)]
    return torch.tensor(values, dtype=torch.float64).to(torch.float32).reshape(shape)


def flat(t):
    return [float("%.9g" % v) for v in t.detach().double().flatten().tolist()]


# Each operation with its operands' shapes. Operand i has the first type where i is even, the second
# where it is odd.
OPS = {
    "conv1d": (lambda x, w, b: F.conv1d(x, w, b), [(1, 2, 5), (2, 2, 3), (2,)]),
    "conv2d": (lambda x, w, b: F.conv2d(x, w, b), [(1, 2, 4, 4), (2, 2, 3, 3), (2,)]),
    "conv3d": (lambda x, w: F.conv3d(x, w), [(1, 1, 3, 3, 3), (2, 1, 2, 2, 2)]),
    "conv_transpose2d": (lambda x, w, b: F.conv_transpose2d(x, w, b), [(1, 2, 2, 2), (2, 2, 2, 2), (2,)]),
    "linear": (lambda x, w, b: F.linear(x, w, b), [(2, 3), (4, 3), (4,)]),
    "matmul": (torch.matmul, [(2, 3), (3, 2)]),
    "mm": (torch.mm, [(2, 3), (3, 2)]),
    "bmm": (torch.bmm, [(2, 2, 3), (2, 3, 2)]),
    "addmm": (torch.addmm, [(2, 2), (2, 3), (3, 2)]),
    "baddbmm": (torch.baddbmm, [(2, 2, 2), (2, 2, 3), (2, 3, 2)]),
    "mv": (torch.mv, [(2, 3), (3,)]),
    "dot": (torch.dot, [(3,), (3,)]),
    "prelu": (F.prelu, [(2, 3), (1,)]),
    "prod": (lambda x: x.prod(), [(4,)]),
    "trace": (torch.trace, [(3, 3)]),
    "sum": (lambda x: x.sum(), [(4,)]),
    "mean": (lambda x: x.mean(), [(4,)]),
    "softmax": (lambda x: F.softmax(x, -1), [(2, 3)]),
    "log_softmax": (lambda x: F.log_softmax(x, -1), [(2, 3)]),
    "exp": (torch.exp, [(4,)]),
    "relu": (F.relu, [(4,)]),
    "gelu": (F.gelu, [(4,)]),
    "add": (torch.add, [(2, 3), (2, 3)]),
    "mul": (torch.mul, [(2, 3), (3,)]),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 2), [(1, 1, 4, 4)]),
    "max_pool2d": (lambda x: F.max_pool2d(x, 2), [(1, 1, 4, 4)]),
    "avg_pool3d": (lambda x: F.avg_pool3d(x, 2), [(1, 1, 2, 4, 4)]),
    "max_pool3d": (lambda x: F.max_pool3d(x, 2), [(1, 1, 2, 4, 4)]),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, 2), [(1, 1, 4, 4)]),
    "adaptive_avg_pool3d": (lambda x: F.adaptive_avg_pool3d(x, 1), [(1, 2, 2, 2, 2)]),
    "pad_zeros": (lambda x: F.pad(x, (1, 1)), [(1, 1, 3)]),
    "pad_reflect": (lambda x: F.pad(x, (1, 1), mode="reflect"), [(1, 1, 3)]),
    "pad_replicate": (lambda x: F.pad(x, (1, 1), mode="replicate"), [(1, 1, 3)]),
    "pad_circular": (lambda x: F.pad(x, (1, 1), mode="circular"), [(1, 1, 3)]),
    "cat": (lambda a, b: torch.cat([a, b]), [(2, 2), (1, 2)]),
    "stack": (lambda a, b: torch.stack([a, b]), [(2, 2), (2, 2)]),
    "index_copy": (lambda x, y: x.index_copy(0, torch.tensor([1]), y), [(2, 2), (1, 2)]),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (4,), w, b), [(2, 4), (4,), (4,)]),
    "batch_norm": (lambda x, w: F.batch_norm(x, None, None, w, None, True), [(3, 2, 2), (2,)]),
    "cross_entropy": (lambda x, w: F.cross_entropy(x, torch.tensor([0, 2]), w.abs()), [(2, 3), (3,)]),
    "cross_entropy_soft": (lambda x, t: F.cross_entropy(x, t.abs()), [(2, 3), (2, 3)]),
    "nll_loss": (lambda x: F.nll_loss(x, torch.tensor([0, 2])), [(2, 3)]),
    "mse_loss": (F.mse_loss, [(2, 3), (2, 3)]),
    "l1_loss": (F.l1_loss, [(2, 3), (2, 3)]),
    "smooth_l1_loss": (F.smooth_l1_loss, [(2, 3), (2, 3)]),
    "huber_loss": (F.huber_loss, [(2, 3), (2, 3)]),
    "binary_cross_entropy": (lambda x, t: F.binary_cross_entropy(x.abs(), t.abs()), [(2, 3), (2, 3)]),
    "binary_cross_entropy_with_logits": (lambda x, t: F.binary_cross_entropy_with_logits(x, t.abs()), [(2, 3), (2, 3)]),
    "kl_div": (lambda x, t: F.kl_div(x, t.abs(), reduction="sum"), [(2, 3), (2, 3)]),
    "poisson_nll_loss": (F.poisson_nll_loss, [(2, 3), (2, 3)]),
    "hinge_embedding_loss": (lambda x, t: F.hinge_embedding_loss(x, t.sign()), [(2, 3), (2, 3)]),
    "soft_margin_loss": (lambda x, t: F.soft_margin_loss(x, t.sign()), [(2, 3), (2, 3)]),
    "margin_ranking_loss": (lambda a, b: F.margin_ranking_loss(a, b, torch.ones(4)), [(4,), (4,)]),
    "triplet_margin_loss": (F.triplet_margin_loss, [(2, 3), (2, 3), (2, 3)]),
    "cosine_embedding_loss": (lambda a, b: F.cosine_embedding_loss(a, b, torch.ones(2)), [(2, 3), (2, 3)]),
}
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
# Type of the region, of even and of odd operands.
CASES = [("bf16", "f32", "f32"), ("bf16", "bf16", "bf16"), ("bf16", "bf16", "f32"), ("f16", "f32", "f32")]


def operation(f, shapes):
    out = {}
    for region, even, odd in CASES:
        operands = [eighths(s, i + 1).to(TYPES[(even, odd)[i % 2]]) for i, s in enumerate(shapes)]
        try:
            with torch.autocast("cpu", dtype=TYPES[region]):
                y = f(*operands)
            out[f"{region} {even} {odd}"] = [str(y.dtype).removeprefix("torch."), flat(y)]
        except RuntimeError:
            # PyTorch refuses operands of two types where autocast leaves them alone.
            pass
    return out


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn = nn.Conv2d(3, 6, 5), nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1, self.norm, self.fc2 = nn.Linear(16 * 5 * 5, 32), nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.norm(self.fc1(torch.flatten(x, 1))))
        return self.fc2(x)


def training(dtype, scaler=None):
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    losses, types = [], []
    x, y = pattern((8, 3, 32, 32), 1), torch.arange(8) % 10
    for step in range(20):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            logits = net(x)
            loss = F.cross_entropy(logits, y)
        if scaler:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        else:
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    grads = {str(p.grad.dtype) for p in net.parameters()}
    assert grads == {"torch.float32"} and loss.dtype == torch.float32
    out = {"logits": str(logits.dtype).removeprefix("torch."), "losses": losses}
    if scaler:
        out["scaler"] = scaler.state_dict()
    return out


def scaler():
    """The scale over steps whose gradient is finite, infinite or NaN, and the weight they leave."""
    s = torch.amp.GradScaler("cpu", init_scale=8.0, growth_factor=3.0, backoff_factor=0.25, growth_interval=2)
    w = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.5, momentum=0.9)
    rows = []
    for factor in [1.0, float("inf"), 0.5, 0.25, 2.0, float("nan"), 1.0, 1.0, 1.0]:
        optimizer.zero_grad()
        s.scale((w * factor).sum()).backward()
        if factor == 0.25:
            s.unscale_(optimizer)
            nn.utils.clip_grad_norm_([w], 0.1)
        s.step(optimizer)
        s.update(5.0 if factor == 2.0 else None)
        rows.append([s.get_scale(), s.state_dict()["_growth_tracker"]] + flat(w))
    return rows


results = {f"op {name}": operation(*op) for name, op in OPS.items()}
results["train bf16"] = training(torch.bfloat16)
results["train f32"] = training(None)
results["train f16"] = training(torch.float16, torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=5))
results["scaler"] = scaler()
with open(pathlib.Path(__file__).with_name("mixed.json"), "w") as f:
    f.write("{\n" + ",\n".join(json.dumps(k) + ": " + json.dumps(v, separators=(",", ":")) for k, v in results.items()) + "\n}\n")
