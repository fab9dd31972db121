"""Writes the goldens of flambeau-nn from PyTorch: python make.py (torch 2.15).

Inputs, parameters and targets are not stored: both sides compute them by `pattern`.
"""
import json
import math
import pathlib
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.use_deterministic_algorithms(True)


def pattern(shape, salt, low=-1.0, high=1.0):
    """Numbers between low and high, never 0 in the default range."""
    n = math.prod(shape)
    values = [low + (high - low) * ((i * 7919 + salt * 104729) % 997 + 0.5) / 997 for i in range(n)]
    return torch.tensor(values, dtype=torch.float64).to(torch.float32).reshape(shape)


def flat(t):
    return [float("%.9g" % v) if v == v else None for v in t.detach().double().flatten().tolist()]


# Layers from one tensor to one tensor: name, constructor, input shape.
LAYERS = [
    ("linear", lambda: nn.Linear(4, 3), (5, 4)),
    ("linear_no_bias", lambda: nn.Linear(4, 3, bias=False), (2, 5, 4)),
    ("identity", lambda: nn.Identity(), (2, 3)),
    ("conv1d", lambda: nn.Conv1d(2, 4, 3, stride=2, padding=1), (2, 2, 9)),
    ("conv2d", lambda: nn.Conv2d(3, 4, 3), (2, 3, 6, 5)),
    ("conv2d_options", lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=2, groups=2, bias=False), (2, 4, 8, 7)),
    ("conv2d_groups", lambda: nn.Conv2d(4, 4, 3, groups=4), (1, 4, 5, 5)),
    ("conv2d_same", lambda: nn.Conv2d(2, 3, (4, 3), padding="same"), (1, 2, 6, 5)),
    ("conv2d_valid", lambda: nn.Conv2d(2, 3, 3, padding="valid"), (1, 2, 6, 5)),
    ("conv2d_reflect", lambda: nn.Conv2d(2, 3, 3, padding=2, padding_mode="reflect"), (1, 2, 5, 4)),
    ("conv2d_replicate", lambda: nn.Conv2d(2, 3, 3, padding=(1, 2), padding_mode="replicate"), (1, 2, 5, 4)),
    ("conv2d_circular", lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (1, 2, 5, 4)),
    ("conv3d", lambda: nn.Conv3d(2, 3, 2, stride=(1, 2, 1), padding=1), (1, 2, 3, 4, 5)),
    ("conv_transpose1d", lambda: nn.ConvTranspose1d(3, 2, 3, stride=2), (2, 3, 5)),
    ("conv_transpose2d", lambda: nn.ConvTranspose2d(4, 2, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 4, 3, 4)),
    ("conv_transpose3d", lambda: nn.ConvTranspose3d(2, 3, 2, bias=False), (1, 2, 3, 2, 3)),
    ("max_pool1d", lambda: nn.MaxPool1d(3, stride=2, padding=1), (2, 3, 8)),
    ("max_pool2d", lambda: nn.MaxPool2d(2), (2, 3, 6, 5)),
    ("max_pool2d_options", lambda: nn.MaxPool2d((3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), ceil_mode=True), (1, 2, 6, 7)),
    ("max_pool3d", lambda: nn.MaxPool3d(2), (1, 2, 4, 4, 5)),
    ("avg_pool1d", lambda: nn.AvgPool1d(2), (2, 3, 7)),
    ("avg_pool2d", lambda: nn.AvgPool2d(3, stride=2, padding=1), (1, 2, 6, 7)),
    ("avg_pool2d_options", lambda: nn.AvgPool2d((3, 2), stride=2, padding=1, ceil_mode=True, count_include_pad=False), (1, 2, 6, 7)),
    ("avg_pool2d_divisor", lambda: nn.AvgPool2d((2, 3), divisor_override=4), (1, 2, 6, 7)),
    ("avg_pool3d", lambda: nn.AvgPool3d(2), (1, 2, 4, 4, 5)),
    ("adaptive_avg_pool1d", lambda: nn.AdaptiveAvgPool1d(3), (2, 3, 7)),
    ("adaptive_avg_pool2d", lambda: nn.AdaptiveAvgPool2d((3, 2)), (2, 3, 7, 5)),
    ("adaptive_avg_pool3d", lambda: nn.AdaptiveAvgPool3d(2), (1, 2, 5, 4, 3)),
    ("adaptive_max_pool1d", lambda: nn.AdaptiveMaxPool1d(3), (2, 3, 7)),
    ("adaptive_max_pool2d", lambda: nn.AdaptiveMaxPool2d(2), (2, 3, 7, 5)),
    ("adaptive_max_pool3d", lambda: nn.AdaptiveMaxPool3d(2), (1, 2, 5, 4, 3)),
    ("relu", lambda: nn.ReLU(), (3, 40)),
    ("relu_inplace", lambda: nn.ReLU(inplace=True), (3, 40)),
    ("relu6", lambda: nn.ReLU6(), (3, 40)),
    ("leaky_relu", lambda: nn.LeakyReLU(), (3, 40)),
    ("leaky_relu_slope", lambda: nn.LeakyReLU(0.2), (3, 40)),
    ("elu", lambda: nn.ELU(), (3, 40)),
    ("elu_alpha", lambda: nn.ELU(0.7), (3, 40)),
    ("selu", lambda: nn.SELU(), (3, 40)),
    ("celu", lambda: nn.CELU(1.5), (3, 40)),
    ("gelu", lambda: nn.GELU(), (3, 40)),
    ("gelu_tanh", lambda: nn.GELU("tanh"), (3, 40)),
    ("silu", lambda: nn.SiLU(), (3, 40)),
    ("mish", lambda: nn.Mish(), (3, 40)),
    ("softplus", lambda: nn.Softplus(), (3, 40)),
    ("softplus_options", lambda: nn.Softplus(2.0, 1.5), (3, 40)),
    ("softsign", lambda: nn.Softsign(), (3, 40)),
    ("tanh", lambda: nn.Tanh(), (3, 40)),
    ("sigmoid", lambda: nn.Sigmoid(), (3, 40)),
    ("hardtanh", lambda: nn.Hardtanh(), (3, 40)),
    ("hardtanh_bounds", lambda: nn.Hardtanh(-2.0, 0.5), (3, 40)),
    ("hardswish", lambda: nn.Hardswish(), (3, 40)),
    ("hardsigmoid", lambda: nn.Hardsigmoid(), (3, 40)),
    ("log_sigmoid", lambda: nn.LogSigmoid(), (3, 40)),
    ("tanhshrink", lambda: nn.Tanhshrink(), (3, 40)),
    ("hardshrink", lambda: nn.Hardshrink(), (3, 40)),
    ("softshrink", lambda: nn.Softshrink(), (3, 40)),
    ("threshold", lambda: nn.Threshold(0.1, 20.0), (3, 40)),
    ("softmax", lambda: nn.Softmax(1), (3, 7)),
    ("softmax_0", lambda: nn.Softmax(0), (3, 2, 4)),
    ("log_softmax", lambda: nn.LogSoftmax(-1), (3, 7)),
    ("softmin", lambda: nn.Softmin(1), (3, 7)),
    ("softmax2d", lambda: nn.Softmax2d(), (2, 3, 2, 2)),
    ("glu", lambda: nn.GLU(-1), (3, 6)),
    ("prelu", lambda: nn.PReLU(), (3, 7)),
    ("prelu_channels", lambda: nn.PReLU(3, init=0.1), (2, 3, 5)),
    ("batch_norm1d", lambda: nn.BatchNorm1d(4), (6, 4)),
    ("batch_norm1d_length", lambda: nn.BatchNorm1d(3, eps=1e-3, momentum=0.3), (2, 3, 5)),
    ("batch_norm2d", lambda: nn.BatchNorm2d(3), (2, 3, 4, 3)),
    ("batch_norm2d_cumulative", lambda: nn.BatchNorm2d(3, momentum=None), (2, 3, 4, 3)),
    ("batch_norm2d_plain", lambda: nn.BatchNorm2d(3, affine=False), (2, 3, 4, 3)),
    ("batch_norm2d_untracked", lambda: nn.BatchNorm2d(3, track_running_stats=False), (2, 3, 4, 3)),
    ("batch_norm3d", lambda: nn.BatchNorm3d(2), (2, 2, 3, 2, 2)),
    ("layer_norm", lambda: nn.LayerNorm(5), (3, 5)),
    ("layer_norm_2", lambda: nn.LayerNorm((3, 4), eps=1e-3), (2, 3, 4)),
    ("layer_norm_plain", lambda: nn.LayerNorm(5, elementwise_affine=False), (2, 3, 5)),
    ("layer_norm_no_bias", lambda: nn.LayerNorm(5, bias=False), (3, 5)),
    ("instance_norm1d", lambda: nn.InstanceNorm1d(3), (2, 3, 5)),
    ("instance_norm1d_unbatched", lambda: nn.InstanceNorm1d(3, eps=1e-3, affine=True), (3, 5)),
    ("instance_norm2d", lambda: nn.InstanceNorm2d(3, momentum=0.3, affine=True, track_running_stats=True), (2, 3, 4, 3)),
    ("instance_norm3d", lambda: nn.InstanceNorm3d(2, track_running_stats=True), (2, 2, 2, 3, 2)),
    ("group_norm", lambda: nn.GroupNorm(2, 4), (2, 4, 3)),
    ("group_norm_plain", lambda: nn.GroupNorm(3, 6, affine=False), (2, 6, 2, 2)),
    ("dropout", lambda: nn.Dropout(), (4, 9)),
    ("dropout_quarter", lambda: nn.Dropout(0.25), (4, 9)),
    ("dropout1d", lambda: nn.Dropout1d(0.5), (3, 4, 5)),
    ("dropout2d", lambda: nn.Dropout2d(0.4), (3, 4, 2, 2)),
    ("dropout3d", lambda: nn.Dropout3d(0.4), (3, 4, 2, 1, 2)),
    ("flatten", lambda: nn.Flatten(), (2, 3, 4)),
    ("flatten_dims", lambda: nn.Flatten(0, 1), (2, 3, 4)),
    ("unflatten", lambda: nn.Unflatten(1, (2, 3)), (2, 6, 4)),
    ("zero_pad1d", lambda: nn.ZeroPad1d(2), (2, 3, 4)),
    ("zero_pad2d", lambda: nn.ZeroPad2d((1, 2, 3, 0)), (1, 2, 3, 4)),
    ("reflection_pad1d", lambda: nn.ReflectionPad1d((1, 2)), (1, 2, 4)),
    ("reflection_pad2d", lambda: nn.ReflectionPad2d(2), (1, 2, 3, 4)),
    ("replication_pad2d", lambda: nn.ReplicationPad2d((1, 2, 0, 3)), (1, 2, 3, 4)),
    ("replication_pad3d", lambda: nn.ReplicationPad3d(1), (1, 1, 2, 2, 3)),
    ("circular_pad2d", lambda: nn.CircularPad2d((1, 2, 1, 0)), (1, 2, 3, 4)),
    ("constant_pad1d", lambda: nn.ConstantPad1d((1, 2), 3.5), (1, 2, 3)),
    ("constant_pad2d", lambda: nn.ConstantPad2d(1, -0.5), (1, 2, 3, 2)),
    ("sequential", lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Sequential(nn.MaxPool2d(2), nn.Flatten()), nn.Linear(8, 3)), (3, 1, 6, 6)),
]


