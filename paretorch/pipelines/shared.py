"""Training from scratch with layers that share templates, as one budgeted operation.

The learning rates are those of the dense run, stretched to the length of this one, so that a shared model can be
compared with the dense one and with others that were trained as long. Phases in the ledger:

    share       the training; its curve holds the mean similarity of layers after every epoch
    templates   how alike the layers became, and parameters; with a threshold: layers that are alike are folded into
                one, then batch-norm statistics, with the accuracy before and after

Folding is a function of the weights: a resumed run folds again, and must come to what its ledger records.

Source: Savarese and Maire, ICLR 2019; re-estimation of batch norm after folding is ours.
"""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from torch import nn

from paretorch.artefacts.edits import Edit
from paretorch.artefacts.fold_edit import FoldEdit
from paretorch.artefacts.share_edit import ShareEdit
from paretorch.errors import InputError, RunError
from paretorch.methods.method import Method
from paretorch.methods.schedules import DenseSchedule
from paretorch.methods.schedules.stretched import Stretched
from paretorch.methods.sharing.absorbing import following_norms
from paretorch.methods.sharing.fold import Folding, fold_
from paretorch.methods.sharing.soft_sharing import SoftSharing
from paretorch.methods.sharing.templates import share_, shared_groups
from paretorch.pipelines.compression import Compressed, Compression, Start
from paretorch.pipelines.phases import Phase, train_phase
from paretorch.pipelines.retraining import reestimate
from paretorch.training.trainer import Trainer

TEMPLATES = "templates"
ROUNDING = 1e-5


