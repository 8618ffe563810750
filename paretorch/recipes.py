"""Recipes: TOML in, a validated sweep out. Lists in an arm expand into a grid; unknown keys stop before any work.

name = "my-sweep"
task = "digits"              # or file.py:factory
seeds = [0, 1, 2]
[train]    batch_size, optimizer, lr, momentum, weight_decay, ...
[dense]    epochs, schedule, ...
[[arm]]    sparsity = [0.8, 0.9], epochs = 2, schedule = ["LLR", "ALLR"], ...
"""

import hashlib
import itertools
import json
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from paretorch.errors import InputError
from paretorch.methods.schedules import Constant, Cosine, Linear, MultiStep, NormScope, Schedule
from paretorch.pipelines.dense import PublishedDense, TrainedDense
from paretorch.pipelines.imp import IMP, Retraining
from paretorch.pipelines.pruning_step import Selection
from paretorch.pipelines.sweep import Arm, Sweep
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.task import Task
from paretorch.training.tasks.registry import make_task

Table = TypeVar("Table", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Sparsity = Annotated[float, Field(ge=0, lt=1)]
FolderName = Annotated[str, Field(pattern=r"^\w[\w .+-]*$")]  # `run` writes to runs/NAME


class TrainTable(_Strict):
    """`[train]`: how every phase is trained."""

    batch_size: Annotated[int, Field(ge=1)] = 128
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: Positive = 0.1
    momentum: NotNegative = 0.9
    nesterov: bool = False
    weight_decay: NotNegative = 0.0
    clip_norm: Positive | None = None
    accumulate: Annotated[int, Field(ge=1)] = 1
    precision: Literal["no", "bf16", "fp16"] = "no"
    device: str | None = None
    checkpoint_seconds: NotNegative = 30.0

    def settings(self) -> TrainSettings:
        """The same as the trainer takes it.

        Raises:
            InputError: for a setting that the chosen optimizer does not have.
        """
        if self.optimizer != "sgd" and (ignored := sorted(self.model_fields_set & {"momentum", "nesterov"})):
            raise InputError(f"[train] {' and '.join(ignored)} belong to sgd; optimizer {self.optimizer!r} has none")
        return TrainSettings(
            batch_size=self.batch_size,
            optimizer=OptimizerSpec(
                name=self.optimizer,
                lr=self.lr,
                momentum=self.momentum,
                nesterov=self.nesterov,
                weight_decay=self.weight_decay,
            ),
            clip_norm=self.clip_norm,
            accumulate=self.accumulate,
            precision=self.precision,
            device=self.device,
            checkpoint_seconds=self.checkpoint_seconds,
        )


class DenseTable(_Strict):
    """`[dense]`: length and learning-rate curve of dense training; the peak is `[train] lr`.

    With `published`, published weights stand for the dense model, and the rest says how they were trained.
    """

    epochs: Positive
    published: str | None = None
    schedule: Literal["multistep", "linear", "cosine", "constant"] = "multistep"
    milestones: list[float] = [0.5, 0.75]
    factor: Positive = 0.1
    warmup: NotNegative = 0.0

    def curve(self, peak: float) -> Callable[[int], Schedule]:
        """The schedule as a function of its number of steps.

        Raises:
            InputError: for a setting that the chosen schedule does not have.
        """
        if self.schedule != "multistep" and (ignored := sorted(self.model_fields_set & {"milestones", "factor"})):
            raise InputError(f"[dense] {' and '.join(ignored)} belong to multistep; {self.schedule!r} has none")

        def build(num_steps: int) -> Schedule:
            if self.schedule == "multistep":
                return MultiStep(
                    num_steps=num_steps,
                    peak=peak,
                    warmup=self.warmup,
                    milestones=tuple(self.milestones),
                    factor=self.factor,
                )
            kind = {"linear": Linear, "cosine": Cosine, "constant": Constant}[self.schedule]
            return kind(num_steps=num_steps, peak=peak, warmup=self.warmup)

        return build


class ArmTable(_Strict):
    """One point of an `[[arm]]` grid."""

    sparsity: Sparsity | None = None
    epochs: NotNegative | None = None
    minutes: NotNegative | None = None
    cycles: Annotated[int, Field(ge=1)] = 1
    schedule: str = "ALLR"
    lr: Positive | None = None
    tune_lr: list[Positive] = []
    allocation: str = "global"
    layer_sparsity: Annotated[dict[str, Sparsity], Field(min_length=1)] | None = None
    include: list[str] | None = None
    exclude: list[str] | None = None
    norm_scope: NormScope = "prunable"
    keep_optimizer: bool = False
    reestimate_batches: Annotated[int, Field(ge=0)] = 20

    def arm(self) -> Arm:
        """The pipeline of this point."""
        self._check()
        schedule = self.schedule.upper()
        budget = {"epochs": self.epochs} if self.epochs is not None else {"minutes": self.minutes}
        factors: dict[str, Any] = {"method": "IMP", "schedule": schedule, **budget, "cycles": self.cycles}
        if self.sparsity is not None:
            factors["sparsity"] = self.sparsity
        if self.tune_lr:
            factors["tuned"] = True
        special = self._special()
        imp = IMP(
            sparsity=self.sparsity,
            epochs=self.epochs,
            minutes=self.minutes,
            cycles=self.cycles,
            selection=Selection(
                allocation=self.layer_sparsity or self.allocation, include=self.include, exclude=self.exclude
            ),
            retraining=Retraining(
                schedule=schedule,
                lr=self.lr,
                norm_scope=self.norm_scope,
                keep_optimizer=self.keep_optimizer,
                reestimate_batches=self.reestimate_batches,
            ),
        )
        identity = json.dumps(self.model_dump(), sort_keys=True)
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        return Arm(
            id=f"imp-{schedule.lower()}-{digest}",
            label=self._label(schedule, special),
            factors=factors | special,
            imp=imp,
            rates=tuple(self.tune_lr),
        )

    def _check(self) -> None:
        """Refuse keys that exclude one another."""
        if self.tune_lr and self.lr is not None:
            raise InputError("an arm has either `lr` or `tune_lr`")
        if len(set(self.tune_lr)) < len(self.tune_lr):
            raise InputError(f"tune_lr = {self.tune_lr} holds a rate twice, which would be trained and charged twice")
        if (self.sparsity is None) == (self.layer_sparsity is None):
            raise InputError("an arm has either `sparsity` or `layer_sparsity`")
        if self.layer_sparsity is not None and self.allocation != "global":
            raise InputError("`layer_sparsity` is an allocation of its own; leave `allocation` out")

    def _special(self) -> dict[str, Any]:
        """The settings that differ from the usual ones, for names and factors: two arms must never look alike."""
        layers = ", ".join(f"{pattern} {sparsity:g}" for pattern, sparsity in (self.layer_sparsity or {}).items())
        found = {
            "allocation": layers or (self.allocation if self.allocation != "global" else None),
            "lr": self.lr,
            "norm": self.norm_scope if self.norm_scope != "prunable" else None,
            "optimizer": "kept" if self.keep_optimizer else None,
            "only": ", ".join(self.include) if self.include else None,
            "without": ", ".join(self.exclude) if self.exclude else None,
            "batch-norm batches": self.reestimate_batches if self.reestimate_batches != 20 else None,
        }
        return {name: value for name, value in found.items() if value is not None}

    def _label(self, schedule: str, special: Mapping[str, Any]) -> str:
        amount = f"{self.epochs:g} epochs" if self.epochs is not None else f"{self.minutes:g} minutes"
        goal = "per layer" if self.sparsity is None else f"{self.sparsity * 100:.4g} %"
        parts = [f"IMP {schedule}{' tuned' if self.tune_lr else ''} {goal} {amount}"]
        parts += [f"{self.cycles} cycles"] if self.cycles > 1 else []
        parts += [str(value) if name == "allocation" else f"{name} {value}" for name, value in special.items()]
        return " ".join(parts)


LIST_VALUED = ("tune_lr", "include", "exclude")


class Recipe(_Strict):
    """A whole recipe file."""

    name: FolderName
    task: str
    task_options: dict[str, Any] = {}
    seeds: Annotated[list[int], Field(min_length=1)] = [0, 1, 2]
    train: TrainTable = TrainTable()
    dense: DenseTable
    arm: list[dict[str, Any]] = []
    _text: str = PrivateAttr("")

    def arms(self) -> list[Arm]:
        """All grid points of all `[[arm]]` tables, in order.

        Raises:
            InputError: for an invalid point, the same point twice, or two points that reports could not tell apart.
        """
        arms: list[Arm] = []
        for number, table in enumerate(self.arm):
            where = f"[[arm]] number {number + 1}"
            arms += [_arm(point, where) for point in _grid(table, where)]
        seen: dict[str, Arm] = {}
        for arm in arms:
            if (other := seen.setdefault(arm.label, arm)) is arm:
                continue
            differ = "" if other.id == arm.id else ", with settings that its name does not tell apart"
            raise InputError(f"the arm {arm.label!r} appears twice in the recipe{differ}")
        return arms

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


def load_recipe(reference: str, *, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe from a TOML file, or by name from those that ship.

    Args:
        reference: a path, or the name of a recipe of the cookbook.
        overrides: top-level keys to replace.

    Raises:
        InputError: if it does not exist, is no TOML, or does not validate; names the nearest known key.
    """
    path = Path(reference)
    if path.suffix == ".toml":
        if not path.is_file():
            raise InputError(f"there is no recipe file {path}; recipes that ship: {', '.join(cookbook())}")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"recipe {reference} cannot be read as UTF-8 text: {error}") from error
    elif reference in cookbook():
        text = (resources.files("paretorch") / "cookbook" / f"{reference}.toml").read_text(encoding="utf-8")
    else:
        near = get_close_matches(reference, cookbook(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"there is no recipe {reference!r}; {hint}recipes that ship: {', '.join(cookbook())}")
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"recipe {reference} is not valid TOML: {error}") from error
    recipe = _validated(Recipe, values | dict(overrides or {}), where=f"recipe {reference}")
    recipe._text = text + "".join(
        f"\n# replaced on the command line: {key} = {value!r}" for key, value in (overrides or {}).items()
    )
    recipe.arms()
    recipe.train.settings()
    recipe.dense.curve(recipe.train.lr)
    return recipe


def cookbook() -> list[str]:
    """Names of the recipes that ship."""
    folder = resources.files("paretorch") / "cookbook"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def _grid(table: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """Every combination of the lists in `table`; keys whose value is a list by nature are left alone."""
    if empty := [key for key, value in table.items() if value == [] and key not in LIST_VALUED]:
        raise InputError(f"{where}: {empty[0]} = [] leaves no arm; give at least one value, or remove the table")
    axes = {
        key: value if isinstance(value, list) and key not in LIST_VALUED else [value] for key, value in table.items()
    }
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _arm(point: dict[str, Any], where: str) -> Arm:
    table = _validated(ArmTable, point, where=where)
    try:
        return table.arm()
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _validated(kind: type[Table], values: Mapping[str, Any], *, where: str) -> Table:
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        problems = [_problem(kind, detail) for detail in error.errors()]
        raise InputError(f"{where}: {'; '.join(problems)}") from error


def _problem(kind: type[BaseModel], detail: Mapping[str, Any]) -> str:
    location = [str(part) for part in detail["loc"]]
    name = ".".join(location)
    if detail["type"] == "extra_forbidden":
        table = kind
        for part in location[:-1]:
            annotation = table.model_fields[part].annotation
            table = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else table
        near = get_close_matches(location[-1], table.model_fields, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(table.model_fields)}"
        return f"unknown key {name!r}; {hint}"
    if detail["type"] == "missing":
        return f"{name} is missing"
    if detail["type"] == "model_type":
        return f"{name} must be one table, written as [{name}]"
    if name == "arm" and detail["type"] == "list_type":
        return "arms are a list of tables, each written as [[arm]] with double brackets"
    return f"{name} = {detail.get('input')!r}: {detail['msg']}"