def layer(name, make, shape):
    torch.manual_seed(42)
    m = make()
    out = {"init": {n: flat(p) for n, p in m.named_parameters()}, "next": flat(torch.rand(1))[0], "repr": repr(m)}
    with torch.no_grad():
        for i, p in enumerate(m.parameters()):
            p.copy_(pattern(p.shape, i + 11) * 0.5 + (1.0 if "norm" in name else 0.0))
    x = (pattern(shape, 1) * 2).requires_grad_()
    torch.manual_seed(3)
    y = m(x.clone() if "inplace" in name else x)
    (y * pattern(y.shape, 2)).sum().backward()
    out["shape"], out["output"], out["input_grad"] = list(y.shape), flat(y), flat(x.grad)
    out["grads"] = {n: flat(p.grad) for n, p in m.named_parameters()}
    out["buffers"] = {n: flat(b) for n, b in m.named_buffers()}
    m.eval()
    out["eval"] = flat(m(x.detach().clone()))
    return out


# Losses: name, function of (input, target), input shape, target.
def classes(shape, n, salt=5):
    return torch.tensor([(i * 31 + salt) % n for i in range(math.prod(shape))]).reshape(shape)


def ignoring(t, value):
    t = t.clone()
    t.view(-1)[::3] = value
    return t


