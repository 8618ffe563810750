"""Retraining after compression: schedules, a budget in epochs or minutes, teachers, and batch-norm statistics.

Source: Zimmer, Spiegel and Pokutta, "How I learned to stop worrying and love retraining", ICLR 2023.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from paretorch.errors import InputError
from paretorch.methods.averaging.batchnorm import reestimate_batchnorm
from paretorch.methods.averaging.swa import SWA
from paretorch.methods.distillation.settings import DistillationSettings
from paretorch.methods.method import Method
from paretorch.methods.schedules import (
    RETRAINING_SCHEDULES,
    DenseSchedule,
    NormScope,
    Schedule,
    check_finetune_baseline,
    retraining_schedule,
)
from paretorch.pipelines.batches import training_batches
from paretorch.training.devices import repeatable_cudnn
from paretorch.training.trainer import Trainer

CALIBRATION_STEPS = 5


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """How the compressed model is retrained.

    Args:
        schedule: one of FT, LRW, SLR, CLR, LLR, ALLR.
        lr: a tuned learning rate for FT (constant), SLR, CLR or LLR (peak); None takes it from the dense run.
        norm_scope: weights over which ALLR's norm is taken; "all" is the rule of the authors' code.
        keep_optimizer: carry momentum over cycles, with pruned entries cleared, instead of a fresh optimizer.
        reestimate_batches: training batches for batch-norm statistics after each pruning; 0 leaves them stale.
        distillation: how a teacher takes part in every phase of retraining; None leaves the labels alone to teach.
        average_from: every phase ends with the mean of its weights over the epochs after this fraction of it, in
            [0, 1), with batch-norm statistics re-estimated; None takes the last weights.
    """

    schedule: str = "ALLR"
    lr: float | None = None
    norm_scope: NormScope = "prunable"
    keep_optimizer: bool = False
    reestimate_batches: int = 20
    distillation: DistillationSettings | None = None
    average_from: float | None = None

    def method_ids(self) -> list[str]:
        """Cards of the methods that act."""
        averaged = ["bn-reestimate"] if self.reestimate_batches else []
        taught = ["distillation"] if self.distillation is not None else []
        mean = ["swa"] if self.average_from is not None else []
        return [*averaged, self.schedule.lower(), *taught, *mean]

    def check(self) -> None:
        """Refuse settings out of range.

        Raises:
            InputError: for an unknown schedule, a negative number of batches, a fraction out of range, or an optimizer
                that would be kept over an average.
        """
        if self.schedule.upper() not in RETRAINING_SCHEDULES:
            raise InputError(
                f"{self.schedule!r} is no retraining schedule; choose from {', '.join(RETRAINING_SCHEDULES)}"
            )
        if self.reestimate_batches < 0:
            raise InputError("reestimate_batches must not be negative; 0 leaves batch-norm statistics as they are")
        if self.average_from is not None:
            SWA(begin=self.average_from)  # refuses what is no fraction
            if self.keep_optimizer:
                raise InputError("keep_optimizer would carry the momentum of other weights than the average; drop one")

    def check_schedules(self, dense: DenseSchedule, budgets: Sequence[int]) -> None:
        """Refuse a schedule that cannot be built on that of the dense run.

        Args:
            dense: the learning rates of the dense run.
            budgets: optimizer steps of every phase of retraining.

        Raises:
            InputError: as the schedules; or if FT has no rate and the dense schedule ended near zero.
        """
        if self.schedule.upper() == "FT" and self.lr is None:
            check_finetune_baseline(dense)
        for steps in budgets:
            self.build(steps, dense, 1.0)

    def check_teaching(self, trainer: Trainer, student: nn.Module, *, dense: nn.Module) -> None:
        """Refuse a teacher that cannot teach, before anything is trained.

        Args:
            trainer: of the task.
            student: of the shape in which it is retrained; it is left as it is.
            dense: the dense model, or a fresh one in its place; it is left as it is.

        Raises:
            InputError: as `DistillationSettings.check`.
        """
        if self.distillation is not None:
            for batch in training_batches(trainer, name="teaching-check", count=1, augmented=False):
                self.distillation.check(trainer.task, student, dense, batch, device=trainer.device)

    def refuse_teaching(self, where: str) -> None:
        """Refuse what acts only while a compressed model is retrained.

        Raises:
            InputError: saying that `where` has no place for it.
        """
        if self.distillation is not None:
            raise InputError(f"{where} takes no teacher: there is no dense model that it retrains; leave it out")
        if self.average_from is not None:
            raise InputError(f"{where} takes no average of weights; leave average_from out")

    def methods(self, trainer: Trainer, *, phase: str, teacher: nn.Module) -> list[Method]:
        """What acts while a phase is retrained, beside what keeps the compression in force.

        Args:
            trainer: of the run.
            phase: its name, from which batches are drawn.
            teacher: the dense model, which is left as it is.
        """
        found: list[Method] = [] if self.distillation is None else [self.distillation.method(teacher)]
        if self.average_from is not None:
            own = partial(reestimate, trainer, name=f"{phase}-average", count=self.reestimate_batches)
            found.append(SWA(begin=self.average_from, reestimate=own))
        return found

    def build(self, steps: int, dense: DenseSchedule, d1: float) -> Schedule:
        """The schedule of so many steps after compression with norm drop `d1`."""
        return retraining_schedule(self.schedule.upper(), num_steps=steps, dense=dense, lr=self.lr, norm_drop=d1)

    def details(self, schedule: Schedule, dense: DenseSchedule) -> dict[str, Any]:
        """Facts of one phase of retraining for the ledger."""
        return {
            "kind": "retrain",
            "schedule": self.schedule.upper(),
            "lr_peak": max(schedule.trace(), default=0.0),
            "d2": None if dense.num_steps is None else schedule.num_steps / dense.num_steps,
            "factor": getattr(schedule, "factor", None),
            **({} if self.distillation is None else {"distillation": self.distillation.details()}),
            **({} if self.average_from is None else {"average_from": self.average_from}),
        }


def check_budget(epochs: float | None, minutes: float | None) -> None:
    """Refuse a retraining budget that is none.

    Raises:
        InputError: for both or neither of the two, or a number that is negative or not finite.
    """
    budgets = [value for value in (epochs, minutes) if value is not None]
    if len(budgets) != 1:
        found = "both" if budgets else "neither"
        raise InputError(f"give the retraining budget either as epochs or as minutes; got {found}")
    if not (math.isfinite(budgets[0]) and budgets[0] >= 0):
        raise InputError(f"the retraining budget must be finite and must not be negative; got {budgets[0]}")


def budget_steps(
    trainer: Trainer,
    model: nn.Module,
    *,
    epochs: float | None,
    minutes: float | None,
    methods: Sequence[Method] = (),
) -> int:
    """Optimizer steps of a retraining budget; one in minutes is timed once, so that a resumed run keeps the number.

    Args:
        trainer: its directory, if it has one, keeps what was timed.
        model: what is retrained; a copy of it takes the steps that are timed.
        epochs, minutes: one of them; minutes are of training steps, without evaluation and checkpoints.
        methods: that make a step longer, such as a teacher.
    """
    if epochs is not None:
        return trainer.num_steps(epochs)
    assert minutes is not None
    directory = trainer.directory
    if directory is not None and (entry := directory.finished("calibrate")) is not None:
        return int(entry["steps"])
    seconds_per_step = trainer.rehearse(
        copy.deepcopy(model), num_steps=CALIBRATION_STEPS, methods=[*trainer.task.methods(), *methods]
    )
    steps = round(minutes * 60 / seconds_per_step)
    if directory is not None:
        directory.append({"phase": "calibrate", "steps": steps, "seconds_per_step": seconds_per_step})
    return steps


def budget_words(trainer: Trainer, *, epochs: float | None, minutes: float | None) -> tuple[str, int | None]:
    """A retraining budget in words, and its optimizer steps; None for one in minutes."""
    if epochs is None:
        return f"{minutes:g} minutes", None
    steps = trainer.num_steps(epochs)
    return f"{steps} steps", steps


def reestimate(trainer: Trainer, model: nn.Module, *, name: str, count: int) -> int:
    """Batch-norm statistics of the weights as they are, over training batches; the number of layers that have them.

    Args:
        trainer: of the model.
        model: changed in place.
        name: of the phase, from which the batches are drawn.
        count: batches; 0 leaves the statistics as they are.
    """
    if count == 0:
        return 0
    batches = training_batches(trainer, name=name, count=count, augmented=True)
    with repeatable_cudnn():
        return reestimate_batchnorm(model, batches, forward=lambda model, batch: trainer.task.loss(model, batch))
