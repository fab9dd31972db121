#!/usr/bin/env python3
"""The losses of PyTorch's first 200 steps of the tutorial on the embedded sample, seed 0.

    pip install torch pillow numpy
    python3 flambeau/tests/goldens/make_tutorial.py    # from the repository's root
"""
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from PIL import Image

SIDE = 28
sheet = np.asarray(Image.open("flambeau-vision/data/fashion-mnist-sample.png").convert("L"))
columns = sheet.shape[1] // SIDE
tiles = [sheet[i // columns * SIDE:, i % columns * SIDE:][:SIDE, :SIDE] for i in range(6000)]
x = torch.from_numpy(np.stack(tiles)).float().div(255)
x = F.pad(x, (2, 2, 2, 2)).unsqueeze(1).repeat(1, 3, 1, 1).sub(0.5).div(0.5)
y = torch.arange(6000) % 10


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2).flatten(1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


torch.manual_seed(0)
net, criterion = Net(), nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4, shuffle=True, num_workers=2)
losses = []
for inputs, labels in loader:
    optimizer.zero_grad()
    loss = criterion(net(inputs), labels)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    if len(losses) == 200:
        break
with open("flambeau/tests/goldens/tutorial_losses.txt", "w") as f:
    f.writelines(f"{v!r}\n" for v in losses)
