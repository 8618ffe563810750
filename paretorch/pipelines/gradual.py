"""Sparse training from scratch as one budgeted operation: train with a gradual method, leave exact zeros.

The learning rates are those of the dense run, stretched to the length of this one, so that every gradual method can be
compared with every other, and with BIMP, at the same total of epochs. Phases in the ledger:

    gradual   the training; its curve holds the sparsity after every epoch
    zeros     what the method left; a method that does not end at the wanted sparsity exactly has more of its smallest
              weights pruned until it is reached (a pruned weight is never revived, and one that left more stays as it
              is); then batch-norm statistics, with the accuracy before and after
    finetune  the last epochs of the budget, if wanted: training goes on with the zeros in force, at a learning rate
              that falls to 0 along a line (LLR)

Source of the comparison: Zimmer, Spiegel and Pokutta 2023, table 2, where methods without an exact end are pruned hard;
the re-estimation of batch norm after it is ours.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from torch import nn

from paretorch.artefacts.mask_edit import MaskEdit
from paretorch.errors import InputError
from paretorch.methods.method import Method
from paretorch.methods.schedules import LLR, DenseSchedule
from paretorch.methods.schedules.stretched import Stretched
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.masks import Masks
from paretorch.pipelines.compression import Compressed, Compression, Start
from paretorch.pipelines.phases import Phase, check_recorded, train_phase
from paretorch.pipelines.pruning_step import Selection, facts_of, select
from paretorch.pipelines.retraining import reestimate
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class GradualPruning(Compression):
    """Train from scratch with a method that makes the model sparse; the sweep's dense model is not used or charged.

    Args:
        method: makes the method of one run, `lambda: GMP(sparsity=0.9)`, say; called anew for every run.
        epochs: of all training together.
        finetune_epochs: of them, after the zeros are final; 0 is none.
        lr: highest learning rate before that; None leaves the dense run's as they were.
        finetune_lr: highest learning rate of the fine-tuning; None takes the dense run's.
        reestimate_batches: training batches for batch-norm statistics at the end; 0 leaves them as they are.

    Raises:
        InputError: for numbers out of range, or as the method raises.
    """

    method: Callable[[], GradualMethod]
    epochs: float
    finetune_epochs: float = 0.0
    lr: float | None = None
    finetune_lr: float | None = None
    reestimate_batches: int = 20
    from_dense: bool = field(default=False, init=False)
    trial_kind: ClassVar[str] = "gradual"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epochs) and self.epochs > 0):
            raise InputError(f"training from scratch takes a positive, finite number of epochs; got {self.epochs}")
        if not 0 <= self.finetune_epochs < self.epochs:
            raise InputError(
                f"finetune_epochs are the last ones of epochs={self.epochs:g}, from 0 and fewer than all; got "
                f"{self.finetune_epochs}"
            )
        if self.finetune_lr is not None and not self.finetune_epochs:
            raise InputError(f"finetune_lr={self.finetune_lr} belongs to fine-tuning, and finetune_epochs is 0")
        if self.reestimate_batches < 0:
            raise InputError("reestimate_batches must not be negative; 0 leaves batch-norm statistics as they are")
        self.method()

    def method_ids(self) -> list[str]:
        averaged = ["bn-reestimate"] if self.reestimate_batches else []
        return [self.method().name, *averaged, *(["masks", "llr"] if self.finetune_epochs else [])]

    def plan(self, trainer: Trainer) -> tuple[str, int | None]:
        method, (steps, tuning) = self.method(), self.split(trainer)
        words = f"train from scratch with {method.name} to {method.sparsity * 100:.4g} % sparsity, {steps} steps"
        return words + (f", then fine-tune, {tuning} steps" if tuning else ""), steps + tuning

    def split(self, trainer: Trainer) -> tuple[int, int]:
        """Optimizer steps with the method, and of the fine-tuning."""
        tuning = trainer.num_steps(self.finetune_epochs)
        return trainer.num_steps(self.epochs) - tuning, tuning

    def check(self, trainer: Trainer, model: nn.Module, *, dense: DenseSchedule) -> None:
        steps, tuning = self.split(trainer)
        trainer.check_steps(steps, epochs=self.epochs - self.finetune_epochs)
        if self.finetune_epochs:
            trainer.check_steps(tuning, epochs=self.finetune_epochs, where="fine-tuning: ")
        self._schedule(steps, dense)
        self._finetuning(tuning, dense)
        method = self.method()
        method.check_optimizer(trainer.settings.optimizer(model.parameters()))
        method.check(model, num_steps=steps, steps_per_epoch=trainer.steps_per_epoch)

    def at_rate(self, rate: float) -> Self:
        return replace(self, lr=rate)

    def rehearsal(self, trainer: Trainer) -> tuple[nn.Module, Sequence[Method]]:
        method = self.method()
        if not method.even_steps:
            raise InputError(
                f"{method.name!r} cannot be an arm of a comparison, which times a few training steps beforehand: its "
                "steps change as it prunes; use `paretorch run`"
            )
        return trainer.model(), [method]

    def rehearsals(self, trainer: Trainer) -> Mapping[str, tuple[nn.Module, Sequence[Method]]]:
        found = {self.trial_kind: self.rehearsal(trainer)}
        if self.finetune_epochs:
            model = trainer.model()
            found["retrain"] = model, [MaskEnforcement(self.method().smallest(model))]
        return found

    def run_from(self, trainer: Trainer, start: Start) -> Compressed:
        """Train from scratch; of `start` only the learning rates are used."""
        steps, tuning = self.split(trainer)
        schedule, method = self._schedule(steps, start.schedule), self.method()
        model = trainer.model().to(trainer.device)
        trained, _ = train_phase(
            trainer,
            model,
            Phase(name="gradual", num_steps=steps, schedule=schedule, methods=[method]),
            details={
                "kind": "gradual",
                "method": method.name,
                "target_sparsity": method.sparsity,
                "lr_peak": max(schedule.trace(), default=0.0),
            },
        )
        masks, zeros = self._zeros(trainer, model, method)
        notes: tuple[str, ...] = ()
        if masks.num_pruned > method.num_pruned(model):
            notes = (
                f"{method.name!r} left {masks.sparsity * 100:.4g} % of the weights zero, more than the "
                f"{method.sparsity * 100:.4g} % that its name gives; compare it with arms of the sparsity that it has.",
            )
        entries = [trained, zeros]
        if tuning:
            entries.append(self._finetune(trainer, model, masks, self._finetuning(tuning, start.schedule)))
        return Compressed(model=model, entries=entries, edits=(MaskEdit(masks),), notes=notes)

    def _finetuning(self, num_steps: int, dense: DenseSchedule) -> LLR:
        return LLR(num_steps=num_steps, peak=dense.peak if self.finetune_lr is None else self.finetune_lr)

    def _finetune(self, trainer: Trainer, model: nn.Module, masks: Masks, schedule: LLR) -> dict[str, Any]:
        """Train `model` on with the zeros in force; the ledger entry."""
        phase = Phase(
            name="finetune", num_steps=schedule.num_steps, schedule=schedule, methods=[MaskEnforcement(masks)]
        )
        details = {"kind": "retrain", "schedule": "LLR", "lr_peak": max(schedule.trace(), default=0.0)}
        entry, _ = train_phase(trainer, model, phase, details=details)
        masks.check(model)
        return entry

    def _schedule(self, num_steps: int, dense: DenseSchedule) -> Stretched:
        return Stretched(num_steps=num_steps, dense=dense, peak=self.lr)

    def _zeros(self, trainer: Trainer, model: nn.Module, method: GradualMethod) -> tuple[Masks, dict[str, Any]]:
        """Reach the wanted sparsity in `model`, which the method left; the masks and the ledger entry."""
        began = time.perf_counter()
        masks = pruned_to_target(model, method)
        masks.apply_(model)
        seconds = time.perf_counter() - began
        directory = trainer.directory
        done = directory.finished("zeros") if directory is not None else None
        raw = _validation(trainer, model) if done is None else None
        began = time.perf_counter()
        layers = reestimate(trainer, model, name="zeros", count=self.reestimate_batches)
        seconds += time.perf_counter() - began
        masks.check(model)
        if done is not None:
            check_recorded(done, mask_hash=masks.hash(), found="the method leaves other zeros")
            return masks, done
        reestimated = _validation(trainer, model) if layers else None
        entry = {
            "phase": "zeros",
            "kind": "prune",
            **facts_of(masks),
            "pruned_by_method": method.masks.num_pruned,
            **method.details(),
            "validation_raw": raw,
            "validation_reestimated": reestimated,
            "validation": raw if reestimated is None else reestimated,
            "batchnorm_layers": layers,
            "seconds": seconds,
        }
        if directory is not None:
            directory.append(entry)
        return masks, entry


def pruned_to_target(model: nn.Module, method: GradualMethod) -> Masks:
    """Masks of at least the method's target: its own zeros and, as far as they are too few, the smallest other weights.

    Args:
        model: as the method left it after `finish`; it is not changed.
        method: finished.
    """
    if method.masks.num_pruned >= method.num_pruned(model):
        return method.masks
    selection = Selection(sparsity=method.sparsity, include=method.include, exclude=method.exclude)
    return select(model, selection, previous=method.masks, seed=0)


def _validation(trainer: Trainer, model: nn.Module) -> float:
    return trainer.evaluate(model)[trainer.task.metric]
