"""MobileNetV2 (Sandler et al. 2018, table 2): inverted residuals with depthwise convolutions and linear bottlenecks.

block: 1x1 to t times the channels, relu6 - 3x3 depthwise, relu6 - 1x1 without activation; x is added where shapes
allow. Channels are multiplied by `width` and rounded to a multiple of 8, never down by more than a tenth.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.training.models.initialise import initialise_convolutions_

# Expansion t, channels, blocks and stride of each stage.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
FIRST, LAST = 32, 1280


class MobileNetV2(nn.Module):
    """A MobileNetV2.

    Args:
        width: factor on the channels; those of the last convolution are only ever increased.
        stem: "imagenet", or "cifar" for 32x32 images: stride 1 in the first convolution and in the second stage.
        dropout: probability before the linear layer.
        num_classes: outputs.

    Raises:
        InputError: for an unknown stem or a width that is not positive.
    """

    def __init__(
        self,
        *,
        width: float = 1.0,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        dropout: float = 0.2,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        if stem not in ("imagenet", "cifar"):
            raise InputError(f"the stem of a MobileNetV2 is 'imagenet' or 'cifar'; got {stem!r}")
        if not width > 0:
            raise InputError(f"width is a positive factor on the channels; got {width}")
        cifar = stem == "cifar"
        inputs = round_channels(FIRST * width)
        self.stem = nn.Conv2d(3, inputs, 3, stride=1 if cifar else 2, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(inputs)
        blocks: list[nn.Module] = []
        for stage, (expansion, channels, count, first_stride) in enumerate(STAGES):
            outputs = round_channels(channels * width)
            for position in range(count):
                stride = first_stride if position == 0 and not (cifar and stage == 1) else 1
                blocks.append(InvertedResidual(inputs, outputs, stride=stride, expansion=expansion))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        outputs = round_channels(LAST * max(1.0, width))
        self.last = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.last_norm = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(outputs, num_classes)
        initialise_convolutions_(self)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (batch, num_classes) of images (batch, 3, height, width)."""
        features = F.relu6(self.stem_norm(self.stem(images)))
        features = F.relu6(self.last_norm(self.last(self.blocks(features))))
        return self.linear(self.dropout(features.mean((2, 3))))


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, project; without the expansion where its factor is 1."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = nn.Conv2d(inputs, inner, 1, bias=False) if expansion > 1 else None
        self.expand_norm = nn.BatchNorm2d(inner) if expansion > 1 else None
        self.depthwise = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, groups=inner, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(inner)
        self.project = nn.Conv2d(inner, outputs, 1, bias=False)
        self.project_norm = nn.BatchNorm2d(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        hidden = x
        if self.expand is not None and self.expand_norm is not None:
            hidden = F.relu6(self.expand_norm(self.expand(x)))
        hidden = F.relu6(self.depthwise_norm(self.depthwise(hidden)))
        hidden = self.project_norm(self.project(hidden))
        return x + hidden if self.residual else hidden


def round_channels(channels: float) -> int:
    """The multiple of 8 nearest to `channels`, at least 8; the next one where it would lose more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
