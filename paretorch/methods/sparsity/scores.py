"""Scores that rank weights, higher = keep: magnitude, LAMP and random.

    magnitude   |w|
    LAMP        w_u^2 / sum of w_v^2 over v at or after u in ascending order of (|w|, flat index)
    random      uniform in [0, 1)

LAMP makes layers comparable: the largest weight of every layer scores 1, so a global ranking by it empties no layer
before all others are down to one weight, and scaling a layer changes nothing. Cost: one sort of the layer in float64,
about 40 bytes per weight while it lasts.

Source: Lee, Park, Mo, Ahn and Shin, "Layer-adaptive sparsity for the magnitude-based pruning", ICLR 2021, eq. (3);
their order breaks ties by index too. Deviation: a layer of zeros, 0/0 there, scores 0 but for its last weight, 1.
"""

import hashlib

import torch
from torch import Tensor


def magnitudes(weight: Tensor) -> Tensor:
    """|w| in float32 (float64 for a float64 weight), the weight's shape."""
    wide = weight.detach().to(torch.float64 if weight.dtype == torch.float64 else torch.float32)
    return wide.abs()


def lamp_scores(weight: Tensor, kept: Tensor | None = None) -> Tensor:
    """LAMP scores of one layer, float64, the weight's shape.

    Args:
        weight: any shape, floating point.
        kept: bool, the weight's shape; pruned entries (False) score 0 and take no part in the sums.
    """
    values = magnitudes(weight).flatten()
    if kept is None:
        order = values.argsort(stable=True)
        return (
            torch.empty_like(values, dtype=torch.float64)
            .scatter_(0, order, _tail_ratios(values[order]))
            .view(weight.shape)
        )
    scores = torch.zeros(weight.shape, dtype=torch.float64, device=weight.device)
    scores[kept] = lamp_scores(weight[kept])
    return scores


def sorted_lamp_scores(weight: Tensor, kept: Tensor | None = None) -> Tensor:
    """The LAMP scores of the kept weights in ascending order, float64, 1-D: all that per-layer counts need."""
    values = magnitudes(weight if kept is None else weight[kept])
    return _tail_ratios(values.flatten().sort().values)


def random_scores(weight: Tensor, *, name: str, seed: int) -> Tensor:
    """Uniform scores in [0, 1), float64, the weight's shape; a function of seed, name and size only.

    Drawn on the CPU, so that masks do not depend on the device.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
    return torch.rand(weight.shape, dtype=torch.float64, generator=generator).to(weight.device)


def _tail_ratios(ascending: Tensor) -> Tensor:
    """Each square over the sum of itself and all squares after it, for magnitudes in ascending order."""
    if ascending.numel() == 0:
        return ascending.double()
    squares = (ascending.double() / ascending[-1].double().clamp_min(torch.finfo(torch.float64).tiny)).square()
    tails = squares.flip(0).cumsum(0).flip(0)
    ratios = torch.where(tails > 0, squares / tails, torch.zeros_like(squares))
    ratios[-1] = 1.0  # 0/0 in a layer of zeros
    return ratios
