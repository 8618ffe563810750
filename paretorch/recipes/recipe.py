"""A whole recipe file, and the sweep that it describes."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr

from paretorch.errors import InputError
from paretorch.evidence.words import Metric
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.comparison import Comparison
from paretorch.pipelines.dense import DenseSource, PublishedDense, TrainedDense
from paretorch.pipelines.sweep import Sweep
from paretorch.recipes.arm_methods import expand
from paretorch.recipes.compare_table import CompareTable
from paretorch.recipes.contest import Contest
from paretorch.recipes.search_table import SearchTable
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
    dense_arm: list[dict[str, Any]] = Field(default=[])
    compare: CompareTable | None = None
    search: SearchTable | None = None
    _text: str = PrivateAttr("")

    def arms(self) -> list[Arm]:
        """All grid points of all `[[arm]]` tables, in order.

        Raises:
            InputError: for an invalid point, the same point twice, or two points that reports could not tell apart.
        """
        return expand(self.arm)

    def check(self) -> None:
        """Refuse what can be seen without the task's data.

        Raises:
            InputError: as `arms`, or as `Contest`; or for a setting that an optimizer or a schedule does not have.
        """
        self.train.settings()
        self.dense.curve(self.train.lr)
        if self.search is not None:
            if self.compare is not None:
                raise InputError("[search] and [compare] exclude each other; leave one of them out")
            self.search.axes()
        if self.compare is not None:
            self._contest(data=None)
            return
        if self.dense_arm:
            raise InputError("[[dense_arm]] belongs to a comparison; add a [compare] table, or remove it")
        self.arms()

    def comparison(self, *, data: Path | None, command: str) -> Comparison:
        """The comparison that this recipe describes; the task is built, and nothing is trained.

        Args:
            data, command: as in `sweep`.

        Raises:
            InputError: without a `[compare]` table.
        """
        if self.compare is None:
            raise InputError(
                f"recipe {self.name!r} has no [compare] table, so it names no candidate and no baseline; run it with "
                "`paretorch run`"
            )
        contest = self._contest(data=data)
        families, task = contest.families(), contest.task_of({})
        metric = Metric(task.metric, higher_is_better=task.higher_is_better)
        if metric.is_fraction and (bad := [quality for quality in self.compare.qualities if not 0 <= quality <= 1]):
            raise InputError(
                f"[compare] qualities = {self.compare.qualities}: {metric.name} is a fraction in [0, 1], and "
                f"{bad[0]:g} is none; for 92 % write 0.92"
            )
        return Comparison(
            name=self.name,
            task=task,
            settings=self.train.settings(),
            seeds=self.seeds,
            families=families,
            dense_epochs=self.dense.epochs,
            dense_schedule=self.dense.curve(self.train.lr),
            dense=self._dense(data),
            recipe=self._canonical(task),
            recipe_hash=self._hash(),
            command=command,
        )

    def sweep(self, *, data: Path | None, command: str) -> Sweep:
        """The sweep that this recipe describes; the task is built, and nothing is trained.

        Args:
            data: the data folder, for tasks that need one.
            command: what the user typed, for the records.
        """
        if self.compare is not None:
            raise InputError(f"recipe {self.name!r} describes a comparison; run it with `paretorch compare`")
        task = make_task(self.task, options=self.task_options, data=data)
        return Sweep(
            name=self.name,
            task=task,
            settings=self.train.settings(),
            seeds=self.seeds,
            dense_epochs=self.dense.epochs,
            dense_schedule=self.dense.curve(self.train.lr),
            dense=self._dense(data),
            arms=self.arms(),
            recipe=self._canonical(task),
            recipe_hash=self._hash(),
            command=command,
        )

    def _contest(self, *, data: Path | None) -> Contest:
        assert self.compare is not None

        @cache
        def task_of(options: str) -> Task:
            return make_task(self.task, options=self.task_options | json.loads(options), data=data)

        return Contest(
            self.compare,
            train=self.train,
            dense=self.dense,
            arms=self.arm,
            dense_arms=self.dense_arm,
            task_of=lambda options: task_of(json.dumps(options, sort_keys=True)),
        )

    def _dense(self, data: Path | None) -> DenseSource:
        return PublishedDense(name=self.dense.published, data=data) if self.dense.published else TrainedDense()

    def _canonical(self, task: Task) -> str:
        return self._text + _task_file_digest(self.task) + _own_description(task)

    def _hash(self) -> str:
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


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
