"""A small convolutional network for spectrograms: it keeps frequency and averages over time."""

from torch import Tensor, nn


class AudioCNN(nn.Module):
    """Three blocks of convolution, batch normalisation, ReLU and pooling, a mean over time, one linear layer.

    The first convolution has stride 2, so the blocks together divide frequency and time by 16. The linear layer sees
    every frequency band on its own, because a vowel moved in frequency is another vowel, and time only as a mean.

    Args:
        width: channels of the first block; the second and third have twice and four times as many.
        bins: frequency bins of the input, a multiple of 16.
        num_classes: outputs.
    """

    def __init__(self, *, width: int = 16, bins: int = 128, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * width)
        self.conv3 = nn.Conv2d(2 * width, 4 * width, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(4 * width)
        self.pool = nn.MaxPool2d(2)
        self.output = nn.Linear(4 * width * (bins // 16), num_classes)

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Class scores (batch, num_classes) of spectrograms (batch, 1, bins, frames), 16 frames or more."""
        features = self.pool(self.norm1(self.conv1(spectrograms)).relu())
        features = self.pool(self.norm2(self.conv2(features)).relu())
        features = self.pool(self.norm3(self.conv3(features)).relu())
        return self.output(features.mean(3).flatten(1))
