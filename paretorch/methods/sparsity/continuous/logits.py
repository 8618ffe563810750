"""Mask logits s, one per weight: how open their gates are, which weights a hard mask keeps, and their round reset.

    gate  m = sigma(beta s)      beta_t = beta_T^(t / (T - 1)), t = 0 .. T - 1, so that it is 1 first and beta_T last
    hard  1[s > 0], strictly: s = 0 is pruned; or the exact top-k of s over all weights, ties by position
    reset s := min(beta_T s, s_0) between the rounds of a ticket search: what is shut stays shut, what is open begins
          again; the authors' code does s := min(s, s_0), because it has put beta back to 1 before

Source: Savarese, Silva and Maire, "Winning the lottery with continuous sparsification", NeurIPS 2020, section 3 and
algorithm 2; the strict threshold and the legacy reset are those of the authors' code, where beta rises once per epoch.
The top-k is ours.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from paretorch.methods.sparsity.gradual.learned import LearnedNumbers
from paretorch.methods.sparsity.masks import Masks
from paretorch.methods.sparsity.selection import select

SHUT = -1e30  # where a reset stops: a gate of 0 at any beta, and beta s stays finite however many rounds there are
UNDECIDED = 4.0  # |beta s| below it: the gate is more than 1.8 % away from both ends


def inverse_temperature(step: int, num_steps: int, *, final: float) -> float:
    """beta of a step: exactly 1 at the first and exactly `final` at the last, geometric between.

    Args:
        step: from 0; one beyond the last counts as the last.
        num_steps: of the phase; a phase of one step stays at 1.
        final: beta_T, at least 1.
    """
    return float(final ** (min(step, num_steps - 1) / (num_steps - 1))) if num_steps > 1 else 1.0


class MaskLogits(LearnedNumbers):
    """s of every weight, in float32 or wider whatever the weight is."""

    words: ClassVar[str] = "mask logits"

    @classmethod
    def constant(cls, weights: Mapping[str, Tensor], initial: float) -> "MaskLogits":
        """s = `initial` for all entries of these weights."""
        return cls(
            {
                name: torch.full_like(weight, initial, dtype=torch.promote_types(weight.dtype, torch.float32))
                for name, weight in weights.items()
            }
        )

    def masks(self, num_pruned: int | None) -> Masks:
        """The hard masks, True = kept.

        Args:
            num_pruned: prune exactly so many, those of smallest s; None keeps what has s > 0.

        Raises:
            InputError: if an s is NaN or infinite.
        """
        if num_pruned is None:
            return Masks({name: s.detach() > 0 for name, s in self.items()}, copy=False)
        return Masks(select({name: s.detach() for name, s in self.items()}, num_pruned), copy=False)

    def num_weights(self) -> int:
        """How many there are."""
        return sum(s.numel() for s in self.values())

    def open_fraction(self) -> float:
        """The fraction with s > 0."""
        return sum(int((s.detach() > 0).sum()) for s in self.values()) / self.num_weights()

    def undecided(self, beta: float) -> float:
        """The fraction whose gates are more than 1.8 % away from both ends at `beta`."""
        return sum(int((s.detach().abs() < UNDECIDED / beta).sum()) for s in self.values()) / self.num_weights()

    @torch.no_grad()
    def reset_(self, *, initial: float, final_beta: float, legacy: bool = False) -> None:
        """Begin a next round: s := min(beta_T s, s_0), or min(s, s_0) as the authors' code has it."""
        for s in self.values():
            s.mul_(1.0 if legacy else final_beta).clamp_(SHUT, initial)
