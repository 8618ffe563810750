"""The ResNets of ImageNet (He et al. 2016, table 1), and ResNeXt (Xie et al. 2017), whose 3x3 convolutions are grouped.

    y = relu(x + branch(x));   where the shape changes, x passes a 1x1 convolution with batch norm (option B)
    basic branch:       3x3 - 3x3
    bottleneck branch:  1x1 - 3x3 - 1x1 with four times the channels; the 3x3 has the stride (as in torchvision)

With the stem "cifar" (one 3x3 convolution, no pooling) the same stages read 32x32 images. Parameters have torchvision's
names, so that its state dicts can be loaded.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.training.models.initialise import initialise_convolutions_

Stem = Literal["imagenet", "cifar"]
EXPANSION = 4  # of a bottleneck's last convolution


class ResNet(nn.Module):
    """A ResNet of stages in which channels double and sides halve.

    Args:
        blocks: residual blocks of each of the four stages.
        bottleneck: bottleneck blocks instead of basic ones.
        width: channels of the first stage.
        groups: of the bottlenecks' 3x3 convolutions.
        width_per_group: channels of each group in the first stage if `width` is 64; scaled with `width`.
        stem: "imagenet" (7x7 with stride 2, then pooling with stride 2) or "cifar" (3x3 with stride 1).
        num_classes: outputs.

    Raises:
        InputError: for an unknown stem, other than four stages, sizes below 1 or that do not divide, or groups without
            bottlenecks.
    """

    def __init__(
        self,
        *,
        blocks: Sequence[int] = (2, 2, 2, 2),
        bottleneck: bool = False,
        width: int = 64,
        groups: int = 1,
        width_per_group: int = 64,
        stem: Stem = "imagenet",
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        if stem not in ("imagenet", "cifar"):
            raise InputError(f"the stem of a ResNet is 'imagenet' or 'cifar'; got {stem!r}")
        if len(blocks) != 4 or min(*blocks, width, groups, width_per_group, num_classes) < 1:
            raise InputError(
                f"a ResNet needs four stages, and sizes of at least 1; got blocks={tuple(blocks)}, width={width}, "
                f"groups={groups}, width_per_group={width_per_group}, num_classes={num_classes}"
            )
        if not bottleneck and (groups, width_per_group) != (1, 64):
            raise InputError(
                f"only bottlenecks can be grouped; got groups={groups}, width_per_group={width_per_group} with "
                "bottleneck=False"
            )
        if width * width_per_group % 64:
            raise InputError(
                f"width * width_per_group must be a multiple of 64 for whole channels; got {width} * {width_per_group}"
            )
        imagenet = stem == "imagenet"
        self.conv1 = nn.Conv2d(3, width, *((7, 2, 3) if imagenet else (3, 1, 1)), bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1) if imagenet else nn.Identity()
        inner = width * width_per_group // 64 * groups
        inputs, expansion = width, EXPANSION if bottleneck else 1
        stages = []
        for stage, count in enumerate(blocks):
            layers: list[nn.Module] = []
            for position in range(count):
                stride = 2 if stage and not position else 1
                outputs = expansion * width * 2**stage
                if bottleneck:
                    layers.append(Bottleneck(inputs, inner * 2**stage, outputs, stride=stride, groups=groups))
                else:
                    layers.append(BasicBlock(inputs, outputs, stride=stride))
                inputs = outputs
            stages.append(nn.Sequential(*layers))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(inputs, num_classes)
        initialise_convolutions_(self)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (batch, num_classes) of images (batch, 3, height, width)."""
        features = self.pool(self.bn1(self.conv1(images)).relu())
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        return self.fc(features.mean((2, 3)))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (branch + self.downsample(x)).relu()


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 (grouped in ResNeXt) and a 1x1 convolution beside a shortcut."""

    def __init__(self, inputs: int, inner: int, outputs: int, *, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn1(self.conv1(x)).relu()
        branch = self.bn2(self.conv2(branch)).relu()
        return (self.bn3(self.conv3(branch)) + self.downsample(x)).relu()


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))


def resnet18(*, stem: Stem = "imagenet", num_classes: int = 1000) -> ResNet:
    """ResNet-18: 11,689,512 parameters; 11,173,962 for CIFAR-10."""
    return ResNet(blocks=(2, 2, 2, 2), stem=stem, num_classes=num_classes)


def resnet34(*, stem: Stem = "imagenet", num_classes: int = 1000) -> ResNet:
    """ResNet-34: 21,797,672 parameters."""
    return ResNet(blocks=(3, 4, 6, 3), stem=stem, num_classes=num_classes)


def resnet50(*, stem: Stem = "imagenet", num_classes: int = 1000) -> ResNet:
    """ResNet-50: 25,557,032 parameters."""
    return ResNet(blocks=(3, 4, 6, 3), bottleneck=True, stem=stem, num_classes=num_classes)


def resnext50_32x4d(*, stem: Stem = "imagenet", num_classes: int = 1000) -> ResNet:
    """ResNeXt-50 with 32 groups of 4 channels: 25,028,904 parameters."""
    return ResNet(
        blocks=(3, 4, 6, 3), bottleneck=True, groups=32, width_per_group=4, stem=stem, num_classes=num_classes
    )
