"""Prints the strides that PyTorch gives to results of channels-last operands: the table of tests/it/formats.rs."""

import torch
import torch.nn.functional as F

LAST, LAST3 = torch.channels_last, torch.channels_last_3d
torch.manual_seed(0)


def leaf(*size, last=True):
    x = torch.randn(*size)
    if last:
        x = x.to(memory_format=LAST if len(size) == 4 else LAST3)
    return x.requires_grad_(True)


def show(name, t):
    print(f'    ("{name}", &{list(t.stride())}),')


def gradients(name, y, **leaves):
    y.sum().backward()
    for what, t in leaves.items():
        show(f"{name} gradient of {what}", t.grad)


x, plain = leaf(2, 3, 6, 5), leaf(2, 3, 6, 5, last=False)
each = torch.randn(3, 1, 1)
show("relu", x.relu())
show("add", x + x)
show("add number", x + 1)
show("add each", x + each)
show("each add", each + x)
show("add plain", x + plain)
show("plain add", plain + x)
show("compare", x > 0)
show("cast", x.double())
show("clone", x.clone())
show("zeros_like", torch.zeros_like(x))
show("cat", torch.cat([x, x], 1))
show("cat plain", torch.cat([x, plain], 1))
show("sum", x.sum())
show("mean of each", x.mean((0, 2, 3)))
show("amax", x.amax(1, keepdim=True))
show("one channel", x[:, :1].contiguous(memory_format=LAST).relu())
show("slice", x[:, :, 1:3].clone())
for name, x, w in [
    ("conv2d", leaf(2, 3, 6, 5), leaf(4, 3, 3, 3, last=False)),
    ("conv2d of plain", leaf(2, 3, 6, 5, last=False), leaf(4, 3, 3, 3)),
    ("conv2d of both", leaf(2, 3, 6, 5), leaf(4, 3, 3, 3)),
    ("conv2d of all", leaf(2, 3, 3, 3), leaf(4, 3, 3, 3)),
]:
    y = F.conv2d(x, w)
    show(name, y)
    gradients(name, y, x=x, w=w)
x, w = leaf(2, 2, 4, 5, 3), leaf(3, 2, 2, 2, 2)
y = F.conv3d(x, w)
show("conv3d", y)
gradients("conv3d", y, x=x, w=w)
for train in [True, False]:
    x = leaf(2, 3, 6, 5)
    y = F.batch_norm(x, torch.zeros(3), torch.ones(3), training=train)
    name = f"batch_norm {'trained' if train else 'fixed'}"
    show(name, y)
    gradients(name, y * y.detach(), x=x)
x = leaf(2, 3, 6, 5)
y, places = F.max_pool2d(x, 2, return_indices=True)
show("max_pool2d", y)
show("max_pool2d places", places)
gradients("max_pool2d", y, x=x)
for name, f in [
    ("avg_pool2d", lambda x: F.avg_pool2d(x, 2)),
    ("adaptive_avg_pool2d", lambda x: F.adaptive_avg_pool2d(x, (1, 1))),
    ("adaptive_max_pool2d", lambda x: F.adaptive_max_pool2d(x, (2, 2))),
]:
    x = leaf(2, 3, 6, 5)
    y = f(x)
    show(name, y)
    gradients(name, y, x=x)
x = leaf(1, 2, 4, 4, 6)
y = F.max_pool3d(x, 2)
show("max_pool3d", y)
gradients("max_pool3d", y, x=x)
