"""The measured loss of a profile, with batch-norm statistics of its own, on fixed examples.

    L(w) = mean over the examples of a split of the loss of f(x; theta, w), statistics re-estimated at w

The model is bit for bit as before. Examples are split into disjoint parts of equal size, because one part does not show
how far a choice depends on the examples; they are training examples, never test ones.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.errors import InputError, NotFiniteError
from paretorch.methods.width.groups import Profile
from paretorch.methods.width.ordered import OrderedModel
from paretorch.methods.width.statistics import reestimate_at


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """On which examples profiles are measured, and how.

    Attributes:
        losses: called as `losses(model, batch)`; the loss of every example of the batch, (n,).
        splits: batches of each part, as `losses` takes them, prepared as for evaluation; one part or more.
        statistics: training batches from which batch-norm statistics are re-estimated; empty leaves the stale ones.

    Raises:
        InputError: without a batch to measure on.
    """

    losses: Callable[[nn.Module, Any], Tensor]
    splits: Sequence[Sequence[Any]]
    statistics: Sequence[Any] = ()

    def __post_init__(self) -> None:
        if not self.splits or not all(self.splits):
            raise InputError(
                f"calibration needs at least one batch in every split; got {len(self.splits)} splits of "
                f"{[len(batches) for batches in self.splits]} batches"
            )

    def measured(self, ordered: OrderedModel, profile: Profile) -> tuple[float, ...]:
        """The mean loss on each split at `profile`, batch-norm statistics its own; float64 sums over examples.

        The model is left as it was, bit for bit, modes included.

        Raises:
            InputError: as `OrderedModel.at` and `reestimate_at`.
            NotFiniteError: if a loss is NaN or infinite.
        """
        own = reestimate_at(ordered, profile, self.statistics, forward=self.losses) if self.statistics else None
        modes = {module: module.training for module in ordered.model.modules()}
        ordered.model.eval()
        try:
            with ordered.at(profile, statistics=own) as model, torch.no_grad():
                losses = tuple(self._mean(model, batches) for batches in self.splits)
        finally:
            for module, training in modes.items():
                module.training = training
        if not all(map(math.isfinite, losses)):
            raise NotFiniteError(f"the calibration losses at profile {profile} are {losses}: the weights have diverged")
        return losses

    def _mean(self, model: nn.Module, batches: Sequence[Any]) -> float:
        return float(torch.cat([self.losses(model, batch).double() for batch in batches]).mean())