W4 = pattern((4,), 7, 0.2, 2.0)
LOSSES = []
for r in ["mean", "sum", "none"]:
    LOSSES += [
        (f"cross_entropy_{r}", lambda x, t, r=r: nn.CrossEntropyLoss(reduction=r)(x, t), (6, 4), classes((6,), 4)),
        (f"cross_entropy_weight_{r}", lambda x, t, r=r: nn.CrossEntropyLoss(weight=W4, label_smoothing=0.1, ignore_index=2, reduction=r)(x, t), (6, 4), classes((6,), 4)),
        (f"cross_entropy_smooth_{r}", lambda x, t, r=r: nn.CrossEntropyLoss(label_smoothing=0.2, reduction=r)(x, t), (6, 4), classes((6,), 4)),
        (f"cross_entropy_planes_{r}", lambda x, t, r=r: nn.CrossEntropyLoss(weight=W4, reduction=r)(x, t), (2, 4, 3, 2), ignoring(classes((2, 3, 2), 4), -100)),
        (f"cross_entropy_soft_{r}", lambda x, t, r=r: nn.CrossEntropyLoss(weight=W4, label_smoothing=0.1, reduction=r)(x, t), (5, 4), pattern((5, 4), 8, 0.0, 1.0)),
        (f"nll_{r}", lambda x, t, r=r: nn.NLLLoss(weight=W4, ignore_index=1, reduction=r)(F.log_softmax(x, 1), t), (6, 4), classes((6,), 4)),
        (f"nll_planes_{r}", lambda x, t, r=r: nn.NLLLoss(reduction=r)(F.log_softmax(x, 1), t), (2, 4, 3), classes((2, 3), 4)),
        (f"mse_{r}", lambda x, t, r=r: nn.MSELoss(reduction=r)(x, t), (3, 4), pattern((3, 4), 9)),
        (f"l1_{r}", lambda x, t, r=r: nn.L1Loss(reduction=r)(x, t), (3, 4), pattern((3, 4), 9)),
        (f"smooth_l1_{r}", lambda x, t, r=r: nn.SmoothL1Loss(beta=0.5, reduction=r)(x, t), (3, 4), pattern((3, 4), 9)),
        (f"huber_{r}", lambda x, t, r=r: nn.HuberLoss(delta=0.7, reduction=r)(x, t), (3, 4), pattern((3, 4), 9)),
        (f"bce_{r}", lambda x, t, r=r: nn.BCELoss(weight=W4, reduction=r)(torch.sigmoid(x), t), (3, 4), pattern((3, 4), 9, 0.0, 1.0)),
        (f"bce_logits_{r}", lambda x, t, r=r: nn.BCEWithLogitsLoss(reduction=r)(x, t), (3, 4), pattern((3, 4), 9, 0.0, 1.0)),
        (f"bce_logits_weights_{r}", lambda x, t, r=r: nn.BCEWithLogitsLoss(weight=W4, pos_weight=W4 * 2, reduction=r)(x, t), (3, 4), pattern((3, 4), 9, 0.0, 1.0)),
        (f"kl_{r}", lambda x, t, r=r: nn.KLDivLoss(reduction=r)(F.log_softmax(x, 1), t), (3, 4), F.relu(pattern((3, 4), 9))),
        (f"kl_log_{r}", lambda x, t, r=r: nn.KLDivLoss(log_target=True, reduction=r)(F.log_softmax(x, 1), t), (3, 4), pattern((3, 4), 9)),
        (f"cosine_{r}", lambda x, t, r=r: nn.CosineEmbeddingLoss(margin=0.1, reduction=r)(x, pattern((5, 4), 10), t), (5, 4), classes((5,), 2) * 2 - 1),
        (f"ranking_{r}", lambda x, t, r=r: nn.MarginRankingLoss(margin=0.2, reduction=r)(x, pattern((6,), 10), t), (6,), classes((6,), 2) * 2.0 - 1),
        (f"hinge_{r}", lambda x, t, r=r: nn.HingeEmbeddingLoss(reduction=r)(x, t), (6,), classes((6,), 2) * 2.0 - 1),
        (f"triplet_{r}", lambda x, t, r=r: nn.TripletMarginLoss(reduction=r)(x, t, pattern((3, 4), 10)), (3, 4), pattern((3, 4), 9)),
        (f"soft_margin_{r}", lambda x, t, r=r: nn.SoftMarginLoss(reduction=r)(x, t), (3, 4), (classes((3, 4), 2) * 2 - 1).float()),
        (f"poisson_{r}", lambda x, t, r=r: nn.PoissonNLLLoss(reduction=r)(x, t), (3, 4), pattern((3, 4), 9, 0.0, 3.0)),
    ]
