from functools import partial

import torch
from torch import nn

import paretorch as pt


def network(hidden: int = 64) -> nn.Module:
    return nn.Sequential(nn.Linear(20, hidden), nn.ReLU(), nn.Linear(hidden, 4))


def make(hidden: int = 64) -> pt.SupervisedTask:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(1200, 20, generator=generator)
    targets = torch.stack([inputs[:, i] * inputs[:, i + 4] for i in range(4)], dim=1).argmax(dim=1)
    return pt.SupervisedTask(
        partial(network, hidden),
        train=(inputs[:1000], targets[:1000]),
        test=(inputs[1000:], targets[1000:]),
        name="products",
    )
