"""Writes models.json from torchvision: python make_models.py (torch 2.15, torchvision 0.29).

Pictures and labels are not stored: both sides draw them from the generator.
"""
import json
import pathlib
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision.models as M

torch.use_deterministic_algorithms(True)


def number(v):
    return float("%.9g" % v)


def some(t):
    """First, middle and last element."""
    t = t.detach().double().flatten()
    return [number(t[i].item()) for i in (0, t.numel() // 2, t.numel() - 1)]


def made(make):
    """A network after manual_seed(0), with what it leaves of the generator."""
    torch.manual_seed(0)
    net = make()
    next_number = number(torch.rand(1).item())
    return net, {
        "repr": repr(net),
        "state": list(net.state_dict().keys()),
        "parameters": sum(p.numel() for p in net.parameters()),
        "init": [some(p) for p in net.parameters()],
        "next": next_number,
    }


def cifar(net):
    net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    net.maxpool = nn.Identity()
    return net


def trained(make, size, batch=4):
    """Three steps; loss of each, samples of the first gradients and of the last buffers, and logits."""
    torch.manual_seed(0)
    net = make()
    opt = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    out = {"repr": repr(net), "losses": []}
    for step in range(3):
        x, t = torch.randn(batch, 3, size, size, requires_grad=True), torch.randint(0, 10, (batch,))
        opt.zero_grad()
        loss = F.cross_entropy(net(x), t)
        loss.backward()
        if step == 0:
            out["grads"] = [some(p.grad) for p in net.parameters()]
            out["input_grad"] = some(x.grad)
        opt.step()
        out["losses"].append(number(loss.item()))
    out["buffers"] = [some(b) for b in net.buffers()]
    net.eval()
    out["logits"] = [number(v) for v in net(torch.randn(2, 3, size, size)).flatten().tolist()]
    return out


def small(**options):
    return M.ResNet(M.resnet.Bottleneck, [1, 2, 1, 1], num_classes=10, **options)


goldens = {}
for name in ["resnet18", "resnet34", "resnet50", "resnext50_32x4d", "wide_resnet50_2"]:
    goldens[name] = made(lambda: getattr(M, name)(num_classes=10))[1]
# Its printout and names are those of the small one below.
goldens["densenet121"] = {k: v for k, v in made(lambda: M.densenet121(num_classes=10))[1].items() if k not in ("repr", "state")}
goldens["resnet18_cifar_steps"] = trained(lambda: cifar(M.resnet18(num_classes=10, zero_init_residual=True)), 16)
goldens["bottleneck_steps"] = trained(lambda: small(groups=4, width_per_group=8, replace_stride_with_dilation=[False, True, True]), 64)
goldens["densenet_steps"] = trained(lambda: M.DenseNet(8, (2, 3), 16, bn_size=2, drop_rate=0.2, num_classes=10), 32)

with open(pathlib.Path(__file__).with_name("models.json"), "w") as f:
    # One line for each entry, so that a change shows where it is.
    f.write("{\n" + ",\n".join(json.dumps(k) + ": " + json.dumps(v, separators=(",", ":")) for k, v in goldens.items()) + "\n}\n")
