"""The types that PyTorch's autocast gives on a CUDA device; no device is needed, for the tensors have no
elements. Writes mixed_cuda.json beside itself. `x` and `v` are float32, `h` and `img`, `vol` float16."""

import json
import pathlib

import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

OPS = {
    "exp": lambda: h.exp(), "log": lambda: h.log(), "tan": lambda: h.tan(), "rsqrt": lambda: h.rsqrt(),
    "reciprocal": lambda: h.reciprocal(), "softplus": lambda: F.softplus(h), "sqrt": lambda: h.sqrt(),
    "relu": lambda: h.relu(), "gelu": lambda: F.gelu(h), "pow": lambda: h.pow(2), "square": lambda: h.square(), "add": lambda: h + x,
    "atan2": lambda: torch.atan2(h, x), "addcmul": lambda: torch.addcmul(h, h, x), "mm": lambda: x.mm(x),
    "mv": lambda: x.mv(v), "dot": lambda: h[0].dot(v), "linear": lambda: F.linear(x, x, v),
    "conv2d": lambda: F.conv2d(img.float(), torch.empty(2, 4, 3, 3, device="cuda")),
    "prelu": lambda: F.prelu(x, v[:1]), "bilinear": lambda: F.bilinear(h, x, torch.empty(2, 4, 4, device="cuda")),
    "attention": lambda: F.scaled_dot_product_attention(x[None, None], x[None, None], x[None, None]),
    "sum": lambda: h.sum(), "prod": lambda: h.prod(), "mean": lambda: h.mean(), "var": lambda: h.var(),
    "norm": lambda: torch.linalg.vector_norm(h), "trace": lambda: h.trace(), "cumsum": lambda: h.cumsum(0),
    "cumprod": lambda: h.cumprod(0), "logsumexp": lambda: h.logsumexp(0), "softmax": lambda: h.softmax(-1),
    "log_softmax": lambda: h.log_softmax(-1), "layer_norm": lambda: F.layer_norm(h, [4]),
    "group_norm": lambda: F.group_norm(img, 2), "cat": lambda: torch.cat([h, x]),
    "max_pool3d": lambda: F.max_pool3d(vol, 2), "avg_pool3d": lambda: F.avg_pool3d(vol, 2),
    "pad": lambda: F.pad(img, [1, 1, 1, 1], mode="reflect"), "cosine_similarity": lambda: F.cosine_similarity(h, h),
    "mse_loss": lambda: F.mse_loss(h, h), "huber_loss": lambda: F.huber_loss(h, h),
    "cross_entropy": lambda: F.cross_entropy(h, torch.zeros(4, dtype=torch.long, device="cuda")),
    "GRUCell": lambda: nn.GRUCell(4, 4, device="cuda")(x), "RNNCell": lambda: nn.RNNCell(4, 4, device="cuda")(x),
    "LSTMCell": lambda: nn.LSTMCell(4, 4, device="cuda")(x)[1],
    "binary_cross_entropy": lambda: F.binary_cross_entropy(h, h),
}


def answer(call):
    try:
        return str(call().dtype).removeprefix("torch.")
    except RuntimeError:
        return "error"


with FakeTensorMode():
    x, v = torch.empty(4, 4, device="cuda"), torch.empty(4, device="cuda")
    h = x.half()
    img, vol = torch.empty(1, 4, 4, 4, device="cuda").half(), torch.empty(1, 1, 4, 4, 4, device="cuda").half()
    # torch.autocast itself turns off where no device is.
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.float16)
    results = {name: answer(call) for name, call in OPS.items()}
with open(pathlib.Path(__file__).with_name("mixed_cuda.json"), "w") as f:
    f.write(json.dumps(results, indent=0) + "\n")