LOSSES.append(("kl_batchmean", lambda x, t: nn.KLDivLoss(reduction="batchmean")(F.log_softmax(x, 1), t), (3, 4), F.relu(pattern((3, 4), 9))))
LOSSES.append(("cross_entropy_one", lambda x, t: nn.CrossEntropyLoss()(x, t), (4,), torch.tensor(2)))


def loss(make, shape, target):
    x = (pattern(shape, 1) * 2).requires_grad_()
    y = make(x, target)
    (y * pattern(y.shape, 2, 0.5, 1.5)).sum().backward()
    return {"shape": list(y.shape), "output": flat(y), "input_grad": flat(x.grad)}


# Optimizers: name, constructor of a list of parameters.
O = torch.optim
OPTIMIZERS = [
    ("sgd", lambda p: O.SGD(p, 0.1)),
    ("sgd_momentum", lambda p: O.SGD(p, 0.1, momentum=0.9)),
    ("sgd_dampening", lambda p: O.SGD(p, 0.1, momentum=0.9, dampening=0.3, weight_decay=0.1)),
    ("sgd_nesterov", lambda p: O.SGD(p, 0.1, momentum=0.8, nesterov=True, weight_decay=0.01)),
    ("sgd_maximize", lambda p: O.SGD(p, 0.01, momentum=0.5, maximize=True)),
    ("adam", lambda p: O.Adam(p, 0.05)),
    ("adam_options", lambda p: O.Adam(p, 0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1, amsgrad=True)),
    ("adam_slow", lambda p: O.Adam(p, 0.05, betas=(0.3, 0.6), eps=1e-2)),
    ("adam_maximize", lambda p: O.Adam(p, 0.01, maximize=True)),
    ("adamw", lambda p: O.AdamW(p, 0.05)),
    ("adamw_options", lambda p: O.AdamW(p, 0.05, betas=(0.7, 0.9), weight_decay=0.2, amsgrad=True)),
    ("rmsprop", lambda p: O.RMSprop(p, 0.02)),
    ("rmsprop_momentum", lambda p: O.RMSprop(p, 0.02, alpha=0.9, momentum=0.7, weight_decay=0.05)),
    ("rmsprop_centered", lambda p: O.RMSprop(p, 0.02, centered=True)),
    ("rmsprop_both", lambda p: O.RMSprop(p, 0.02, centered=True, momentum=0.5, maximize=False)),
    ("adagrad", lambda p: O.Adagrad(p, 0.1)),
    ("adagrad_options", lambda p: O.Adagrad(p, 0.1, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.5)),
    ("adadelta", lambda p: O.Adadelta(p, 1.0)),
    ("adadelta_options", lambda p: O.Adadelta(p, 0.5, rho=0.7, eps=1e-4, weight_decay=0.1)),
    ("adamax", lambda p: O.Adamax(p, 0.05)),
    ("adamax_options", lambda p: O.Adamax(p, 0.05, betas=(0.7, 0.9), weight_decay=0.1)),
    ("nadam", lambda p: O.NAdam(p, 0.05)),
    ("nadam_options", lambda p: O.NAdam(p, 0.05, weight_decay=0.1, momentum_decay=0.01, decoupled_weight_decay=True)),
    ("radam", lambda p: O.RAdam(p, 0.05)),
    ("radam_options", lambda p: O.RAdam(p, 0.05, betas=(0.8, 0.9), weight_decay=0.1)),
    ("radam_decoupled", lambda p: O.RAdam(p, 0.05, betas=(0.8, 0.9), weight_decay=0.1, decoupled_weight_decay=True)),
]


