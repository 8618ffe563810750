"""The deep convolutional GAN of Radford, Metz and Chintala 2016 (section 3), for 64x64 images and for 28x28.

Transposed convolutions double the resolution from a small square up to the image; the discriminator is the mirror
image. Batch normalisation everywhere but at the generator's output and the discriminator's input and output, ReLU and
tanh in the generator, LeakyReLU 0.2 in the discriminator, all weights drawn from N(0, 0.02) and scales from N(1, 0.02).

Kernels, biases and widths are those of PyTorch's DCGAN example, whose networks are `Generator(channels=3, size=64)` and
`Discriminator(channels=3, size=64)` (3,576,704 and 2,765,568 parameters). 28x28 images start from a 7x7 square instead
of a 4x4 one.
"""

from torch import Tensor, nn

from paretorch.errors import InputError

LARGEST_START = 7


class Generator(nn.Module):
    """Images in [-1, 1] from standard normal numbers.

    Args:
        latent: random numbers per image.
        width: channels before the image; each layer further from it has twice as many.
        channels: of the image.
        size: of the image, 28, 32, 64, ...: 3 to 7 times a power of two.

    Attributes:
        opponents: the discriminators it was trained against, so that later training goes on with them. They stand in a
            tuple on purpose: they are no submodules, so they are neither counted, pruned nor saved with the model.

    Raises:
        InputError: for another size, or a number below 1.
    """

    def __init__(self, *, latent: int = 100, width: int = 64, channels: int = 1, size: int = 28) -> None:
        super().__init__()
        start, doublings = _resolutions(size, latent=latent, width=width, channels=channels)
        widths = [width << power for power in range(doublings)][::-1]
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, widths[0], start, bias=False)]
        for inputs, outputs in zip(widths, [*widths[1:], channels], strict=True):
            layers += [nn.BatchNorm2d(inputs), nn.ReLU()]
            layers.append(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False))
        self.layers = nn.Sequential(*layers, nn.Tanh())
        self.opponents: tuple[nn.Module, ...] = ()
        self.apply(_initialise)

    def forward(self, latent: Tensor) -> Tensor:
        """Images (n, channels, size, size) of latent numbers (n, latent)."""
        return self.layers(latent[:, :, None, None])


class Discriminator(nn.Module):
    """How real an image looks, as the logit of its probability.

    Args:
        width: channels after the first layer; each later layer has twice as many.
        channels, size: of the image, as in `Generator`.

    Raises:
        InputError: as `Generator`.
    """

    def __init__(self, *, width: int = 64, channels: int = 1, size: int = 28) -> None:
        super().__init__()
        start, halvings = _resolutions(size, width=width, channels=channels)
        widths = [width << power for power in range(halvings)]
        layers: list[nn.Module] = []
        for position, (inputs, outputs) in enumerate(zip([channels, *widths[:-1]], widths, strict=True)):
            layers.append(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False))
            layers += [nn.BatchNorm2d(outputs)] if position else []
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, start, bias=False))
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n,) of images (n, channels, size, size) in [-1, 1]."""
        return self.layers(images).flatten()


def _resolutions(size: int, **counts: int) -> tuple[int, int]:
    """The first resolution, at most 7, and how often it is doubled to reach `size`."""
    if bad := {name: value for name, value in counts.items() if value < 1}:
        raise InputError(f"a DCGAN needs numbers of at least 1; got {bad}")
    start, doublings = size, 0
    while start > LARGEST_START and start % 2 == 0:
        start, doublings = start // 2, doublings + 1
    if not 3 <= start <= LARGEST_START or doublings == 0:
        raise InputError(f"the image size of a DCGAN is 3 to 7 times a power of two, as 28, 32 or 64; got {size}")
    return start, doublings


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
