"""Wide residual networks WRN-d-k (Zagoruyko and Komodakis 2016, table 1): few layers, k times the channels.

    y = x + conv2(dropout(relu(bn2(conv1(a)))))    with a = relu(bn1(x));   where channels change, conv(a) replaces x

Depth d = 6n + 4 counts convolutions: the first one with 16 channels, three stages of n blocks with 16k, 32k and 64k
channels, and the three shortcuts. Behind the first block of a stage all 2(n - 1) 3x3 convolutions have one shape.
"""

from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.training.models.initialise import initialise_convolutions_


class WideResNet(nn.Module):
    """A wide residual network for 32x32 images; smaller ones of any size pass too.

    Args:
        depth: 10, 16, 22, 28, 34, 40, ...: 6n + 4.
        widen: k, the factor on the channels 16, 32, 64 of the stages.
        channels: of the images.
        dropout: probability between the convolutions of a block; the paper uses 0 or 0.3.
        bias: give the convolutions biases, which batch norms behind them make redundant; the paper has none, some later
            implementations do.
        num_classes: outputs.

    Raises:
        InputError: for another depth, a factor below 1, or a dropout outside [0, 1).
    """

    def __init__(
        self,
        *,
        depth: int = 28,
        widen: int = 10,
        channels: int = 3,
        dropout: float = 0.0,
        bias: bool = False,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise InputError(f"the depth of a wide ResNet is 6n + 4 (10, 16, 22, 28, ...); got {depth}")
        if widen < 1:
            raise InputError(f"widen is a factor of at least 1 on the channels; got {widen}")
        if not 0 <= dropout < 1:
            raise InputError(f"dropout is a probability in [0, 1); got {dropout}")
        blocks = (depth - 4) // 6
        widths = (16, 16 * widen, 32 * widen, 64 * widen)
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=bias)
        stages = []
        for inputs, outputs, stride in zip(widths[:3], widths[1:], (1, 2, 2), strict=True):
            first = WideBlock(inputs, outputs, stride=stride, dropout=dropout, bias=bias)
            rest = (WideBlock(outputs, outputs, stride=1, dropout=dropout, bias=bias) for _ in range(blocks - 1))
            stages.append(nn.Sequential(first, *rest))
        self.layer1, self.layer2, self.layer3 = stages
        self.bn = nn.BatchNorm2d(widths[3])
        self.linear = nn.Linear(widths[3], num_classes)
        initialise_convolutions_(self)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (batch, num_classes) of images (batch, channels, 32, 32)."""
        features = self.layer3(self.layer2(self.layer1(self.conv1(images))))
        return self.linear(self.bn(features).relu().mean((2, 3)))


class WideBlock(nn.Module):
    """Two 3x3 convolutions, each behind batch norm and ReLU, added to the input or to its 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=bias) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        activated = self.bn1(x).relu()
        branch = self.conv2(self.dropout(self.bn2(self.conv1(activated)).relu()))
        return branch + (x if self.shortcut is None else self.shortcut(activated))
