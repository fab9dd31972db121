"""PyTorch's side of `cargo xtask bench`: the rows of `src/rows`, by the same names.

    python3 torch_rows.py THREADS

Each line of standard input is the name of a row; the answer is a line of JSON with the seconds of
one call. Warm-up and length of a sample are those of `src/main.rs`.
"""

import json
import resource
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

SAMPLE_SECONDS = 0.06
LONG = 1 << 24
ROWS = {}


def row(name):
    """Registers a function that prepares the row and returns one call of its work."""

    def register(prepare):
        ROWS[name] = prepare
        return prepare

    return register


def tensors(name, make, call):
    """A row that computes from tensors made beforehand."""

    def prepare():
        inputs = make()
        return lambda: call(*inputs)

    ROWS[name] = prepare


def through(call):
    """Forward, and backward with the result itself as its gradient."""

    def run(x, *others):
        y = call(x, *others)
        return torch.autograd.grad(y, x, y.detach())

    return run


tensors("add_16", lambda: (torch.randn(16), torch.randn(16)), torch.add)
tensors("add_16_grad", lambda: (torch.randn(16).requires_grad_(), torch.randn(16)), torch.add)


@row("chain_40_ops_backward")
def chain():
    g, b = torch.randn(16).requires_grad_(), torch.randn(16)

    def run():
        y = g
        for _ in range(20):
            y = y * b + b
        y.sum().backward()
        g.grad = None

    return run


def long(*shape):
    return lambda: (torch.randn(*(shape or (LONG,))),)


tensors("add_16M_out", lambda: (torch.randn(LONG), torch.randn(LONG)), torch.Tensor.add_)
tensors("add_16M", lambda: (torch.randn(LONG), torch.randn(LONG)), torch.add)
tensors("exp_16M", long(), torch.exp)
tensors("gelu_16M", long(), F.gelu)
tensors("sum_16M", long(), torch.sum)
matrix = long(4096, 1024)
tracked = lambda: (torch.randn(4096, 1024, requires_grad=True),)
tensors("sum_dim0_4096x1024", matrix, lambda x: x.sum(0))
tensors("softmax_4096x1024", matrix, lambda x: torch.softmax(x, -1))
tensors("layer_norm_4096x1024", matrix, lambda x: F.layer_norm(x, (1024,)))
tensors("transpose_copy_4096x1024", matrix, lambda x: x.t().contiguous())
tensors("softmax_4096x1024_fwd_bwd", tracked, through(lambda x: torch.softmax(x, -1)))
tensors("layer_norm_4096x1024_fwd_bwd", tracked, through(lambda x: F.layer_norm(x, (1024,))))
tensors(
    "max_pool2d_n32_c64_h32_fwd_bwd",
    lambda: (torch.randn(32, 64, 32, 32, requires_grad=True),),
    through(lambda x: F.max_pool2d(x, 2)),
)
tensors(
    "embedding_10000x256_n4096_fwd_bwd",
    lambda: (torch.randn(10_000, 256, requires_grad=True), torch.randint(0, 10_000, (4096,))),
    through(lambda table, indices: F.embedding(indices, table)),
)


def product(label, dtype, m, k, n, shape):
    make = lambda: (torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype))
    tensors(f"matmul_{label}_{shape}", make, torch.matmul)


for n in (64, 256, 1024, 2048):
    product("f32", torch.float32, n, n, n, n)
    product("bf16", torch.bfloat16, n, n, n, n)
for m, k, n in ((1, 1024, 1024), (4, 400, 120), (1024, 1024, 8), (32, 4096, 32)):
    product("f32", torch.float32, m, k, n, f"{m}x{k}x{n}")
tensors("bmm_32x128x64x128", lambda: (torch.randn(32, 128, 64), torch.randn(32, 64, 128)), torch.bmm)