@dataclass(frozen=True, kw_only=True)
class SharedTraining(Compression):
    """Share the layers of a fresh model and train it; the sweep's dense model is not used or charged.

    Args:
        sharing: makes the method of one run, `lambda: SoftSharing(templates=2)`, say; called anew for every run.
        epochs: of the training.
        fold: least similarity of layers that are folded into one at the end; None keeps the templates. It stands here
            and not in the method, so that the accuracy before folding is known.
        lr: highest learning rate; None leaves the dense run's as they were.
        reestimate_batches: training batches for batch-norm statistics after folding; 0 leaves them as they are.

    Raises:
        InputError: for numbers out of range, a method that shares nothing or folds itself, or as it raises.
    """

    sharing: Callable[[], SoftSharing]
    epochs: float
    fold: float | None = None
    lr: float | None = None
    reestimate_batches: int = 20
    from_dense: bool = field(default=False, init=False)
    trial_kind: ClassVar[str] = "share"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epochs) and self.epochs > 0):
            raise InputError(f"training from scratch takes a positive, finite number of epochs; got {self.epochs}")
        if self.fold is not None and not 0 < self.fold <= 1:
            raise InputError(f"fold must be a similarity in (0, 1], or None; got {self.fold}")
        if self.reestimate_batches < 0:
            raise InputError("reestimate_batches must not be negative; 0 leaves batch-norm statistics as they are")
        method = self.sharing()
        if method.templates is None:
            raise InputError("the method shares nothing by itself; give it templates, SoftSharing(templates=2), say")
        if method.fold is not None:
            raise InputError(f"fold={method.fold} stands in the method; give it to {type(self).__name__} instead")

    def method_ids(self) -> list[str]:
        again = self.fold is not None and self.reestimate_batches
        return [SoftSharing.name, *(["bn-reestimate"] if again else [])]

    def plan(self, trainer: Trainer) -> tuple[str, int | None]:
        steps, templates = trainer.num_steps(self.epochs), self.sharing().templates
        number = f"{templates} template{'' if templates == 1 else 's'} per group of layers"
        if isinstance(templates, Mapping):
            number = "templates for groups of layers (" + ", ".join(f"{k} for {g}" for g, k in templates.items()) + ")"
        words = f"train from scratch with {number}, {steps} steps"
        return words + ("" if self.fold is None else f", then fold layers of similarity {self.fold:g}"), steps

    def check(self, trainer: Trainer, model: nn.Module, *, dense: DenseSchedule) -> None:
        steps = trainer.num_steps(self.epochs)
        trainer.check_steps(steps, epochs=self.epochs)
        self._schedule(steps, dense)
        if groups := shared_groups(model):
            raise InputError(f"the task's model shares templates already, in the groups {list(groups)}")
        method = self.sharing()
        assert method.templates is not None  # refused at construction
        share_(copy.deepcopy(model), templates=method.templates, groups=method.groups, unit_rows=method.unit_rows)

    def at_rate(self, rate: float) -> Self:
        return replace(self, lr=rate)

    def rehearsal(self, trainer: Trainer) -> tuple[nn.Module, Sequence[Method]]:
        raise InputError(
            "a model that shares templates cannot be an arm of a comparison, whose arms prune and are held against the "
            "same with random weights removed; use `paretorch run`"
        )

    def run_from(self, trainer: Trainer, start: Start) -> Compressed:
        """Train from scratch; of `start` only the learning rates are used."""
        schedule = self._schedule(trainer.num_steps(self.epochs), start.schedule)
        method, model = self.sharing(), trainer.model().to(trainer.device)
        unshared = _count(model)
        trained, _ = train_phase(
            trainer,
            model,
            Phase(name="share", num_steps=schedule.num_steps, schedule=schedule, methods=[method]),
            details={"kind": "share", "method": method.name, "lr_peak": max(schedule.trace(), default=0.0)},
        )
        edits: list[Edit] = [ShareEdit.of(model)]
        facts = {"params": _count(model), "params_unshared": unshared, **method.details()}
        if self.fold is None:
            entry = _written(trainer, {**facts, "validation": trained["validation"], "seconds": 0.0})
            return Compressed(model=model, entries=[trained, entry], edits=tuple(edits))
        folding, entry = self._folded(trainer, model, self.fold, facts)
        edits.append(FoldEdit.of(folding))
        notes: tuple[str, ...] = ()
        if folding.params_after > folding.params_before:
            notes = (
                f"Folding at similarity {self.fold:g} left {folding.params_after} parameters where the templates had "
                f"{folding.params_before}: too few layers are alike.",
            )
        return Compressed(model=model, entries=[trained, entry], edits=tuple(edits), notes=notes)

    def _schedule(self, num_steps: int, dense: DenseSchedule) -> Stretched:
        return Stretched(num_steps=num_steps, dense=dense, peak=self.lr)

    def _folded(
        self, trainer: Trainer, model: nn.Module, threshold: float, facts: dict[str, Any]
    ) -> tuple[Folding, dict[str, Any]]:
        """Fold `model` in place; what was folded, and the ledger entry."""
        began = time.perf_counter()
        inputs = tuple(tensor.to(trainer.device) for tensor in trainer.task.example_inputs())
        folding = fold_(model, threshold=threshold, norms=following_norms(model, inputs))
        seconds = time.perf_counter() - began
        directory = trainer.directory
        done = directory is not None and directory.finished(TEMPLATES) is not None
        raw = None if done else _validation(trainer, model)
        began = time.perf_counter()
        layers = reestimate(trainer, model, name=TEMPLATES, count=self.reestimate_batches)
        seconds += time.perf_counter() - began
        again = _validation(trainer, model) if layers and not done else None
        found = {
            **facts,
            "params": folding.params_after,
            "folding": folding.to_dict(),
            "validation_raw": raw,
            "validation_reestimated": again,
            "validation": raw if again is None else again,
            "batchnorm_layers": layers,
            "seconds": seconds,
        }
        return folding, _written(trainer, found)


def _written(trainer: Trainer, found: dict[str, Any]) -> dict[str, Any]:
    """The line of the templates in the ledger: the one that is there, or `found`, which is then entered."""
    entry = {"phase": TEMPLATES, "kind": TEMPLATES, **found}
    directory = trainer.directory
    if directory is None:
        return entry
    if (done := directory.finished(TEMPLATES)) is None:
        directory.append(entry)
        return entry
    if any(not _alike(done.get(name), entry.get(name)) for name in ("params", "similarity", "folding")):
        raise RunError(
            "the layers are more or less alike, or fold otherwise, than the ledger of this run records: the threshold "
            "or the installed version changed; start again in an empty directory"
        )
    return done


def _alike(one: Any, other: Any) -> bool:
    """Equal but for the last digits of computed numbers, which another machine or number of threads may round."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return bool(one == other)


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _validation(trainer: Trainer, model: nn.Module) -> float:
    return trainer.evaluate(model)[trainer.task.metric]
