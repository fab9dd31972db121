"""Orders of samples that PyTorch 2.15 gives; prints order.txt: `name: i i | i i` (batches cut by |).

Each case is two epochs of one loader after torch.manual_seed(7), then what the default generator
gives next (`randint(1000)`), to see that exactly as much was drawn.
"""
import torch
from torch.utils.data import (BatchSampler, DataLoader, RandomSampler, SubsetRandomSampler,
                              WeightedRandomSampler, random_split)


def show(batches):
    return " | ".join(" ".join(str(int(i)) for i in b) for b in batches)


def case(name, make):
    torch.manual_seed(7)
    loader = make()
    for epoch in (1, 2):
        print(f"{name} {epoch}: {show(list(loader))}")
    print(f"{name} after: {int(torch.randint(1000, ()))}")


data = range(10)
gen = lambda s: torch.Generator().manual_seed(s)
for workers in (0, 2):
    w = dict(num_workers=workers)
    case(f"plain w{workers}", lambda: DataLoader(data, 3, **w))
    case(f"shuffle w{workers}", lambda: DataLoader(data, 3, shuffle=True, **w))
    case(f"whole w{workers}", lambda: DataLoader(data, 5, shuffle=True, **w))
    case(f"drop w{workers}", lambda: DataLoader(data, 3, shuffle=True, drop_last=True, **w))
    case(f"generator w{workers}", lambda: DataLoader(data, 3, shuffle=True, generator=gen(5), **w))
    case(f"generator-whole w{workers}", lambda: DataLoader(data, 5, shuffle=True, generator=gen(5), **w))
    case(f"generator-drop w{workers}",
         lambda: DataLoader(data, 3, shuffle=True, drop_last=True, generator=gen(5), **w))
case("replacement", lambda: DataLoader(data, 16, sampler=RandomSampler(data, replacement=True, num_samples=40)))
case("replacement-generator",
     lambda: DataLoader(data, 16, sampler=RandomSampler(data, replacement=True, num_samples=40, generator=gen(3))))
case("many", lambda: DataLoader(data, 8, sampler=RandomSampler(data, num_samples=24, generator=gen(3))))
case("few", lambda: DataLoader(data, 3, sampler=RandomSampler(data, num_samples=3, generator=gen(3))))
case("subset", lambda: DataLoader(data, 2, sampler=SubsetRandomSampler([1, 4, 7, 8, 9])))
case("subset-generator", lambda: DataLoader(data, 2, sampler=SubsetRandomSampler([1, 4, 7, 8, 9], generator=gen(3))))
weights = [0.1, 0.9, 0.4, 0.7, 3.0, 0.6, 0.0, 0.2, 0.5, 1.5]
case("weighted", lambda: DataLoader(data, 4, sampler=WeightedRandomSampler(weights, 12)))
case("weighted-once", lambda: DataLoader(data, 4, sampler=WeightedRandomSampler(weights, 6, replacement=False)))
case("batches", lambda: DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data, generator=gen(4)), 4, False)))
case("split", lambda: [list(p) for p in random_split(data, [0.35, 0.35, 0.3])])
case("split-generator", lambda: [list(p) for p in random_split(data, [3, 7], generator=gen(42))])
