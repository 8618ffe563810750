"""Budgeted iterative magnitude pruning (BIMP): one total of T epochs for dense training, pruning and retraining.

    T0 epochs of dense training, learning rate in a straight line from its peak to 0;
    T - T0 epochs of IMP, in n cycles of equal length, the last one with the remainder, each retrained with ALLR,
    whose d2 is the cycle's length over T0

Source: Zimmer, Spiegel and Pokutta, "How I learned to stop worrying and love retraining", ICLR 2023. How T0 and n were
chosen for its tables is not known to us, so both are the user's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from torch import nn

from paretorch.artefacts.mask_edit import MaskEdit
from paretorch.errors import InputError
from paretorch.methods.method import Method
from paretorch.methods.schedules import DenseSchedule, Linear
from paretorch.pipelines.compression import Compressed, Compression, Start
from paretorch.pipelines.dense import train_dense
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.pruning_step import Selection
from paretorch.pipelines.retraining import Retraining
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class BIMP(Compression):
    """Train, prune and retrain within one budget, from scratch; the sweep's dense model is not used and not charged.

    Args:
        sparsity: fraction of the prunable weights removed at the end, in [0, 1); None if `selection.allocation` gives a
            sparsity per layer.
        epochs: of all training together, T.
        dense_epochs: of the dense training, T0, between 0 and T.
        cycles: prune-retrain cycles, n.
        lr: peak learning rate of the dense training, which ALLR takes its own from; None takes the peak of the sweep's
            dense run.
        selection: what to prune.
        retraining: how to retrain; its own `lr` belongs to schedules that take one.

    Raises:
        InputError: for numbers out of range, a budget of which nothing is left to retrain with, FT without a rate of
            its own, or as `IMP`.
    """

    sparsity: float | None
    epochs: float
    dense_epochs: float
    cycles: int = 1
    lr: float | None = None
    selection: Selection = field(default_factory=Selection)
    retraining: Retraining = field(default_factory=Retraining)
    from_dense: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epochs) and math.isfinite(self.dense_epochs)):
            raise InputError(f"epochs must be finite; got {self.epochs}, of them {self.dense_epochs} dense")
        if not 0 < self.dense_epochs < self.epochs:
            raise InputError(
                f"of {self.epochs:g} epochs in all {self.dense_epochs:g} are dense training, which leaves "
                f"{self.epochs - self.dense_epochs:g} to retrain in; dense_epochs must lie between 0 and epochs"
            )
        if self.retraining.schedule.upper() == "FT" and self.retraining.lr is None:
            raise InputError(
                "FT retrains at the lowest rate of the dense training, which ends at 0 here, so that it would change "
                "nothing; choose ALLR, LRW, SLR, CLR or LLR, or give retraining.lr"
            )
        self._imp(self.epochs - self.dense_epochs)  # checks the rest

    def method_ids(self) -> list[str]:
        return ["bimp", *self._imp(0).method_ids()]

    def plan(self, trainer: Trainer) -> tuple[str, int | None]:
        dense, rest = self._split(trainer)
        return f"dense {dense} steps, then {self.cycles} x (prune, retrain), {rest} steps", dense + rest

    def check(self, trainer: Trainer, model: nn.Module, *, dense: DenseSchedule) -> None:
        """Refuse what `run_from` would refuse.

        Raises:
            InputError: also if the dense training, or a cycle, is less than one optimizer step.
        """
        steps, rest = self._split(trainer)
        if steps < 1 or rest < self.cycles:
            raise InputError(
                f"{self.epochs:g} epochs with {self.dense_epochs:g} of dense training are {steps} + {rest} optimizer "
                f"steps, for 1 dense training and {self.cycles} cycles; each needs at least one step"
            )
        own = DenseSchedule.of(self._schedule(steps, dense))
        self._imp(rest / trainer.steps_per_epoch).check(trainer, model, dense=own)

    def at_rate(self, rate: float) -> Self:
        return replace(self, lr=rate)

    def run_from(self, trainer: Trainer, start: Start) -> Compressed:
        """Train from scratch; of `start` only the peak learning rate is used."""
        steps, rest = self._split(trainer)
        dense = train_dense(trainer, self._schedule(steps, start.schedule))
        result = self._imp(rest / trainer.steps_per_epoch).run(trainer, dense.model, dense=dense.schedule)
        return Compressed(
            model=result.model, entries=[dense.entry, *result.entries], edits=(*start.edits, MaskEdit(result.masks))
        )

    def rehearsal(self, trainer: Trainer) -> tuple[nn.Module, Sequence[Method]]:
        raise InputError(
            "BIMP cannot be an arm of a comparison, which says how long a shared dense model is retrained, while BIMP "
            "divides one budget between dense training and retraining; use `paretorch run`"
        )

    def _split(self, trainer: Trainer) -> tuple[int, int]:
        """Steps of dense training and of all cycles; together exactly those of the budget."""
        dense = trainer.num_steps(self.dense_epochs)
        return dense, trainer.num_steps(self.epochs) - dense

    def _schedule(self, num_steps: int, dense: DenseSchedule) -> Linear:
        return Linear(num_steps=num_steps, peak=dense.peak if self.lr is None else self.lr)

    def _imp(self, epochs: float) -> IMP:
        return IMP(
            sparsity=self.sparsity,
            epochs=epochs,
            cycles=self.cycles,
            selection=self.selection,
            retraining=self.retraining,
        )
