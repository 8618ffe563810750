"""Trainings that do not wait for one another: done here one after the other, or by worker processes at the same time.

Either way the same function runs with the same settings, and what it leaves on the disk is bitwise the same if both
have one thread. A unit goes on from what it left, so one whose worker was killed is done again from its checkpoint.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from paretorch.errors import InputError, NotFiniteError, RunError
from paretorch.pipelines.retraining import Retraining
from paretorch.training.executor import Job, LocalProcesses, Outcome
from paretorch.training.plain import from_plain, to_plain
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer
from paretorch.training.trainer_spec import TrainerSpec
from paretorch.training.worker import GRACE_S

logger = logging.getLogger("paretorch")

RESULT = "candidate"  # checkpoint of a finished unit
WAIT_S = GRACE_S + 5.0  # for a worker whose parent was killed, and that is saving its state


@dataclass(frozen=True, kw_only=True)
class Unit(ABC):
    """One training in a run directory of its own, below that of the run it belongs to.

    Attributes:
        name: for people, unique among the units of a run.
        folder: of the unit.
        seed: of its trainer.
    """

    name: str
    folder: Path
    seed: int

    @property
    def result(self) -> Path:
        """The file of weights that the unit leaves."""
        return self.folder / "checkpoints" / f"{RESULT}.safetensors"

    def directory(self) -> RunDirectory:
        """The unit's own directory, which holds the recipe of the run it belongs to."""
        recipe = (self.folder.parent.parent / "recipe.toml").read_text(encoding="utf-8")
        return RunDirectory(self.folder, recipe=recipe, resume=True, wait_s=WAIT_S)

    @abstractmethod
    def run(self, given: Trainer) -> None:
        """Train, or go on, until `result` exists.

        Args:
            given: of the task, with the settings and the seed of the run that the unit belongs to.

        Raises:
            NotFiniteError: if a loss becomes NaN or infinite.
        """


def check_teacher(retraining: Retraining) -> None:
    """Refuse a teacher that is a module of the user's.

    Raises:
        InputError: saying who can teach.
    """
    settings = retraining.distillation
    if settings is not None and settings.teacher is not None:
        raise InputError(
            f"the teacher is a {type(settings.teacher).__name__} of yours, which copies that are trained in other "
            "processes could not have; leave it out, and the dense model teaches"
        )


def check_processes(trainer: Trainer) -> None:
    """Refuse a trainer whose units could not be run.

    Raises:
        InputError: if a launcher made it one of several processes, or if workers are asked for that could not build it.
    """
    if (number := trainer.accelerator.num_processes) > 1:
        raise InputError(
            f"a launcher has spread this run over {number} processes, and copies of a soup are trained by one process "
            "each; run it without the launcher, with workers for copies at the same time"
        )
    if trainer.workers > 1:
        TrainerSpec.of(trainer)


def run_unit(*, trainer: dict[str, Any], unit: dict[str, Any]) -> None:
    """Run a unit from its description; called in worker processes."""
    spec, described = from_plain(trainer), from_plain(unit)
    assert isinstance(spec, TrainerSpec)
    assert isinstance(described, Unit)
    described.run(spec.build())


@dataclass(frozen=True, kw_only=True)
class Done:
    """How units were done.

    Attributes:
        wall_s: seconds by the wall clock until all were done; None if an earlier process did a part of them.
        workers: processes at most.
    """

    wall_s: float | None
    workers: int


class Units:
    """Runs units of one run; a context manager, which keeps its workers between two groups of units.

    Args:
        trainer: with `trainer.workers` of 1, units run in this process.

    Raises:
        InputError: as `check_processes`.
    """

    def __init__(self, trainer: Trainer) -> None:
        check_processes(trainer)
        self.trainer = trainer
        self._processes = LocalProcesses(trainer.workers) if trainer.workers > 1 else None
        self._spec = TrainerSpec.of(trainer) if trainer.workers > 1 else None

    def __enter__(self) -> Self:
        if self._processes is not None:
            self._processes.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._processes is not None:
            self._processes.__exit__(kind, error, trace)

    def run(self, units: Sequence[Unit]) -> Done:
        """Run those that are not finished.

        Raises:
            NotFiniteError: if one diverges, naming it; those that are at work save their state first.
            InputError, RunError: as the units, naming the one.
        """
        fresh = not any(unit.folder.exists() for unit in units)
        left = [unit for unit in units if not unit.result.exists()]
        began = perf_counter()
        if self._processes is None:
            self._one_by_one(left)
        else:
            self._at_once(left, self._processes)
        return Done(wall_s=perf_counter() - began if fresh else None, workers=self.trainer.workers)

    def _one_by_one(self, units: Sequence[Unit]) -> None:
        for unit in units:
            logger.info("%s", unit.name)
            try:
                unit.run(self.trainer)
            except NotFiniteError as error:
                raise NotFiniteError(f"{unit.name}: {error}") from error

    def _at_once(self, units: Sequence[Unit], processes: LocalProcesses) -> None:
        assert self._spec is not None
        for unit in units:
            arguments = {"trainer": self._spec.to_json(), "unit": to_plain(unit, where=unit.name)}
            processes.submit(Job(unit.name, f"{__name__}:{run_unit.__name__}", arguments))
        for outcome in processes.collect():
            if outcome.error is not None:
                raise _error(outcome)
            logger.info("%s: done in %.1f s", outcome.job.id, outcome.seconds)


def _error(outcome: Outcome) -> Exception:
    """What was raised in a worker, as far as it is one of ours."""
    kinds = {kind.__name__: kind for kind in (NotFiniteError, InputError)}
    return kinds.get(outcome.error_class or "", RunError)(f"{outcome.job.id}: {outcome.error}")
