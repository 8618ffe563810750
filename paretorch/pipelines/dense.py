"""The dense model: the baseline that everything is compared with, and the model that pruning starts from.

It is trained here, or it comes as published weights, which are checked first and whose own training is not charged.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.methods.schedules import DenseSchedule, Schedule
from paretorch.pipelines.phases import Phase, train_phase
from paretorch.training.published import load_published, locate_published, published
from paretorch.training.task import Task
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class DenseResult:
    """A trained dense model, the learning rates that were used, and the ledger entry of its phase."""

    model: nn.Module
    schedule: DenseSchedule
    entry: dict[str, Any]


class DenseSource(Protocol):
    """Where the dense model of a sweep comes from."""

    def check(self, model: nn.Module, *, task: Task) -> None:
        """Refuse, before anything is done, what `__call__` could not do with `model`, a fresh one of the task."""

    def plan(self, epochs: float, steps: int, batch_size: int) -> tuple[str, int]:
        """What would be done, in words, and the optimizer steps it takes."""

    def factors(self, epochs: float) -> dict[str, Any]:
        """What distinguishes the dense model, for grouping in reports."""

    def notes(self) -> list[str]:
        """What readers of every record must know."""

    def __call__(self, trainer: Trainer, schedule: Schedule) -> DenseResult:
        """The dense model, and the schedule it was trained with."""


def train_dense(trainer: Trainer, schedule: Schedule) -> DenseResult:
    """Train the task's model from scratch over all steps of `schedule`, or load it if the directory holds it."""
    model = trainer.model()
    phase = Phase(name="dense", num_steps=schedule.num_steps, schedule=schedule)
    entry, _ = train_phase(
        trainer, model, phase, details={"kind": "dense", "lr_peak": max(schedule.trace(), default=0.0)}
    )
    return DenseResult(model=model, schedule=DenseSchedule.of(schedule), entry=entry)


class TrainedDense:
    """A dense model of our own, by `train_dense`."""

    def check(self, model: nn.Module, *, task: Task) -> None:
        """Nothing: any model can be trained."""

    def plan(self, epochs: float, steps: int, batch_size: int) -> tuple[str, int]:
        return f"dense: {epochs:g} epochs = {steps} steps of {batch_size} examples", steps

    def factors(self, epochs: float) -> dict[str, Any]:
        return {"method": "dense", "epochs": float(epochs)}

    def notes(self) -> list[str]:
        return []

    def __call__(self, trainer: Trainer, schedule: Schedule) -> DenseResult:
        return train_dense(trainer, schedule)


@dataclass(frozen=True, kw_only=True)
class PublishedDense:
    """Published weights in the place of dense training, with the schedule they had.

    Args:
        name: of the weights, see `paretorch.training.published`.
        data: the data folder.
    """

    name: str
    data: Path | None

    def check(self, model: nn.Module, *, task: Task) -> None:
        """Refuse, before anything is done, a missing file and a task with another model or another scaling of images.

        Raises:
            InputError: saying which.
        """
        path = locate_published(self.name, data=self.data)
        theirs = {name: value.shape for name, value in published(self.name).build(path).state_dict().items()}
        ours = {name: value.shape for name, value in model.state_dict().items()}
        if different := sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name)):
            raise InputError(
                f"published weights {self.name!r} do not fit the task's model: {len(different)} tensors differ, first "
                f"{different[0]!r}: published {_shape(theirs, different[0])}, the task's {_shape(ours, different[0])}; "
                "choose the same model in task_options"
            )
        wanted = published(self.name).normalisation
        if wanted is not None and (given := getattr(task, "normalisation", wanted)) != wanted:
            raise InputError(
                f"published weights {self.name!r} were trained on images scaled by normalisation {wanted!r}, and the "
                f"task scales them by {given!r}; set normalisation = {wanted!r} in task_options"
            )

    @cached_property
    def _model(self) -> nn.Module:
        return load_published(self.name, data=self.data)

    def __call__(self, trainer: Trainer, schedule: Schedule) -> DenseResult:
        """The weights in a model of the task; nothing is trained."""
        model = trainer.model()
        model.load_state_dict(self._model.state_dict())
        model.eval()
        directory = trainer.directory
        if directory is not None and (done := directory.finished("dense")) is not None:
            return DenseResult(model=model, schedule=DenseSchedule.of(schedule), entry=done)
        entry = {
            "phase": "dense",
            "kind": "published",
            "published": self.name,
            "source": published(self.name).source,
            "validation": trainer.evaluate(model)[trainer.task.metric],
            "lr_peak": max(schedule.trace(), default=0.0),
        }
        if directory is not None:
            directory.append(entry)
        return DenseResult(model=model, schedule=DenseSchedule.of(schedule), entry=entry)

    def plan(self, epochs: float, steps: int, batch_size: int) -> tuple[str, int]:
        return f"dense: published weights {self.name!r}, checked and not trained", 0

    def factors(self, epochs: float) -> dict[str, Any]:
        return {"method": "dense", "published": self.name}

    def notes(self) -> list[str]:
        return [
            f"The dense model is the published weights {self.name!r} ({published(self.name).source}): their training "
            "is not counted, all seeds start from the same weights, and they may have seen the evaluation examples."
        ]


def _shape(shapes: Mapping[str, torch.Size], name: str) -> str:
    return str(tuple(shapes[name])) if name in shapes else "has none"