def optimizer(make):
    p = [pattern((3, 37), 1).requires_grad_(), pattern((5,), 2).requires_grad_()]
    opt = make(p)
    steps = {}
    for step in range(1, 21):
        opt.zero_grad()
        # A quadratic bowl per element, so that gradients change sign and size.
        sum((((q - pattern(q.shape, 20 + i) * 0.5) ** 2 * pattern(q.shape, 30 + i, 0.5, 3.0)).sum()) for i, q in enumerate(p)).backward()
        opt.step()
        if step in (1, 2, 20):
            steps[step] = [flat(q) for q in p]
    return steps


S = torch.optim.lr_scheduler
SCHEDULERS = [
    ("step", lambda o: S.StepLR(o, 3, gamma=0.5)),
    ("multi_step", lambda o: S.MultiStepLR(o, [2, 5, 5, 9], gamma=0.3)),
    ("exponential", lambda o: S.ExponentialLR(o, 0.9)),
    ("constant", lambda o: S.ConstantLR(o, factor=0.25, total_iters=4)),
    ("linear", lambda o: S.LinearLR(o, start_factor=0.2, end_factor=0.9, total_iters=6)),
    ("polynomial", lambda o: S.PolynomialLR(o, total_iters=8, power=2.0)),
    ("lambda", lambda o: S.LambdaLR(o, lambda e: 0.95**e)),
    ("multiplicative", lambda o: S.MultiplicativeLR(o, lambda e: 1.0 - 0.01 * e)),
    ("cosine", lambda o: S.CosineAnnealingLR(o, 5, eta_min=0.01)),
    ("warm_restarts", lambda o: S.CosineAnnealingWarmRestarts(o, 3, T_mult=2, eta_min=0.01)),
    ("one_cycle", lambda o: S.OneCycleLR(o, 1.0, total_steps=20)),
    ("one_cycle_linear", lambda o: S.OneCycleLR(o, 1.0, total_steps=20, anneal_strategy="linear", three_phase=True, pct_start=0.4, div_factor=10.0, final_div_factor=100.0)),
    ("chained", lambda o: [S.LinearLR(o, start_factor=0.5, total_iters=4), S.ExponentialLR(o, 0.9)]),
]


