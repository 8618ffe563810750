"""VGG with batch normalisation (Simonyan and Zisserman 2015, table 1; Ioffe and Szegedy 2015), ending in a flatten.

Five stages of 3x3 convolutions (with biases, as in torchvision), each followed by batch norm and ReLU, and a pooling by
2 after each stage. The last feature map is flattened, so each of its channels feeds side * side neighbouring inputs of
the first linear layer. For 32x32 images the map is a single pixel and one linear layer is enough (the CIFAR VGG of the
pruning literature). Parameters have torchvision's names.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.training.models.initialise import initialise_convolutions_

# Convolutions per stage by depth; the depth counts three linear layers.
STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (1, 2, 4, 8, 8)  # times `width`


class VGG(nn.Module):
    """A VGG with batch norm.

    Args:
        depth: 11, 13, 16 or 19.
        width: channels of the first stage.
        side: height and width of the last feature map: the images' divided by 32.
        hidden: widths of the linear layers before the last one, each followed by ReLU and dropout; (4096, 4096) for
            ImageNet.
        dropout: its probability.
        num_classes: outputs.

    Raises:
        InputError: for another depth, or sizes below 1.
    """

    def __init__(
        self,
        *,
        depth: int = 16,
        width: int = 64,
        side: int = 1,
        hidden: Sequence[int] = (),
        dropout: float = 0.5,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        if depth not in STAGES:
            raise InputError(f"the depth of a VGG is one of {', '.join(map(str, STAGES))}; got {depth}")
        if min(width, side, num_classes, *hidden) < 1:
            raise InputError(
                f"a VGG needs sizes of at least 1; got width={width}, side={side}, hidden={tuple(hidden)}, "
                f"num_classes={num_classes}"
            )
        layers: list[nn.Module] = []
        inputs = 3
        for count, factor in zip(STAGES[depth], WIDTHS, strict=True):
            for _ in range(count):
                layers += [nn.Conv2d(inputs, factor * width, 3, padding=1), nn.BatchNorm2d(factor * width), nn.ReLU()]
                inputs = factor * width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        sizes = (inputs * side**2, *hidden, num_classes)
        head: list[nn.Module] = []
        for position, (before, after) in enumerate(pairwise(sizes)):
            head.append(nn.Linear(before, after))
            if position < len(hidden):
                head += [nn.ReLU(), nn.Dropout(dropout)]
        self.classifier = nn.Sequential(*head)
        initialise_convolutions_(self)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (batch, num_classes) of images (batch, 3, 32 * side, 32 * side)."""
        return self.classifier(self.features(images).flatten(1))
