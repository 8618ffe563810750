"""Linear layers and convolutions of all kinds that can be factored, and a small network of them."""

import torch
from torch import Tensor, nn

LAYERS = {
    "linear": (lambda: nn.Linear(6, 9), (4, 6)),
    "wide linear without bias": (lambda: nn.Linear(9, 5, bias=False), (2, 3, 9)),
    "conv": (lambda: nn.Conv2d(3, 10, 3, padding=1), (2, 3, 7, 8)),
    "strided, dilated conv": (lambda: nn.Conv2d(4, 5, (3, 2), stride=(2, 1), dilation=2, padding=2), (2, 4, 11, 9)),
    "same padding, reflected": (
        lambda: nn.Conv2d(2, 7, 3, padding="same", padding_mode="reflect", bias=False),
        (1, 2, 6, 6),
    ),
    "pointwise conv": (lambda: nn.Conv2d(8, 6, 1), (2, 8, 3, 3)),
}


def layer(kind: str) -> tuple[nn.Sequential, Tensor]:
    """A float64 model of one such layer, called "0", and inputs for it."""
    torch.manual_seed(0)
    make, shape = LAYERS[kind]
    return nn.Sequential(make()).double(), torch.randn(shape, dtype=torch.float64)


def network() -> tuple[nn.Sequential, Tensor]:
    """Two convolutions with batch norm and a classifier, in float64 and evaluation mode."""
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4),
    )  # fmt: skip
    return model.double().eval(), torch.randn(5, 3, 8, 8, dtype=torch.float64)


def same(a: Tensor, b: Tensor, *, to: float = 1e-12) -> bool:
    """Equal up to `to`, relative to the greatest entry."""
    return bool((a - b).abs().max() <= to * b.abs().max())
