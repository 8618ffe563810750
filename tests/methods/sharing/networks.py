"""A small float64 network with three convolutions of one shape, layers of every kind, and the authors' networks."""

import torch
from torch import Tensor, nn

from paretorch.methods.sharing.templates import share_
from paretorch.training.models.wide_resnet import WideResNet

LAYERS = {
    "linear": (lambda: nn.Linear(6, 6), (4, 6)),
    "linear without bias": (lambda: nn.Linear(5, 9, bias=False), (2, 3, 5)),
    "conv": (lambda: nn.Conv2d(3, 3, 3, padding=1), (2, 3, 7, 8)),
    "strided, dilated conv": (lambda: nn.Conv2d(4, 5, (3, 2), stride=(2, 1), dilation=2, padding=2), (2, 4, 11, 9)),
    "grouped conv": (lambda: nn.Conv2d(4, 6, 3, groups=2, bias=False), (2, 4, 5, 5)),
    "reflected conv": (lambda: nn.Conv2d(2, 2, 3, padding="same", padding_mode="reflect"), (1, 2, 6, 6)),
    "conv in one dimension": (lambda: nn.Conv1d(3, 4, 3), (2, 3, 9)),
    "conv in three dimensions": (lambda: nn.Conv3d(2, 3, 2), (1, 2, 4, 4, 4)),
}
CONVS = ("2", "5", "8")  # names of the layers of one shape in `network`
STAGES = {f"stage{number}": [f"layer{number}.[1-9].conv?"] for number in (1, 2, 3)}  # but for the first block
NORMS = {"2": "3", "5": "6", "8": "9"}


def network(*, seed: int = 0) -> nn.Sequential:
    """Three 4-to-4 convolutions with biases and batch norms between a first convolution and a classifier."""
    torch.manual_seed(seed)
    parts: list[nn.Module] = [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU()]
    for _ in CONVS:
        parts += [nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).double()


def wide(*, depth: int = 28, widen: int = 1, templates: int = 2, num_classes: int = 10) -> WideResNet:
    """SWRN-depth-widen-templates: a bank per stage for all 3x3 convolutions but those of its first block."""
    model = WideResNet(depth=depth, widen=widen, num_classes=num_classes)
    share_(model, templates=templates, groups=STAGES)
    return model


def images(count: int = 6, *, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, 5, 5, generator=generator, dtype=torch.float64)


def same(a: Tensor, b: Tensor, *, to: float = 1e-12) -> bool:
    """Equal up to `to`, relative to the greatest entry."""
    return bool((a - b).abs().max() <= to * b.abs().max())
