"""A small convolutional network with batch normalisation for 28x28 images."""

from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Two blocks of convolution, batch normalisation, ReLU and pooling, then two linear layers.

    Args:
        width: channels of the first block; the second has twice as many.
        num_classes: outputs.
    """

    def __init__(self, *, width: int = 16, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * width)
        self.pool = nn.MaxPool2d(2)
        self.hidden = nn.Linear(2 * width * 7 * 7, 64)
        self.output = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (batch, num_classes) of images (batch, 1, 28, 28)."""
        features = self.pool(self.norm1(self.conv1(images)).relu())
        features = self.pool(self.norm2(self.conv2(features)).relu())
        return self.output(self.hidden(features.flatten(1)).relu())
