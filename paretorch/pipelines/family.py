"""A family of durations: one recipe, each duration a full run of its own with its schedule built for that duration."""

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from paretorch.errors import InputError
from paretorch.evidence.records import RunRecord
from paretorch.methods.method import Method
from paretorch.methods.schedules import DenseSchedule
from paretorch.pipelines.dense import DenseResult
from paretorch.pipelines.run_writer import Identity, RunWriter
from paretorch.training.run import RunDirectory
from paretorch.training.settings import TrainSettings
from paretorch.training.task import Task
from paretorch.training.trainer import Trainer


@dataclass(frozen=True)
class Rehearsal:
    """A training step that is to be timed.

    Attributes:
        model: fresh.
        methods: that act in the step.
        same: what decides how long the step takes; steps of equal `same` are timed once.
    """

    model: nn.Module
    methods: Sequence[Method]
    same: str

    def key(self, kind: str) -> str:
        """Under which the times of a kind of phase are kept."""
        return f"{kind}: {self.same}"


@dataclass(frozen=True, kw_only=True)
class Family(ABC):
    """One recipe at several durations.

    Attributes:
        name, role: as in `RunRecord`.
        durations: in epochs of what the family varies.
        task, settings: of its runs.
        task_options: those in which its task differs from the recipe's.
        prunes: whether its runs need the shared dense model.
    """

    name: str
    role: str
    durations: Sequence[float]
    task: Task
    settings: TrainSettings
    task_options: Mapping[str, Any] = field(default_factory=dict)

    prunes = False

    @property
    def charges_dense(self) -> bool:
        """Whether the dense training is a part of what its runs cost."""
        return False

    @abstractmethod
    def check(self, dense: DenseSchedule) -> None:
        """Refuse, before anything is trained, what a run could not do.

        Raises:
            InputError: naming the family.
        """

    @abstractmethod
    def plan(self) -> tuple[str, int]:
        """What one seed does, in words, and the optimizer steps it takes."""

    def rehearsed(self, trainer: Trainer) -> Mapping[str, Rehearsal]:
        """Kind of phase -> its training step; of dense training alone, unless a family says otherwise."""
        model = trainer.model()
        return {"dense": Rehearsal(model, (), self._same(model))}

    @abstractmethod
    def run(
        self,
        duration: float,
        writer: RunWriter,
        directory: RunDirectory,
        trainer: Trainer,
        *,
        dense: DenseResult | None,
        step_s: Mapping[str, float],
    ) -> RunRecord:
        """One run and its record; one that diverges gets a record that says so.

        Args:
            duration: one of `durations`.
            writer: of the record.
            directory: of the run.
            trainer: with that directory.
            dense: the shared dense model, for a family that prunes.
            step_s: median seconds of a step by kind of phase, timed in turns with the other families'.
        """

    def _same(self, model: nn.Module) -> str:
        """A hash of what decides how long a plain training step takes: shapes, and how they are trained."""
        shapes = [f"{name} {tuple(value.shape)}" for name, value in model.state_dict().items()]
        how = [self.settings.describe(), self.settings.device, self.task.describe(), dict(self.task_options)]
        text = json.dumps([repr(model), shapes, how], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _check_steps(self, trainer: Trainer, *, added_epochs: float = 0.0) -> None:
        """Refuse a duration without a step, and two durations that are the same run."""
        seen: dict[int, float] = {}
        for duration in self.durations:
            steps = trainer.num_steps(added_epochs + duration)
            trainer.check_steps(steps, epochs=duration, where=f"{self.name!r}: ")
            if (other := seen.setdefault(steps, duration)) != duration:
                raise InputError(
                    f"{self.name!r}: {other:g} and {duration:g} epochs are both {steps} optimizer steps, which is one "
                    "run and not two durations"
                )

    def folder(self, duration: float, seed: int) -> str:
        """Name of one run's folder."""
        name = re.sub(r"[^\w.]+", "-", self.name.lower()).strip("-")
        return f"{name}-{duration:g}ep-s{seed}"

    def identity(
        self, duration: float, *, steps: int, epochs: float, factors: Mapping[str, Any], methods: Sequence[str]
    ) -> Identity:
        """Who a run is.

        Args:
            duration: one of `durations`.
            steps, epochs: optimizer steps and epochs of what the family varies.
            factors: of the family.
            methods: ids of the cards that act.
        """
        return Identity(
            label=f"{self.name}, {duration:g} epochs",
            factors={**factors, "family": self.name, "epochs": float(epochs)},
            others={
                "family": self.name,
                "role": self.role,
                "methods": list(methods),
                "duration": {
                    "epochs": float(epochs),
                    "steps": steps,
                    "samples": steps * self.settings.batch_size,
                    "scale": duration / max(self.durations),
                },
            },
        )


def in_words(what: str, durations: Sequence[float], rates: Sequence[float]) -> str:
    """What a family does, for a plan."""
    tried = f" x {len(rates)} learning rates" if rates else ""
    return f"{what} at {len(durations)} durations{tried}"
