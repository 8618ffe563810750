"""DenseNet-BC (Huang et al. 2017, table 1): every layer reads the channels of all earlier ones of its block.

    x_l = [x_(l-1), H_l(x_(l-1))],   H: bn - relu - 1x1 to 4 growth channels - bn - relu - 3x3 to growth channels

Between blocks a 1x1 convolution halves the channels and an average pooling the sides. A channel is read by many layers,
so pruning channels here concerns all of them.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.training.models.initialise import initialise_convolutions_

BOTTLENECK = 4  # channels between the two convolutions of a layer, times the growth


class DenseNet(nn.Module):
    """A DenseNet-BC.

    Args:
        blocks: layers per block; (6, 12, 24, 16) is DenseNet-121.
        growth: channels that each layer adds.
        stem: "imagenet" (7x7 with stride 2, batch norm, ReLU, pooling) or "cifar" (3x3 alone); 2 growth channels.
        num_classes: outputs.

    Raises:
        InputError: for an unknown stem or sizes below 1.
    """

    def __init__(
        self,
        *,
        blocks: Sequence[int] = (6, 12, 24, 16),
        growth: int = 32,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        if stem not in ("imagenet", "cifar"):
            raise InputError(f"the stem of a DenseNet is 'imagenet' or 'cifar'; got {stem!r}")
        if not blocks or min(*blocks, growth, num_classes) < 1:
            raise InputError(
                f"a DenseNet needs sizes of at least 1; got blocks={tuple(blocks)}, growth={growth}, "
                f"num_classes={num_classes}"
            )
        channels = 2 * growth
        layers: list[nn.Module]
        if stem == "imagenet":
            first = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
            layers = [first, nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)]
        else:
            layers = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
        for block, count in enumerate(blocks):
            if block:
                layers.append(Transition(channels))
                channels //= 2
            for _ in range(count):
                layers.append(DenseLayer(channels, growth))
                channels += growth
        self.features = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, num_classes)
        initialise_convolutions_(self)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (batch, num_classes) of images (batch, 3, height, width)."""
        return self.linear(self.norm(self.features(images)).relu().mean((2, 3)))


class DenseLayer(nn.Module):
    """Adds `growth` channels behind those it reads."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, BOTTLENECK * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK * growth)
        self.conv2 = nn.Conv2d(BOTTLENECK * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv2(self.norm2(self.conv1(self.norm1(x).relu())).relu())
        return torch.cat((x, new), dim=1)


class Transition(nn.Module):
    """Halves channels and sides."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, inputs // 2, 1, bias=False)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(self.norm(x).relu()))
