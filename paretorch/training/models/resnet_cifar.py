"""The CIFAR ResNets of He et al. 2016 (section 4.2): depth 6n + 2, widths 16-32-64.

Where a shortcut changes shape it has no parameters (option A, as in the paper's CIFAR experiments) or is a 1x1
convolution with batch norm (option B).
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.errors import InputError


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut.

    Option A takes every second pixel and pads channels with zeros on both sides; option B convolves.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: Literal["A", "B"] = "A") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.padding = stride, (outputs - inputs) // 2
        self.downsample: nn.Module | None = None
        if shortcut == "B" and inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.downsample is not None:
            shortcut = self.downsample(x)
        elif self.padding:
            shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))
        return (self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())) + shortcut).relu()


class CifarResNet(nn.Module):
    """A CIFAR ResNet.

    Args:
        depth: 20, 32, 44, 56, ...: 6n + 2.
        shortcut: "A" (without parameters) or "B" (1x1 convolutions).
        num_classes: outputs.

    Raises:
        InputError: for another depth or shortcut.
    """

    def __init__(self, *, depth: int = 20, shortcut: Literal["A", "B"] = "A", num_classes: int = 10) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise InputError(f"the depth of a CIFAR ResNet is 6n + 2 (20, 32, 44, 56, ...); got {depth}")
        if shortcut not in ("A", "B"):
            raise InputError(f"the shortcut of a CIFAR ResNet is 'A' or 'B'; got {shortcut!r}")
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, stride=1, shortcut=shortcut)
        self.layer2 = _stage(16, 32, blocks, stride=2, shortcut=shortcut)
        self.layer3 = _stage(32, 64, blocks, stride=2, shortcut=shortcut)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (batch, num_classes) of images (batch, 3, 32, 32)."""
        features = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(images)).relu())))
        return self.linear(features.mean((2, 3)))


def _stage(inputs: int, outputs: int, blocks: int, *, stride: int, shortcut: Literal["A", "B"]) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))
