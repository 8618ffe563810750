"""Dense training: the baseline that everything is compared with, and the model that pruning starts from."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from paretorch.methods.schedules import DenseSchedule, Schedule
from paretorch.pipelines.phases import Phase, train_phase
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class DenseResult:
    """A trained dense model, the learning rates that were used, and the ledger entry of its phase."""

    model: nn.Module
    schedule: DenseSchedule
    entry: dict[str, Any]


def train_dense(trainer: Trainer, schedule: Schedule) -> DenseResult:
    """Train the task's model from scratch over all steps of `schedule`, or load it if the directory holds it."""
    model = trainer.model()
    phase = Phase(name="dense", num_steps=schedule.num_steps, schedule=schedule)
    entry, _ = train_phase(
        trainer, model, phase, details={"kind": "dense", "lr_peak": max(schedule.trace(), default=0.0)}
    )
    return DenseResult(model=model, schedule=DenseSchedule.of(schedule), entry=entry)