def convolution(n, c, h, k, r, stride, padding, dilation, groups):
    name = f"conv_n{n}_c{c}_h{h}_k{k}_r{r}_s{stride}_p{padding}"
    name += f"_d{dilation}" if dilation != 1 else ""
    name += f"_g{groups}" if groups != 1 else ""
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    make = lambda: (torch.randn(n, c, h, h), torch.randn(k, c // groups, r, r))
    tensors(f"{name}_fwd", make, lambda x, w: F.conv2d(x, w, **options))

    def both():
        x, w = (t.requires_grad_() for t in make())
        g = torch.randn_like(F.conv2d(x, w, **options))
        return lambda: torch.autograd.grad(F.conv2d(x, w, **options), (x, w), g)

    ROWS[f"{name}_fwd_bwd"] = both


for shape in (
    (4, 3, 32, 6, 5, 1, 0, 1, 1),
    (128, 3, 32, 6, 5, 1, 0, 1, 1),
    (128, 64, 32, 64, 3, 1, 1, 1, 1),
    (128, 256, 8, 256, 3, 1, 1, 1, 1),
    (32, 64, 56, 64, 3, 1, 1, 1, 1),
    (32, 256, 14, 256, 1, 1, 0, 1, 1),
    (32, 128, 28, 128, 3, 2, 1, 1, 1),
    (8, 3, 224, 64, 7, 2, 3, 1, 1),
    (32, 96, 28, 96, 3, 1, 1, 1, 96),
    (16, 17, 28, 29, 3, 1, 1, 1, 1),
    (16, 64, 28, 64, 3, 1, 2, 2, 1),
    (16, 64, 28, 128, 3, 1, 1, 1, 4),
    (1, 64, 56, 64, 3, 1, 1, 1, 1),
):
    convolution(*shape)


def step(net, optimizer, x, y, bf16=False):
    """A training step: gradients dropped, cross-entropy, backward pass, optimizer, loss read."""

    def run():
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2).flatten(1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


def lenet(batch):
    def prepare():
        net = LeNet()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
        return step(net, optimizer, torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,)))

    ROWS[f"lenet_step_b{batch}"] = prepare


lenet(4)
lenet(128)


@row("mlp_adam_step_b64")
def mlp():
    layers = [nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)]
    net = nn.Sequential(nn.Flatten(), *layers)
    optimizer = torch.optim.Adam(net.parameters())
    return step(net, optimizer, torch.randn(64, 784), torch.randint(0, 10, (64,)))


def resnet(channels_last):
    import torchvision

    net = torchvision.models.resnet18(num_classes=10)
    net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    x, y = torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,))
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    return net, x, y


def resnet_step(name, channels_last, bf16):
    def prepare():
        net, x, y = resnet(channels_last)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        return step(net, optimizer, x, y, bf16)

    ROWS[name] = prepare


def resnet_infer(name, channels_last):
    def prepare():
        net, x, _ = resnet(channels_last)
        net.eval()

        def run():
            with torch.no_grad():
                return net(x)

        return run

    ROWS[name] = prepare


resnet_step("resnet18_cifar_step_b32_f32", False, False)
resnet_step("resnet18_cifar_step_b32_f32_channels_last", True, False)
resnet_step("resnet18_cifar_step_b32_bf16_channels_last", True, True)
resnet_infer("resnet18_cifar_infer_b32_f32", False)
resnet_infer("resnet18_cifar_infer_b32_f32_channels_last", True)


@row("transformer_layer_d256_8x128_step")
def transformer():
    layer = nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True, dropout=0.0)
    x, optimizer = torch.randn(8, 128, 256), torch.optim.AdamW(layer.parameters())

    def run():
        optimizer.zero_grad()
        layer(x).square().mean().backward()
        optimizer.step()

    return run


@row("lstm_256_8x64_step")
def lstm():
    net = nn.LSTM(256, 256, batch_first=True)
    x, optimizer = torch.randn(8, 64, 256), torch.optim.SGD(net.parameters(), lr=0.01)

    def run():
        optimizer.zero_grad()
        net(x)[0].square().mean().backward()
        optimizer.step()

    return run


def timed(work, calls):
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls


def calls_of(work):
    """Warms the row and finds out how many calls make a sample."""
    calls = 1
    for _ in range(3):
        calls = 1
        while True:
            seconds = timed(work, calls) * calls
            if seconds > SAMPLE_SECONDS / 4:
                calls = max(1, int(SAMPLE_SECONDS / seconds * calls))
                break
            calls *= 4
    return calls


def main():
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    name = work = calls = None
    for line in sys.stdin:
        if line.strip() != name:
            work = None
            name = line.strip()
            torch.manual_seed(0)
            work = ROWS[name]()
            calls = calls_of(work)
        seconds = timed(work, calls)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "peak_bytes": peak}), flush=True)


main()
