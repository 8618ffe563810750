"""A whole recipe file, and the sweep that it describes."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr

from paretorch.pipelines.arm import Arm
from paretorch.pipelines.dense import PublishedDense, TrainedDense
from paretorch.pipelines.sweep import Sweep
from paretorch.recipes.arm_table import expand
from paretorch.recipes.strict import Strict
from paretorch.recipes.train_table import DenseTable, TrainTable
from paretorch.training.task import Task
from paretorch.training.tasks.registry import make_task

FolderName = Annotated[str, Field(pattern=r"^\w[\w .+-]*$")]  # `run` writes to runs/NAME


class Recipe(Strict):
    """A whole recipe file."""

    name: FolderName
    task: str
    task_options: dict[str, Any] = Field(default={})
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)
    train: TrainTable = TrainTable()
    dense: DenseTable
    arm: list[dict[str, Any]] = Field(default=[])
    _text: str = PrivateAttr("")

    def arms(self) -> list[Arm]:
        """All grid points of all `[[arm]]` tables, in order.

        Raises:
            InputError: for an invalid point, the same point twice, or two points that reports could not tell apart.
        """
        return expand(self.arm)

    def sweep(self, *, data: Path | None, command: str) -> Sweep:
        """The sweep that this recipe describes; the task is built, and nothing is trained.

        Args:
            data: the data folder, for tasks that need one.
            command: what the user typed, for the records.
        """
        canonical = json.dumps(self.model_dump(), sort_keys=True)
        task = make_task(self.task, options=self.task_options, data=data)
        return Sweep(
            name=self.name,
            task=task,
            settings=self.train.settings(),
            seeds=self.seeds,
            dense_epochs=self.dense.epochs,
            dense_schedule=self.dense.curve(self.train.lr),
            dense=PublishedDense(name=self.dense.published, data=data) if self.dense.published else TrainedDense(),
            arms=self.arms(),
            recipe=self._text + _task_file_digest(self.task) + _own_description(task),
            recipe_hash=hashlib.sha256(canonical.encode()).hexdigest(),
            command=command,
        )


def _task_file_digest(task: str) -> str:
    """A comment that ties a run to the contents of the user's task file, so that a changed one is not resumed."""
    path, _, _ = task.rpartition(":")
    if not path.endswith(".py"):
        return ""
    return f"\n# sha256 of {path}: {hashlib.sha256(Path(path).read_bytes()).hexdigest()}\n"


def _own_description(task: Task) -> str:
    """A comment with what else identifies the task, so that one with other data or another judge is not resumed."""
    common = Task.describe(task).keys()
    own = {key: value for key, value in task.describe().items() if key not in common}
    examples = [len(part) for part in (task.train_set(), task.eval_set(), task.test_set())]
    return f"\n# task: {json.dumps(own | {'examples': examples}, sort_keys=True)}\n"
