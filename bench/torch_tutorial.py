"""The 60-minute tutorial's training and test in PyTorch, for `cargo xtask bench`.

    python3 torch_tutorial.py THREADS DIR [DEVICE]     # DIR holds cifar-10-batches-bin

As the tutorial writes it: pictures through PIL, ToTensor and Normalize, a DataLoader with two
workers, batches of four, two epochs. Prints a line of JSON with the seconds and the accuracy.
"""

import json
import pathlib
import sys
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image
from torchvision import transforms

TRANSFORM = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])


class Pictures(torch.utils.data.Dataset):
    def __init__(self, files):
        records = np.concatenate([np.fromfile(f, np.uint8).reshape(-1, 3073) for f in files])
        self.labels = records[:, 0].tolist()
        self.pixels = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return TRANSFORM(Image.fromarray(self.pixels[i])), self.labels[i]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.pool, self.conv2 = nn.Conv2d(3, 6, 5), nn.MaxPool2d(2, 2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


def main():
    torch.set_num_threads(int(sys.argv[1]))
    device = torch.device(sys.argv[3] if len(sys.argv) > 3 else "cpu")
    torch.manual_seed(0)
    folder = pathlib.Path(sys.argv[2]) / "cifar-10-batches-bin"
    trainset = Pictures([folder / f"data_batch_{i}.bin" for i in range(1, 6)])
    testset = Pictures([folder / "test_batch.bin"])
    loader = lambda data, shuffle: torch.utils.data.DataLoader(data, 4, shuffle, num_workers=2)
    net, criterion = Net().to(device), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    start = time.perf_counter()
    for _ in range(2):
        running = 0.0
        for inputs, labels in loader(trainset, True):
            inputs, labels = inputs.to(device), labels.to(device)
            optimizer.zero_grad()
            loss = criterion(net(inputs), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
    correct = 0
    with torch.no_grad():
        for inputs, labels in loader(testset, False):
            inputs, labels = inputs.to(device), labels.to(device)
            correct += (net(inputs).argmax(1) == labels).sum().item()
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "accuracy": correct / len(testset)}))


main()
