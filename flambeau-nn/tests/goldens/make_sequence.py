"""Writes sequence.json, layers over sequences, from PyTorch: python make_sequence.py (torch 2.15).

Inputs, parameters and masks are not stored: both sides compute them by `pattern` and `bools`.
"""
import json
import math
import pathlib
import torch
import torch.nn as nn

torch.use_deterministic_algorithms(True)


def pattern(shape, salt):
    """Numbers between -1 and 1, never 0."""
    values = [-1 + 2 * ((i * 7919 + salt * 104729) % 997 + 0.5) / 997 for i in range(math.prod(shape))]
    return torch.tensor(values, dtype=torch.float64).to(torch.float32).reshape(shape)


def bools(shape):
    """True at every third place."""
    return torch.tensor([i % 3 == 1 for i in range(math.prod(shape))]).reshape(shape)


def flat(t):
    return [float("%.9g" % v) for v in t.detach().double().flatten().tolist()]


def tensors(result):
    if isinstance(result, torch.Tensor):
        return [result]
    return [t for r in result if r is not None for t in tensors(r)]


MHA, Layer = nn.MultiheadAttention, nn.TransformerEncoderLayer
# Name, constructor, shapes of the inputs, call.
CASES = [
    ("mha", lambda: MHA(8, 2), [(4, 2, 8), (5, 2, 8), (5, 2, 8)], lambda m, q, k, v: m(q, k, v)),
    ("mha_self", lambda: MHA(8, 2, batch_first=True), [(2, 4, 8)], lambda m, x: m(x, x, x, need_weights=False)),
    ("mha_memory", lambda: MHA(6, 3, bias=False), [(4, 2, 6), (5, 2, 6)], lambda m, q, k: m(q, k, k, average_attn_weights=False)),
    ("mha_masks", lambda: MHA(8, 2, batch_first=True), [(2, 4, 8)], lambda m, x: m(x, x, x, key_padding_mask=bools((2, 4)), attn_mask=bools((4, 4)).t())),
    ("mha_masks_fast", lambda: MHA(8, 2), [(4, 2, 8), (5, 2, 8)], lambda m, q, k: m(q, k, k, key_padding_mask=bools((2, 5)), attn_mask=pattern((4, 4, 5), 7), need_weights=False)),
    ("mha_causal", lambda: MHA(8, 4), [(5, 2, 8)], lambda m, x: m(x, x, x, need_weights=False, is_causal=True, attn_mask=torch.ones(5, 5).triu(1).bool())),
    ("mha_options", lambda: MHA(8, 2, dropout=0.4, add_bias_kv=True, add_zero_attn=True, kdim=3, vdim=6), [(4, 2, 8), (5, 2, 3), (5, 2, 6)], lambda m, q, k, v: m(q, k, v, key_padding_mask=bools((2, 5)), attn_mask=pattern((4, 5), 7))),
    ("mha_unbatched", lambda: MHA(8, 2), [(4, 8), (5, 8), (5, 8)], lambda m, q, k, v: m(q, k, v, key_padding_mask=bools((5,)))),
    ("encoder_layer", lambda: Layer(8, 2, 16), [(4, 3, 8)], lambda m, x: m(x)),
    ("encoder_layer_batch_first", lambda: Layer(8, 2, 12, dropout=0.3, batch_first=True), [(3, 4, 8)], lambda m, x: m(x, src_key_padding_mask=bools((3, 4)))),
    ("encoder_layer_norm_first", lambda: Layer(8, 4, 12, dropout=0.0, activation="gelu", norm_first=True, bias=False, layer_norm_eps=1e-3), [(4, 3, 8)], lambda m, x: m(x, src_mask=pattern((4, 4), 7))),
    ("encoder_layer_unbatched", lambda: Layer(8, 2, 16, batch_first=True), [(4, 8)], lambda m, x: m(x)),
    ("encoder", lambda: nn.TransformerEncoder(Layer(8, 2, 16, dropout=0.2), 2, norm=nn.LayerNorm(8)), [(4, 3, 8)], lambda m, x: m(x, mask=torch.ones(4, 4).triu(1).bool(), is_causal=True)),
    ("lstm", lambda: nn.LSTM(3, 4), [(5, 2, 3)], lambda m, x: m(x)),
    ("lstm_options", lambda: nn.LSTM(3, 4, 2, batch_first=True, dropout=0.3, bidirectional=True), [(2, 5, 3), (4, 2, 4), (4, 2, 4)], lambda m, x, h, c: m(x, (h, c))),
    ("lstm_projection", lambda: nn.LSTM(3, 4, 2, bias=False, proj_size=2), [(5, 2, 3), (2, 2, 2), (2, 2, 4)], lambda m, x, h, c: m(x, (h, c))),
    ("lstm_unbatched", lambda: nn.LSTM(3, 4, batch_first=True), [(5, 3), (1, 4), (1, 4)], lambda m, x, h, c: m(x, (h, c))),
    ("gru", lambda: nn.GRU(3, 4), [(5, 2, 3), (1, 2, 4)], lambda m, x, h: m(x, h)),
    ("gru_options", lambda: nn.GRU(3, 4, 2, bias=False, dropout=0.4, bidirectional=True), [(5, 2, 3)], lambda m, x: m(x)),
    ("rnn", lambda: nn.RNN(3, 4, batch_first=True), [(2, 5, 3)], lambda m, x: m(x)),
    ("rnn_relu", lambda: nn.RNN(3, 4, 3, nonlinearity="relu", bidirectional=True), [(5, 2, 3), (6, 2, 4)], lambda m, x, h: m(x, h)),
    ("lstm_cell", lambda: nn.LSTMCell(3, 4), [(2, 3), (2, 4), (2, 4)], lambda m, x, h, c: m(x, (h, c))),
    ("lstm_cell_unbatched", lambda: nn.LSTMCell(3, 4, bias=False), [(3,)], lambda m, x: m(x)),
    ("gru_cell", lambda: nn.GRUCell(3, 4), [(2, 3), (2, 4)], lambda m, x, h: m(x, h)),
    ("rnn_cell", lambda: nn.RNNCell(3, 4, nonlinearity="relu"), [(3,), (4,)], lambda m, x, h: m(x, h)),
]


def case(make, shapes, call):
    torch.manual_seed(42)
    m = make()
    out = {"init": {n: flat(p) for n, p in m.named_parameters()}, "next": flat(torch.rand(1))[0], "repr": repr(m)}
    with torch.no_grad():
        for i, p in enumerate(m.parameters()):
            p.copy_(pattern(p.shape, i + 11) * 0.5)
    xs = [(pattern(shape, i + 1) * 2).requires_grad_() for i, shape in enumerate(shapes)]
    torch.manual_seed(3)
    ys = tensors(call(m, *xs))
    sum((y * pattern(y.shape, i + 2)).sum() for i, y in enumerate(ys)).backward()
    out["shapes"], out["outputs"] = [list(y.shape) for y in ys], [flat(y) for y in ys]
    out["input_grads"] = [flat(x.grad) for x in xs]
    out["grads"] = {n: flat(p.grad) for n, p in m.named_parameters()}
    m.eval()
    out["eval"] = [flat(y) for y in tensors(call(m, *xs))]
    return out


goldens = {name: case(make, shapes, call) for name, make, shapes, call in CASES}
with open(pathlib.Path(__file__).with_name("sequence.json"), "w") as f:
    # One line for each entry, so that a change shows where it is.
    f.write("{\n" + ",\n".join(json.dumps(k) + ": " + json.dumps(v, separators=(",", ":")) for k, v in goldens.items()) + "\n}\n")