def scheduler(make):
    opt = O.SGD([torch.zeros(1, requires_grad=True)], 0.5, momentum=0.9)
    made = make(opt)
    made = made if isinstance(made, list) else [made]
    out = []
    for _ in range(20):
        opt.step()
        out.append([opt.param_groups[0]["lr"], opt.param_groups[0]["momentum"]])
        if len(out) < 20:
            for s in made:
                s.step()
    return out


PLATEAU = [1.0, 0.9, 0.91, 0.92, 0.9, 0.95, 0.9, 0.93, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]


def plateau(**options):
    opt = O.SGD([torch.zeros(1, requires_grad=True)], 0.5)
    s = S.ReduceLROnPlateau(opt, **options)
    out = []
    for v in PLATEAU:
        s.step(v)
        out.append(opt.param_groups[0]["lr"])
    return out


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=True)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 5), nn.MaxPool2d(2, 2), nn.Sequential(nn.Dropout(0.1), nn.Tanh()))
        self.blocks = nn.ModuleList([Block(), Block(), nn.Identity()])
        self.scale = nn.Parameter(torch.ones(3))
        self.head = nn.Linear(10, 2)
        self.empty = nn.Sequential()


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(-1, 16 * 5 * 5)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


def lenet():
    torch.manual_seed(0)
    net = LeNet()
    opt = O.SGD(net.parameters(), 0.001, momentum=0.9)
    losses = []
    for step in range(200):
        x = torch.rand(4, 3, 32, 32) * 2 - 1
        t = torch.randint(0, 10, (4,))
        opt.zero_grad()
        l = F.cross_entropy(net(x), t)
        l.backward()
        opt.step()
        losses.append(float("%.9g" % l.item()))
    return losses


