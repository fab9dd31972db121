#!/usr/bin/env python3
"""Makes fashion-mnist-sample.png, the sample of Fashion-MNIST that flambeau-vision embeds.

    apt-get install dataset-fashion-mnist
    pip install numpy pillow
    python3 make_sample.py [FOLDER]     # FOLDER holds the four idx .gz files

The sample is the first 600 training and the first 100 test pictures of each of the ten
classes, in the order of the official files (which is a random one). They are the tiles of
one grey picture, 100 tiles of 28x28 a row: 60 rows of training pictures, then 10 rows of
test pictures. The classes take turns, so the tile in column j is of class j % 10 and no file
of labels is needed.
"""
import gzip
import os
import sys

import numpy as np
from PIL import Image

source = sys.argv[1] if len(sys.argv) > 1 else "/usr/share/datasets/fashion-mnist"
target = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fashion-mnist-sample.png")


def read(name, header, shape):
    with gzip.open(os.path.join(source, name)) as f:
        return np.frombuffer(f.read()[header:], np.uint8).reshape(shape)


def pick(split, per_class):
    images = read(f"{split}-images-idx3-ubyte.gz", 16, (-1, 28, 28))
    labels = read(f"{split}-labels-idx1-ubyte.gz", 8, (-1,))
    turns = np.stack([np.flatnonzero(labels == c)[:per_class] for c in range(10)], axis=1)
    assert turns.shape == (per_class, 10)
    return images[turns.ravel()]


tiles = np.concatenate([pick("train", 600), pick("t10k", 100)])
sheet = tiles.reshape(70, 100, 28, 28).transpose(0, 2, 1, 3).reshape(70 * 28, 100 * 28)
Image.fromarray(sheet).save(target + ".tmp", format="png", optimize=True)
assert np.array_equal(np.asarray(Image.open(target + ".tmp")), sheet)
os.replace(target + ".tmp", target)
print(f"{target}: {os.path.getsize(target):,} bytes, {sheet.astype(np.int64).sum():,} the sum of all pixels")
