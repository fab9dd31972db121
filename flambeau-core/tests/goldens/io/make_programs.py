"""Writes programs.txt: random programs of views, in-place operations and gradients, and what PyTorch makes of them.

A program is statements, one a line, `!` before those that PyTorch refuses (and the program goes on without). Then for
every tensor `> name requires_grad numbers`, and for what the loss gives: `g name numbers` (a gradient, `none` where
there is none), or `error`. The loss is the sum over the tensors that require gradients, number k, of their elements
times ((5 i + 2 k) mod 7 - 3) / 2. After `second`, first come the gradients by autograd.grad with create_graph, as `f`
lines, then those of the sum of their squares. Run with torch: python3 make_programs.py [count [seed]]
"""
import random
import sys
import torch

torch.set_default_dtype(torch.float64)
UNARY = ["exp", "tanh", "square", "neg"]


def ints(s):
    return [int(v) for v in s.split(",")] if s != "-" else []


def fill(shape, k):
    n = 1
    for s in shape:
        n *= s
    return torch.tensor([((7 * i + 3 * k + 5) % 13 - 6) / 4 + 0.125 for i in range(n)]).reshape(shape).clone()


class Skip(Exception):
    pass


class Run:
    def __init__(self):
        self.t, self.no_grad, self.count, self.program = {}, False, 0, []

    def arg(self, s):
        return self.t[s] if s in self.t else float(s)

    def step(self, line):
        w = line.split()
        with torch.set_grad_enabled(not self.no_grad):
            if w[1] == "=":
                x = self.make(w[2], w[3:])
                # Such results keep their input's strides; flambeau's are contiguous.
                if not x.is_contiguous() and w[2] in UNARY + ["add", "mul", "copy"]:
                    raise Skip
                self.t[w[0]] = x
            else:
                self.act(w[0], w[1:])

    def make(self, op, a):
        if op in ("leaf", "const"):
            self.count += 1
            return fill(ints(a[0]), self.count).requires_grad_(op == "leaf")
        x, n = self.t[a[0]], a[1:]
        if op in UNARY:
            return getattr(torch, op)(x)
        if op in ("add", "mul", "sub"):
            return getattr(x, op)(self.arg(n[0]))
        if op in ("view", "reshape", "expand", "permute"):
            return getattr(x, op)(ints(n[0]))
        if op in ("transpose", "select", "narrow", "unsqueeze", "flatten", "unfold", "diagonal", "movedim"):
            return getattr(x, op)(*map(int, n))
        if op == "slice":
            d, s, e, st = map(int, n)
            return x[(slice(None),) * d + (slice(s, e, st),)]
        if op == "as_strided":
            return x.as_strided(ints(n[0]), ints(n[1]), int(n[2]))
        if op == "unflatten":
            return x.unflatten(int(n[0]), ints(n[1]))
        if op == "copy":
            return x.clone()
        return getattr(x, op)()

    def act(self, op, a):
        if op == "no_grad":
            self.no_grad = a[0] == "on"
            return
        x = self.t[a[0]]
        if op.endswith("_") and overlaps(x):
            raise Skip  # undefined in PyTorch
        if op == "mul_" and a[1] in self.t and self.t[a[1]].untyped_storage().data_ptr() == x.untyped_storage().data_ptr():
            raise Skip  # an error in PyTorch's backward, a gradient in flambeau's
        if op in ("retain", "hook") and x._is_view():
            raise Skip  # PyTorch loses those of a view whose memory changes
        if op == "retain":
            x.retain_grad()
        elif op == "hook":
            c = float(a[1])
            x.register_hook(lambda g: g * c)
        elif len(a) > 1:
            getattr(x, op)(self.arg(a[1]))
        else:
            getattr(x, op)()


