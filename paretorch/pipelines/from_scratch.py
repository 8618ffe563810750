"""Training from scratch with an optimizer of the arm's own, so that optimizers and their settings can be compared.

    lr(t) = L[floor(t |L| / N)] * lr / max L       L the learning rates of the sweep's dense run, N = steps of the arm

Initial weights and batches of a seed are the same for all arms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from torch import nn

from paretorch.errors import InputError
from paretorch.methods.method import Method
from paretorch.methods.schedules import DenseSchedule
from paretorch.methods.schedules.stretched import Stretched
from paretorch.pipelines.compression import Compressed, Compression, Start
from paretorch.pipelines.phases import Phase, train_phase
from paretorch.training.settings import OptimizerSpec
from paretorch.training.trainer import Trainer

CARDS = {"avagrad": "avagrad", "avagradw": "avagrad"}  # the others have none


@dataclass(frozen=True, kw_only=True)
class FromScratch(Compression):
    """Train a fresh model of the task; the sweep's dense model is not used or charged.

    Args:
        epochs: of the training.
        optimizer: in the place of the settings'; its `lr` is the peak of the learning rates.

    Raises:
        InputError: for a number of epochs that is not positive and finite.
    """

    epochs: float
    optimizer: OptimizerSpec
    from_dense: bool = field(default=False, init=False)
    compresses: bool = field(default=False, init=False)
    trial_kind: ClassVar[str] = "train"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epochs) and self.epochs > 0):
            raise InputError(f"training from scratch takes a positive, finite number of epochs; got {self.epochs}")

    def method_ids(self) -> list[str]:
        return [CARDS[self.optimizer.name]] if self.optimizer.name in CARDS else []

    def plan(self, trainer: Trainer) -> tuple[str, int | None]:
        steps = trainer.num_steps(self.epochs)
        return f"train from scratch with {self.optimizer.name}, {steps} steps", steps

    def check(self, trainer: Trainer, model: nn.Module, *, dense: DenseSchedule) -> None:
        trainer.check_steps(trainer.num_steps(self.epochs), epochs=self.epochs)
        self._schedule(trainer, dense)
        self.optimizer(model.parameters())

    def at_rate(self, rate: float) -> Self:
        return replace(self, optimizer=replace(self.optimizer, lr=rate))

    def rehearsal(self, trainer: Trainer) -> tuple[nn.Module, Sequence[Method]]:
        raise InputError(
            "an arm that is trained from scratch with an optimizer of its own is a [[dense_arm]] in a comparison, with "
            "the optimizer in its `train`; or use `paretorch run`"
        )

    def run_from(self, trainer: Trainer, start: Start) -> Compressed:
        """Train; of `start` only the learning rates are used."""
        own = trainer.with_settings(replace(trainer.settings, optimizer=self.optimizer))
        schedule = self._schedule(own, start.schedule)
        model = own.model().to(own.device)
        entry, _ = train_phase(
            own,
            model,
            Phase(name="train", num_steps=schedule.num_steps, schedule=schedule),
            details={"kind": self.trial_kind, "optimizer": self.optimizer.name, "lr_peak": max(schedule.trace())},
        )
        return Compressed(model=model, entries=[entry])

    def _schedule(self, trainer: Trainer, dense: DenseSchedule) -> Stretched:
        return Stretched(num_steps=trainer.num_steps(self.epochs), dense=dense, peak=self.optimizer.lr)
