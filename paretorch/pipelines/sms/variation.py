"""In what the copies of one pruned model differ while they are retrained: exactly one thing.

    seed            copy 0 has the run's own seed, copy i > 0 a stream of it; order, augmentation and dropout differ
    weight_decay    copy i has values[i]; the seed of all is the run's own
    lr              copy i has the peak values[i]
    length          copy i is retrained for values[i] epochs

The one factor per experiment is that of Zimmer, Spiegel and Pokutta, "Sparse model soups", ICLR 2024. There, copy i
adds i to the seed, in every cycle alike; here the name of the phase is folded in, so that no two cycles share a stream.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from paretorch.errors import InputError
from paretorch.pipelines.retraining import Retraining
from paretorch.training.seeding import stream_seed
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.trainer import Trainer

FACTORS = ("seed", "weight_decay", "lr", "length")


@dataclass(frozen=True, kw_only=True)
class Variation:
    """What distinguishes the copies.

    Args:
        copies: how many, m >= 1.
        vary: one of `FACTORS`.
        values: one per copy, for all factors but the seed.

    Raises:
        InputError: for fewer than one copy, an unknown factor, or values that do not fit it.
    """

    copies: int
    vary: str = "seed"
    values: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise InputError(f"a soup has at least one copy; got copies = {self.copies}")
        if self.vary not in FACTORS:
            raise InputError(f"copies can differ in one of {', '.join(FACTORS)}; got vary = {self.vary!r}")
        if (self.vary == "seed") != (self.values is None):
            hint = "seeds need none" if self.vary == "seed" else f"give one {self.vary} for each copy"
            raise InputError(f"vary = {self.vary!r} with values = {self.values}: {hint}")
        if self.values is not None:
            self._check_values(self.values)

    def _check_values(self, values: Sequence[float]) -> None:
        if len(values) != self.copies:
            raise InputError(f"values = {list(values)} must hold one {self.vary} for each of {self.copies} copies")
        if len(set(values)) < len(values):
            raise InputError(f"values = {list(values)} holds one twice; two copies that are the same add nothing")
        least = 0 if self.vary == "weight_decay" else math.ulp(0.0)
        if bad := [value for value in values if not (math.isfinite(value) and value >= least)]:
            what = "not negative" if self.vary == "weight_decay" else "positive"
            raise InputError(f"values of {self.vary} must be finite and {what}; got {bad[0]}")

    def check_epochs(self, epochs: float | None) -> None:
        """Refuse lengths that do not make up the budget.

        Raises:
            InputError: saying their mean.
        """
        if self.vary != "length":
            return
        mean = math.fsum(self.values or ()) / self.copies
        if epochs is None or not math.isclose(mean, epochs, rel_tol=1e-6):
            raise InputError(
                f"vary = 'length': the budget is the epochs of a copy on average, so that arms can be compared; values "
                f"= {list(self.values or ())} have the mean {mean:g}, and epochs = {epochs}"
            )

    def check_settings(self, settings: TrainSettings) -> None:
        """Refuse an optimizer whose weight decay cannot be set.

        Raises:
            InputError: saying what it is.
        """
        if self.vary == "weight_decay" and not isinstance(settings.optimizer, OptimizerSpec):
            raise InputError(
                f"vary = 'weight_decay' needs an OptimizerSpec, whose decay can be replaced; the optimizer is "
                f"{settings.optimizer!r}"
            )

    def seed(self, trainer: Trainer, copy: int) -> int:
        """Of the trainer of one copy."""
        return trainer.seed if self.vary != "seed" or copy == 0 else stream_seed(trainer.seed, "copy", copy)

    def weight_decay(self, copy: int) -> float | None:
        """Of one copy, in place of the settings'; None: the settings'."""
        return self._own("weight_decay", copy)

    def retraining(self, retraining: Retraining, copy: int) -> Retraining:
        """How one copy is retrained."""
        lr = self._own("lr", copy)
        return retraining if lr is None else replace(retraining, lr=lr)

    def steps(self, trainer: Trainer, total: int, copy: int) -> int:
        """Optimizer steps of one copy over all cycles; `total` where lengths do not differ."""
        length = self._own("length", copy)
        return total if length is None else trainer.num_steps(length)

    def details(self, copy: int) -> dict[str, Any]:
        """What distinguishes one copy, for its ledger line; beside its seed, which every line has."""
        return {} if self.values is None else {self.vary: self.values[copy]}

    def _own(self, factor: str, copy: int) -> float | None:
        return self.values[copy] if self.vary == factor and self.values is not None else None
