"""A small U-Net that predicts the noise in an image, given how noisy the image is.

The network of Ho, Jain and Abbeel 2020 (Denoising Diffusion Probabilistic Models, appendix B) with one residual block
per level and direction instead of two, without attention, and with the channels halved where the resolution doubles:
group normalisation, SiLU, a sinusoidal embedding of the
time (Vaswani et al. 2017, section 3.5) added inside every block, and a skip from each level down to the same level up.
The last convolution of every block and of the network starts at zero, as in the authors' code.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.errors import InputError

LONGEST_PERIOD = 10_000


class TimeEmbedding(nn.Module):
    """sin and cos of the time at `width / 2` frequencies from 1 down to 1 / 10,000, then two linear layers."""

    def __init__(self, *, width: int, outputs: int) -> None:
        super().__init__()
        self.width = width
        self.linear1 = nn.Linear(width, outputs)
        self.linear2 = nn.Linear(outputs, outputs)

    def forward(self, times: Tensor) -> Tensor:
        """Embeddings (n, outputs) of times (n,), of any number type."""
        half = self.width // 2
        exponents = torch.arange(half, device=times.device, dtype=torch.float32) / max(half - 1, 1)
        angles = times.float()[:, None] * torch.exp(-math.log(LONGEST_PERIOD) * exponents)
        features = torch.cat([angles.sin(), angles.cos()], dim=1)
        return self.linear2(F.silu(self.linear1(features)))


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x))) + time))), with a 1x1 convolution on x where the channels change."""

    def __init__(self, inputs: int, outputs: int, *, time_width: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(time_width, outputs)
        self.norm2 = nn.GroupNorm(groups, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        zero_(self.conv2)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x))) + self.time(F.silu(time))[:, :, None, None]
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class UNet(nn.Module):
    """A time-conditioned U-Net: as many resolutions as there are multipliers, each half the one above it.

    Args:
        width: channels at the first resolution; a multiple of `groups`.
        multipliers: channels of each resolution, as multiples of `width`.
        channels: of the image.
        patch: side of the squares of pixels that are channels inside; 2 leaves out the costliest resolution (Luhman and
            Luhman 2022, Improving Diffusion Model Efficiency Through Patching).
        groups: of every group normalisation.

    Raises:
        InputError: for no multiplier, a number below 1, or a width that the groups or the sines do not divide.
    """

    def __init__(
        self,
        *,
        width: int = 16,
        multipliers: Sequence[int] = (1, 2, 4),
        channels: int = 1,
        patch: int = 1,
        groups: int = 8,
    ) -> None:
        super().__init__()
        if not multipliers or min(width, channels, patch, groups, *multipliers) < 1:
            raise InputError(
                f"a U-Net needs a multiplier, and numbers of at least 1; got width={width}, channels={channels}, "
                f"patch={patch}, groups={groups}, multipliers={list(multipliers)}"
            )
        if width % groups or width % 2:
            raise InputError(f"the width of a U-Net is an even multiple of its {groups} groups; got {width}")
        time_width, widths = 4 * width, [width * multiplier for multiplier in multipliers]
        self.patch, self.halvings = patch, len(widths) - 1

        def block(inputs: int, outputs: int) -> ResidualBlock:
            return ResidualBlock(inputs, outputs, time_width=time_width, groups=groups)

        self.time = TimeEmbedding(width=width, outputs=time_width)
        self.conv_in = nn.Conv2d(channels * patch**2, width, 3, padding=1)
        self.down = nn.ModuleList(block(i, o) for i, o in zip([width, *widths[:-1]], widths, strict=True))
        self.shrink = nn.ModuleList(nn.Conv2d(w, w, 3, stride=2, padding=1) for w in widths[:-1])
        self.middle = block(widths[-1], widths[-1])
        # Going up, from the lowest level: each block reads what comes from below beside what went down at its level.
        self.up = nn.ModuleList(block(2 * w, w) for w in widths[::-1])
        self.grow = nn.ModuleList(nn.Conv2d(low, w, 3, padding=1) for w, low in list(pairwise(widths))[::-1])
        self.norm_out = nn.GroupNorm(groups, widths[0])
        self.conv_out = nn.Conv2d(widths[0], channels * patch**2, 3, padding=1)
        zero_(self.conv_out)

    def forward(self, images: Tensor, times: Tensor) -> Tensor:
        """The predicted noise (n, channels, h, w).

        Args:
            images: noisy images (n, channels, h, w); h and w are multiples of patch * 2 ** (resolutions - 1).
            times: (n,), how many steps of noise each image has had.

        Raises:
            InputError: for another size of image.
        """
        multiple = self.patch * 2**self.halvings
        if any(size % multiple for size in images.shape[2:]):
            raise InputError(
                f"this U-Net needs images whose height and width are multiples of {multiple}; got "
                f"{tuple(images.shape[2:])}"
            )
        time, skips = self.time(times), []
        h = self.conv_in(F.pixel_unshuffle(images, self.patch))
        for level, block in enumerate(self.down):
            h = block(h, time)
            skips.append(h)
            if level < self.halvings:
                h = self.shrink[level](h)
        h = self.middle(h, time)
        for level, block in enumerate(self.up):
            h = block(torch.cat([h, skips.pop()], dim=1), time)
            if level < self.halvings:
                h = self.grow[level](F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(h))), self.patch)


def zero_(layer: nn.Conv2d) -> None:
    """Weights and bias of the layer become zero: what follows begins as if the layer were not there."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
