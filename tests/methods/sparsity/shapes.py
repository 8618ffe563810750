"""Weight shapes of published networks, for allocations that depend on shapes only."""

import torch
from torch import nn


def resnet56_shapes() -> dict[str, torch.Size]:
    """CIFAR ResNet-56 (He et al. 2016, option-A shortcuts): 55 convolutions and a linear layer, 848,944 weights."""
    shapes = {"conv1": (16, 3, 3, 3)}
    width_in = 16
    for stage, width in enumerate((16, 32, 64), start=1):
        for block in range(9):
            shapes[f"layer{stage}.{block}.conv1"] = (width, width_in, 3, 3)
            shapes[f"layer{stage}.{block}.conv2"] = (width, width, 3, 3)
            width_in = width
    shapes["fc"] = (10, 64)
    return {name: torch.Size(shape) for name, shape in shapes.items()}


def small_network(seed: int = 0) -> nn.Sequential:
    """Two convolutions and two linear layers of very different weight scales."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 16, 3), nn.Flatten(), nn.Linear(16, 32), nn.Linear(32, 10)
    )
    with torch.no_grad():
        for scale, parameter in zip((1.0, 0.1, 3.0, 0.5), (p for p in model.parameters() if p.dim() > 1), strict=True):
            parameter.normal_(std=scale)
    return model
