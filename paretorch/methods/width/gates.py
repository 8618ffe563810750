"""Gates of units that anneal from soft to binary, and Bernoulli draws of which units are present.

    p_u = sigma(beta s_u)        gate: c p_u        present: q_u ~ Bernoulli(p_u)        in the end: 1[s_u > 0]

c = 1 / sigma(s_0), so that a unit that begins at s_0 begins with a gate of 1 at beta = 1. Of every group at least one
unit is present and at least one stays, the one with the greatest s: a network without it would be another network.

Source: Savarese, Silva and Maire, "Winning the lottery with continuous sparsification", NeurIPS 2020, section 3; c and
the strict threshold, by which s = 0 is pruned, are those of the authors' code.
"""

from collections.abc import Sequence
from random import Random
from typing import Any, Literal

import torch
from torch import Tensor, nn

Mode = Literal["relaxed", "mean", "finalised"]
UNDECIDED = 4.0  # |beta s| below it: p is more than 1.8 % away from both ends


class UnitGates:
    """One s for every unit of every group.

    Args:
        sizes: units of each group.
        gated: whether the group has gates; s of another is infinite, so that its units are always present.
        start: s_0, positive.
        open_ratio: fraction of a group's units, the first ones, that begin at s_0; the others begin at -s_0.
        device: where the gates are used.

    Attributes:
        logits: s, float32 (size,), for each group.
        scale: c.
    """

    def __init__(
        self, sizes: Sequence[int], *, gated: Sequence[bool], start: float, open_ratio: float, device: torch.device
    ) -> None:
        self.scale = 1 / float(torch.sigmoid(torch.tensor(start)))
        self.gated = tuple(gated)
        self.logits = []
        for size, has_gates in zip(sizes, gated, strict=True):
            s = torch.full((size,), -start if has_gates else torch.inf, device=device)
            if has_gates:
                s[: max(1, round(open_ratio * size))] = start
            self.logits.append(nn.Parameter(s, requires_grad=has_gates))

    def parameters(self) -> list[nn.Parameter]:
        """What is learned."""
        return [s for s in self.logits if s.requires_grad]

    def values(self) -> Tensor:
        """s of all units that have gates, detached, in one tensor."""
        return torch.cat([s.detach() for s in self.parameters()])

    def probabilities(self, beta: float) -> list[Tensor]:
        """p, (size,) for each group, differentiable."""
        return [torch.sigmoid(beta * s) for s in self.logits]

    def scales(self, beta: float, mode: Mode) -> list[Tensor]:
        """The gate of every unit, (size,) for each group.

        Args:
            beta: inverse temperature.
            mode: "relaxed": c p, of units that are present; "mean": c p^2, the mean of c p q over draws; "finalised": c
                for the units that stay, 0 for the others.
        """
        if mode == "finalised":
            return [
                self.scale * torch.zeros_like(s).index_fill_(0, units.to(s.device), 1.0)
                for s, units in zip(self.logits, self.staying(), strict=True)
            ]
        return [self.scale * p ** (1 if mode == "relaxed" else 2) for p in self.probabilities(beta)]

    def draw(self, beta: float, random: Random) -> tuple[Tensor, ...]:
        """The units of each group that are present, int64, increasing."""
        stream = torch.Generator().manual_seed(random.getrandbits(63))
        return tuple(
            _at_least_one(torch.rand(len(p), generator=stream) < p.detach().cpu(), s.detach().cpu())
            for p, s in zip(self.probabilities(beta), self.logits, strict=True)
        )

    def staying(self) -> tuple[Tensor, ...]:
        """The units of each group that stay in the end, int64, increasing."""
        return tuple(_at_least_one(s.detach().cpu() > 0, s.detach().cpu()) for s in self.logits)

    def state_dict(self) -> dict[str, Any]:
        """All s."""
        return {str(number): s.detach() for number, s in enumerate(self.logits)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back."""
        with torch.no_grad():
            for number, s in enumerate(self.logits):
                s.copy_(state[str(number)])


def _at_least_one(chosen: Tensor, s: Tensor) -> Tensor:
    """Numbers of the chosen units; of the one with the greatest s if there is none."""
    return chosen.nonzero().flatten() if bool(chosen.any()) else s.argmax().reshape(1)
