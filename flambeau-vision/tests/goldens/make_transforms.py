"""What torchvision 0.29 and Pillow make of two small pictures; writes transforms.txt.

A line is `name dtype shape: numbers`. The pictures: byte i, in H x W x C order, is
(31 i² + 17 i + 7) mod 256 for `small` (7 x 9) and (13 i + i² // 50) mod 256 for `wide` (20 x 33).
"""
import numpy as np
import pathlib
import torch
from PIL import Image
from torchvision import transforms as T
from torchvision.transforms import functional as F
from torchvision.utils import make_grid

out = open(pathlib.Path(__file__).with_name("transforms.txt"), "w")


def emit(name, x):
    if isinstance(x, Image.Image):
        x = F.pil_to_tensor(x)
    if x.dtype.is_floating_point:
        numbers = " ".join(f"{v:.9g}" for v in x.flatten().tolist())
    else:
        numbers = " ".join(str(int(v)) for v in x.flatten().tolist())
    print(f"{name} {str(x.dtype).removeprefix('torch.')} {','.join(map(str, x.shape))}: {numbers}", file=out)


def picture(h, w, f):
    i = np.arange(h * w * 3, dtype=np.int64)
    return Image.fromarray((f(i) % 256).astype(np.uint8).reshape(h, w, 3))


small = picture(7, 9, lambda i: 31 * i * i + 17 * i + 7)
wide = picture(20, 33, lambda i: 13 * i + i * i // 50)
tensor, wide_tensor = F.to_tensor(small), F.to_tensor(wide)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

emit("to_tensor", tensor)
emit("normalize", T.Normalize(MEAN, STD)(tensor))
emit("normalize-half", T.Normalize((0.5,) * 3, (0.5,) * 3)(tensor))
emit("normalize-f64", T.Normalize(MEAN, STD)(tensor.double()))
emit("normalize-twice", T.Normalize((0.1,), (3.0,))(T.Normalize(MEAN, STD)(tensor)))
for kind, x in (("bytes", small), ("float", tensor), ("uint8", F.pil_to_tensor(small))):
    emit(f"hflip-{kind}", F.hflip(x))
    emit(f"vflip-{kind}", F.vflip(x))
    emit(f"pad-{kind}", F.pad(x, [1, 2, 3, 0], fill=1))
    for mode in ("edge", "reflect", "symmetric"):
        emit(f"pad-{mode}-{kind}", F.pad(x, [2, 3, 4, 1], padding_mode=mode))
    for size in ((3, 4), (4, 4), (5, 3), (6, 12), (11, 2), (12, 14)):
        emit(f"center-{size[0]}x{size[1]}-{kind}", F.center_crop(x, size))
    for channels in (1, 3):
        emit(f"gray{channels}-{kind}", F.rgb_to_grayscale(x, channels))
emit("pad-colour-bytes", F.pad(small, 1, fill=(10, 20, 30)))
modes = dict(nearest=T.InterpolationMode.NEAREST, bilinear=T.InterpolationMode.BILINEAR,
             bicubic=T.InterpolationMode.BICUBIC)
for name, mode in modes.items():
    for size in ((5, 8), (13, 40), (9, 30), (9, 25), (20, 11), (41, 33)):
        for kind, x in (("bytes", wide), ("float", wide_tensor), ("uint8", F.pil_to_tensor(wide))):
            # One row and one channel in three of the large results would do; keep channel 1.
            y = F.resize(x, size, mode)
            y = F.pil_to_tensor(y) if isinstance(y, Image.Image) else y
            emit(f"resize-{name}-{size[0]}x{size[1]}-{kind}", y[1:2, ::3])
emit("resize-f64", F.resize(wide_tensor.double(), (5, 8))[1:2])
for name, args in dict(short=(12,), short_max=(12, modes["bilinear"], 15), same=(20,)).items():
    y = F.resize(wide, *args)
    emit(f"resize-{name}", torch.tensor([y.size[1], y.size[0]]))
    y = F.resize(wide.rotate(90, expand=True), *args)
    emit(f"resize-{name}-upright", torch.tensor([y.size[1], y.size[0]]))
for to in (torch.float32, torch.float64, torch.int8, torch.int16, torch.int32, torch.int64):
    emit(f"convert-uint8-{str(to)[6:]}", F.convert_image_dtype(F.pil_to_tensor(small), to)[:1, :3])
for to in (torch.uint8, torch.int16, torch.float64):
    emit(f"convert-float32-{str(to)[6:]}", F.convert_image_dtype(tensor, to)[:1, :3])
emit("convert-int32-uint8", F.convert_image_dtype(torch.tensor([[[-5, 0, 2**24 - 1, 2**24, 2**31 - 1]]], dtype=torch.int32), torch.uint8))

# Grids: twelve pictures 3 x 3 x 4, number i is ((37 i) mod 101) / 25 - 1.5.
x = (torch.arange(12 * 36) * 37 % 101 / 25 - 1.5).view(12, 3, 3, 4)
emit("grid", make_grid(x[:5], nrow=3))
emit("grid-one", make_grid(x[:1]))
emit("grid-grey", make_grid(x[:2, :1], padding=1, pad_value=0.25))
emit("grid-flat", make_grid(x[0, 0]))
emit("grid-normalize", make_grid(x[:3], nrow=2, normalize=True))
emit("grid-each", make_grid(x[:3], nrow=2, normalize=True, scale_each=True, padding=0))
emit("grid-range", make_grid(x[:3], nrow=2, normalize=True, value_range=(-1, 1)))
emit("grid-flat-values", make_grid(torch.full((2, 3, 1, 1), 0.3), normalize=True))
emit("grid-bytes", make_grid((x[:3] * 50 + 100).to(torch.uint8), nrow=2, pad_value=7))
g = make_grid(x[:3], nrow=2)
emit("saved", g.mul(255).add_(0.5).clamp_(0, 255).to(torch.uint8))
