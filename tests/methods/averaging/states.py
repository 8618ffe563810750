"""State dicts of one architecture with every kind of entry, and candidates made of them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from paretorch.methods.averaging.candidates import Candidate
from paretorch.methods.sparsity.masks import Masks

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 4))


def state(seed: int) -> dict[str, Tensor]:
    """A network's state dict, and a scalar, an empty tensor, a counter and one matrix of every floating dtype."""
    generator = torch.Generator().manual_seed(seed)
    extra = {f"{dtype}": torch.randn(3, 5, generator=generator, dtype=torch.float64).to(dtype) for dtype in FLOATING}
    return {
        **{name: value.clone() for name, value in network(seed).state_dict().items()},
        **extra,
        "scalar": torch.randn((), generator=generator),
        "empty": torch.zeros(0, 3),
        "phases": torch.randn(4, generator=generator, dtype=torch.complex64),
        "switch": torch.tensor([True, False]),
    }


def candidates(
    states: Sequence[Mapping[str, Tensor]], *, masks: Masks | None = None, names: Sequence[str] | None = None
) -> list[Candidate]:
    """One per state dict, named copy-0, copy-1, ..."""
    names = names or [f"copy-{i}" for i in range(len(states))]
    return [Candidate(name, lambda s=s: s, masks) for name, s in zip(names, states, strict=True)]


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Equal dtype, shape and bytes: tells +0 from -0."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))
