"""PyTorch's side of the benchmark of `cargo xtask gpu-check`: the rows of `src/rows/cuda.rs`, by the
same names, eager.

    python3 torch_cuda_rows.py [cpu]

Each line of standard input is the name of a row; the answer is a line of JSON with the seconds of one
call, by CUDA's events. `device` is answered with the device's name. With `cpu` the rows are small and
run there, to see that they run.
"""

import json
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

SAMPLE_SECONDS = 0.06
SMALL = sys.argv[1:] == ["cpu"]
DEVICE = "cpu" if SMALL else "cuda"
LONG = 1 << 12 if SMALL else 64 << 20
ROWS = {}


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.pool, self.conv2 = nn.Conv2d(3, 6, 5), nn.MaxPool2d(2, 2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


def step(net, optimizer, x, y, bf16):
    def run():
        optimizer.zero_grad()
        with torch.autocast(DEVICE, torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()

    return run


def lenet(n):
    def prepare():
        net = LeNet().to(DEVICE)
        x, y = torch.randn(n, 3, 32, 32, device=DEVICE), torch.randint(0, 10, (n,), device=DEVICE)
        return step(net, torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9), x, y, False)

    ROWS[f"cuda_lenet_step_b{n}"] = prepare


def resnet():
    import torchvision

    n = 2 if SMALL else 256
    net = torchvision.models.resnet18(num_classes=10)
    net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    net = net.to(DEVICE, memory_format=torch.channels_last)
    x = torch.randn(n, 3, 32, 32, device=DEVICE).to(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (n,), device=DEVICE)
    return step(net, torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9), x, y, True)


def matmul(n, label, dtype):
    def prepare():
        k = 32 if SMALL else n
        a, b = torch.randn(k, k, device=DEVICE, dtype=dtype), torch.randn(k, k, device=DEVICE, dtype=dtype)
        return lambda: a.matmul(b)

    ROWS[f"cuda_matmul_{label}_{n}"] = prepare


def long(name, call):
    def prepare():
        x = torch.randn(LONG // 4096, 4096, device=DEVICE)
        return lambda: call(x)

    ROWS[f"cuda_{name}_64m"] = prepare


long("copy", torch.clone)
long("add", lambda x: x + 1.0)
long("mul", lambda x: x * x)
long("exp", torch.exp)
long("gelu", F.gelu)
long("softmax", lambda x: x.softmax(-1))
long("layer_norm", lambda x: F.layer_norm(x, x.shape[1:]))
for n in [4096, 8192]:
    matmul(n, "f32", torch.float32)
    matmul(n, "bf16", torch.bfloat16)
lenet(4)
lenet(128)
ROWS["cuda_resnet18_cifar_step_b256_bf16"] = resnet


def timed(work, calls):
    if SMALL:
        start = time.perf_counter()
        for _ in range(calls):
            work()
        return (time.perf_counter() - start) / calls
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for _ in range(calls):
        work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3 / calls


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
    name = work = calls = None
    for line in sys.stdin:
        if line.strip() == "device":
            device = "cpu" if SMALL else torch.cuda.get_device_name(0)
            print(json.dumps({"device": device, "torch": torch.__version__}), flush=True)
            continue
        if line.strip() != name:
            work = None
            name = line.strip()
            torch.manual_seed(0)
            work = ROWS[name]()
            calls = calls_of(work)
        print(json.dumps({"seconds": timed(work, calls)}), flush=True)


main()
