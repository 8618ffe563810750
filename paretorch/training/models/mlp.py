"""Multilayer perceptrons; LeNet-300-100 (LeCun et al. 1998) is the one of the pruning literature."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from paretorch.errors import InputError


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU between them, on inputs flattened to (batch, sizes[0]).

    Args:
        sizes: input, hidden and output widths, at least two.

    Raises:
        InputError: a width below 1.
    """
    if min(sizes) < 1:
        raise InputError(f"widths of layers are at least 1, got {list(sizes)}")
    layers: list[nn.Module] = [nn.Flatten()]
    for position, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()] if position < len(sizes) - 2 else [nn.Linear(inputs, outputs)]
    return nn.Sequential(*layers)


def lenet_300_100() -> nn.Sequential:
    """LeNet-300-100 for 28x28 images: 784-300-100-10, 266,610 parameters."""
    return mlp((784, 300, 100, 10))
