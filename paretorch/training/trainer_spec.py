"""What another process builds a trainer from: where its task is found, its settings, and its seed.

Not in it: the run directory, which the other process opens; the energy meter, which would count the work of all
processes; and the number of workers, because a worker has none.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from paretorch.errors import InputError
from paretorch.training.plain import from_plain, to_plain
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.task import Task, TaskSource
from paretorch.training.tasks.registry import make_task
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class TrainerSpec:
    """A trainer that can be built anywhere. `to_plain` and `from_plain` turn it to JSON and back.

    Attributes:
        source: where the task is found, and with what options.
        settings: of the trainer, device and precision included.
        seed: of the trainer.
    """

    source: TaskSource
    settings: TrainSettings
    seed: int

    @classmethod
    def of(cls, trainer: Trainer) -> Self:
        """The description of `trainer`.

        Raises:
            InputError: if another process could not build it: the task was built by hand, or has options that have no
                JSON form; the optimizer is a function of the user's; or the trainer is one of several processes.
        """
        task, settings = trainer.task, trainer.settings
        if task.source is None:
            raise InputError(
                f"task {task.name!r} was built by hand, so a worker process could not build the same; name it by "
                "file.py:factory and `make_task`, or train with workers=1"
            )
        if not isinstance(settings.optimizer, OptimizerSpec):
            raise InputError(
                f"the optimizer is {settings.optimizer!r}, which a worker process could not build; give an "
                "OptimizerSpec, or train with workers=1"
            )
        if trainer.accelerator.num_processes > 1:
            raise InputError(
                f"this run is already spread over {trainer.accelerator.num_processes} processes by a launcher; train "
                "with workers=1, or without the launcher"
            )
        spec = cls(source=task.source, settings=settings, seed=trainer.seed)
        spec.to_json()
        return spec

    def to_json(self) -> dict[str, Any]:
        """As plain values.

        Raises:
            InputError: if an option of the task has no JSON form.
        """
        plain: dict[str, Any] = to_plain(self, where="trainer")
        return plain

    def build(self) -> Trainer:
        """A trainer without a directory; the task is built once per process, because it holds its data in memory.

        Raises:
            InputError: as `make_task` and `Trainer`.
        """
        source = json.dumps(to_plain(self.source, where="task"), sort_keys=True)
        return Trainer(_task(source), self.settings, seed=self.seed)


@cache
def _task(source: str) -> Task:
    found: TaskSource = from_plain(json.loads(source))
    folder = None if found.data is None else Path(found.data)
    return make_task(found.reference, options=found.options, data=folder)