def tree():
    net = Net()
    return {"repr": repr(net), "parameters": [n for n, _ in net.named_parameters()], "buffers": [n for n, _ in net.named_buffers()],
            "modules": [n for n, _ in net.named_modules()], "state": list(net.state_dict().keys())}


def embedding():
    torch.manual_seed(42)
    e = nn.Embedding(6, 3, padding_idx=2)
    nxt = flat(torch.rand(1))[0]
    y = e(torch.tensor([[0, 2, 5], [5, 1, 2]]))
    (y * pattern(y.shape, 2)).sum().backward()
    return {"init": flat(e.weight), "next": nxt, "output": flat(y), "grad": flat(e.weight.grad), "repr": repr(e)}


def bilinear():
    torch.manual_seed(42)
    m = nn.Bilinear(2, 3, 4)
    y = m(pattern((5, 2), 1), pattern((5, 3), 2))
    return {"init": {n: flat(p) for n, p in m.named_parameters()}, "output": flat(y), "repr": repr(m)}


def init():
    out = {}
    for name, f in [
        ("uniform", lambda w: nn.init.uniform_(w, -1, 2)), ("normal", lambda w: nn.init.normal_(w, 0.5, 2.0)),
        ("xavier_uniform", lambda w: nn.init.xavier_uniform_(w, 1.5)), ("xavier_normal", nn.init.xavier_normal_),
        ("kaiming_uniform", lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu")),
        ("kaiming_normal", lambda w: nn.init.kaiming_normal_(w, a=0.1, mode="fan_out")), ("eye", lambda w: nn.init.eye_(w)),
    ]:
        torch.manual_seed(1)
        out[name] = flat(f(torch.empty(6, 5)))
    return out


def clip():
    out = {}
    for name, kind in [("two", 2.0), ("one", 1.0), ("inf", float("inf"))]:
        p = [torch.zeros(3, 4, requires_grad=True), torch.zeros(5, requires_grad=True)]
        for i, q in enumerate(p):
            q.grad = pattern(q.shape, i + 1) * 3
        norm = nn.utils.clip_grad_norm_(p, 1.5, kind)
        out[name] = [flat(norm)[0]] + [flat(q.grad) for q in p]
    return out


def write(name, value):
    with open(pathlib.Path(__file__).with_name(f"{name}.json"), "w") as f:
        # One line for each entry, so that a change shows where it is.
        f.write("{\n" + ",\n".join(json.dumps(k) + ": " + json.dumps(v, separators=(",", ":")) for k, v in value.items()) + "\n}\n")


write("layers", {name: layer(name, make, shape) for name, make, shape in LAYERS})
write("losses", {name: loss(make, shape, t) for name, make, shape, t in LOSSES})
write("optimizers", {name: optimizer(make) for name, make in OPTIMIZERS})
write("schedulers", {**{name: scheduler(make) for name, make in SCHEDULERS},
    "plateau": plateau(patience=1, cooldown=2, factor=0.5), "plateau_abs": plateau(patience=0, threshold=0.05, threshold_mode="abs", min_lr=0.1),
    "plateau_max": plateau(mode="max", patience=2)})
write("others", {"tree": tree(), "lenet_repr": repr(LeNet()), "lenet_losses": lenet(), "embedding": embedding(), "bilinear": bilinear(), "init": init(), "clip": clip()})
