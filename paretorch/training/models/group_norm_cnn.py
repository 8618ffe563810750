"""A small convolutional network with group normalisation (Wu and He 2018), which does not depend on the batch.

Per-example statistics make it fit for batches of one and for training on several devices with different data. They also
tie the channels of a group together, so that no single channel can be removed without changing its neighbours.
"""

from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.training.models.initialise import initialise_convolutions_


class GroupNormCNN(nn.Module):
    """Three 3x3 convolutions with group norm and ReLU, pooling by 2 after the first two, the mean, a linear layer.

    Args:
        channels: of the images.
        width: channels of the first convolution; the others have 2 and 4 times as many.
        groups: of every norm; divides `width`.
        num_classes: outputs.

    Raises:
        InputError: `groups` does not divide `width`.
    """

    def __init__(self, *, channels: int = 3, width: int = 32, groups: int = 8, num_classes: int = 10) -> None:
        super().__init__()
        if groups < 1 or width % groups:
            raise InputError(f"groups={groups} must divide width={width}")
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(groups, width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(groups, 2 * width)
        self.conv3 = nn.Conv2d(2 * width, 4 * width, 3, padding=1, bias=False)
        self.norm3 = nn.GroupNorm(groups, 4 * width)
        self.pool = nn.MaxPool2d(2)
        self.linear = nn.Linear(4 * width, num_classes)
        initialise_convolutions_(self)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (batch, num_classes) of images (batch, channels, height, width)."""
        features = self.pool(self.norm1(self.conv1(images)).relu())
        features = self.pool(self.norm2(self.conv2(features)).relu())
        features = self.norm3(self.conv3(features)).relu()
        return self.linear(features.mean((2, 3)))