def random_line(r, rng):
    # Views made in no_grad say that they require gradients, but none flows: left alone outside of it.
    names = [n for n, t in r.t.items() if r.no_grad or not ghost(t)]
    if len(names) < 1 or rng.random() < 0.1:
        shape = rng.choice(["2,3", "4", "2,2,2", "3,1", "6", "3,4"])
        return f"v{len(r.t)} = {rng.choice(['leaf', 'leaf', 'const'])} {shape}"
    x = rng.choice(names[-4:] if rng.random() < 0.7 else names)
    t, new = r.t[x], f"v{len(r.t)}"
    d = rng.randrange(t.dim()) if t.dim() else 0
    size = t.shape[d] if t.dim() else 1
    same = [n for n in names if r.t[n].shape == t.shape]
    fits = [n for n in names if t.dim() >= r.t[n].dim() and all(
        a == b or a == 1 for a, b in zip(reversed(r.t[n].shape), reversed(t.shape)))]
    kind = rng.random()
    if kind < 0.2:
        op = rng.choice(UNARY + ["copy", "mul", "add", "mul"])
        if op in ("mul", "add"):
            return f"{new} = {op} {x} {rng.choice(same + ['0.5', '-1.5'])}"
        return f"{new} = {op} {x}"
    if kind < 0.62:
        flat = str(t.numel())
        choices = [f"view {x} {flat}", f"unsqueeze {x} {rng.randint(0, t.dim())}", f"flatten {x} 0 -1", f"squeeze {x}",
                   f"reshape {x} {flat}", f"view {x} {flat},1"]
        if t.dim():
            s = rng.randrange(size + 1)
            choices += [f"select {x} {d} {rng.randrange(-size, size)}" if size else f"squeeze {x}",
                        f"narrow {x} {d} {s} {rng.randint(0, size - s)}",
                        f"slice {x} {d} {s} {rng.randint(s, size)} {rng.randint(1, 3)}"]
            choices += [f"unfold {x} {d} {rng.randint(1, max(size, 1))} {rng.randint(1, 3)}"]
        if t.dim() > 1:
            order = list(range(t.dim()))
            rng.shuffle(order)
            e = rng.randrange(t.dim())
            choices += [f"transpose {x} {d} {e}", f"permute {x} {','.join(map(str, order))}", f"movedim {x} {d} {e}",
                        f"diagonal {x} {rng.randint(-1, 1)} {d} {(d + 1) % t.dim()}", f"contiguous {x}"]
        if t.dim() and size == 1:
            choices += [f"expand {x} {','.join(str(3) if i == d else '-1' for i in range(t.dim()))}"] * 2
        if t.numel() % 2 == 0 and t.numel():
            choices += [f"view {x} 2,-1", f"reshape {x} -1,2"]
        if t.is_contiguous() and t.numel() >= 4:
            choices += [f"as_strided {x} 2,2 {rng.choice(['1,2', '2,1', '1,1'])} {t.storage_offset()}"]
        if rng.random() < 0.1:
            choices = [f"detach {x}"]
        return f"{new} = {rng.choice(choices)}"
    if kind < 0.9:
        op = rng.choice(["tanh_", "neg_", "square_", "exp_", "mul_", "mul_", "add_", "add_", "copy_", "fill_", "zero_"])
        if op in ("mul_", "add_", "copy_"):
            return f"{op} {x} {rng.choice(fits + (['0.5', '-1.5'] if op != 'copy_' else []))}"
        if op == "fill_":
            return f"fill_ {x} 0.75"
        return f"{op} {x}"
    if kind < 0.93:
        return f"no_grad {'off' if r.no_grad else 'on'}"
    if kind < 0.965:
        return f"retain {x}"
    return f"hook {x} {rng.choice(['2', '-0.5'])}"


def overlaps(t):
    places = torch.arange(t.untyped_storage().nbytes() // 8).as_strided(t.shape, t.stride(), t.storage_offset())
    return places.unique().numel() < t.numel()


def ghost(t):
    try:
        return t._is_view() and t.requires_grad and t.grad_fn is None
    except RuntimeError as e:
        raise Skip from e


def numbers(t):
    return " ".join(f"{v:.10g}" for v in t.detach().reshape(-1).tolist())


def program(rng):
    r, out = Run(), []
    for _ in range(rng.randint(4, 14)):
        line = random_line(r, rng)
        try:
            r.step(line)
            out.append(line)
            if r.no_grad and line[:3] != "no_" and " = " not in line:
                # Using a view again in no_grad after a change loses its history in PyTorch.
                r.step("no_grad off")
                out.append("no_grad off")
        except (RuntimeError, IndexError) as e:
            text = str(e)
            if "memory location" in text or "has been modified inplace with grad mode" in text:
                raise Skip
            out.append("! " + line)
    loss, seconds = None, rng.random() < 0.4
    try:
        for k, (name, t) in enumerate(r.t.items()):
            tracked = t.requires_grad and not ghost(t)
            out.append(f"> {name} {int(tracked)} {numbers(t)}")
            if tracked and t.numel():
                c = torch.tensor([((5 * i + 2 * k) % 7 - 3) / 2 for i in range(t.numel())])
                part = (t.reshape(-1) * c).sum()
                loss = part if loss is None else loss + part
    except RuntimeError as e:
        raise Skip from e
    if loss is None:
        raise Skip
    leaves = [n for n, t in r.t.items() if t.requires_grad and t.is_leaf and not ghost(t)]
    try:
        if seconds:
            out.append("second")
            gs = torch.autograd.grad(loss, [r.t[n] for n in leaves], create_graph=True, allow_unused=True)
            total = None
            for n, g in zip(leaves, gs):
                out.append(f"f {n} {'none' if g is None else numbers(g)}")
                if g is not None and g.requires_grad:
                    total = g.square().sum() if total is None else total + g.square().sum()
            if total is None:
                return out
            total.backward()
        else:
            loss.backward()
        import warnings
        warnings.simplefilter("ignore")
        for n, t in r.t.items():
            g = t.grad
            if t.requires_grad and not ghost(t) and (t.is_leaf or t.retains_grad):
                out.append(f"g {n} {'none' if g is None else numbers(g)}")
    except RuntimeError as e:
        out.append("error " + ("inplace" if "modified by an inplace" in str(e) else "other"))
        if "modified by an inplace" not in str(e):
            print(e)
    if any("nan" in line or "inf" in line or "e+1" in line for line in out):
        raise Skip
    return out


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    done = []
    while len(done) < count:
        try:
            p = program(rng)
        except Skip:
            continue
        done.append("\n".join(p))
    open(sys.argv[3] if len(sys.argv) > 3 else "programs.txt", "w").write("\n\n".join(done) + "\n")


main()
