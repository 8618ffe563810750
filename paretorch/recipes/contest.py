"""From a recipe with a `[compare]` table to its families: candidate, baseline, what else is named, and the controls.

Controls answer "is that not simply ...?". A smaller dense model of the same total length; and, for a candidate that
prunes, the same with the weights to remove drawn at random. One can be left out with a reason, which the verdict says.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from paretorch.errors import InputError
from paretorch.methods.schedules import Schedule
from paretorch.pipelines.family import Family
from paretorch.pipelines.pruned_family import PrunedFamily
from paretorch.pipelines.screened_family import ScreenedFamily
from paretorch.pipelines.trained_family import TrainedFamily
from paretorch.recipes.arm_methods import arm_at, grid, table_of
from paretorch.recipes.compare_table import CompareTable, DenseArmTable
from paretorch.recipes.strict import nearest, validated
from paretorch.recipes.train_table import DenseTable, TrainTable
from paretorch.training.task import Task

SMALLER = "smaller model"
NOT_SCREENED = {"tune_lr", "stop_early", "schedule", "milestones", "factor", "warmup"}
TaskOf = Callable[[Mapping[str, Any]], Task]


class Contest:
    """The families of a recipe.

    Args:
        compare: the table.
        train, dense: the recipe's tables.
        arms, dense_arms: the recipe's `[[arm]]` and `[[dense_arm]]` tables as they were read.
        task_of: the recipe's task with some of its options replaced.

    Raises:
        InputError: for a name that is used twice or not at all, an arm with a length of its own, durations that do not
            rise, or a missing control without a reason.
    """

    def __init__(
        self,
        compare: CompareTable,
        *,
        train: TrainTable,
        dense: DenseTable,
        arms: Sequence[Mapping[str, Any]],
        dense_arms: Sequence[Mapping[str, Any]],
        task_of: TaskOf,
    ) -> None:
        self.compare, self.train, self.dense, self.task_of = compare, train, dense, task_of
        if sorted(set(compare.durations)) != compare.durations:
            raise InputError(f"[compare] durations = {compare.durations} must rise, and hold each value once")
        self.pruned = list(grid(arms))
        self.trained = [
            validated(DenseArmTable, table, where=f"[[dense_arm]] number {number + 1}")
            for number, table in enumerate(dense_arms)
        ]
        self._check_names()
        self._check_controls()
        if compare.axis == "energy_j":
            raise InputError(
                "[compare] axis = 'energy_j': a meter reads the whole machine, which the runs of a comparison share; "
                "choose seconds, steps, samples, epochs or flops"
            )
        for table in self.trained:
            if compare.mode == "screening" and (ignored := sorted(table.model_fields_set & NOT_SCREENED)):
                raise InputError(
                    f"{table.where}: {' and '.join(ignored)} cannot be screened, because a screening reads one cyclic "
                    'run; leave it out, or set mode = "claim"'
                )
            if len(set(table.tune_lr)) < len(table.tune_lr):
                raise InputError(f"{table.where}: tune_lr = {table.tune_lr} holds a rate twice")
        for point, where in self.pruned:
            arm = arm_at({**point, "epochs": compare.durations[0]}, where)
            if compare.axis == "flops" and "distillation" in arm.compression.method_ids():
                raise InputError(
                    f"{where}: [compare] axis = 'flops' counts the operations of the student's steps and not those of "
                    "its teacher; choose another axis, such as seconds"
                )

    def families(self) -> list[Family]:
        """All of them, candidate and baseline first."""
        named = self._named()
        first = [named.pop(self.compare.candidate), named.pop(self.compare.baseline)]
        return [*first, *named.values(), *self._controls(first[0])]

    def _named(self) -> dict[str, Family]:
        families: list[Family] = [self._pruned(point, where) for point, where in self.pruned]
        families += [self._trained(table) for table in self.trained]
        return {family.name: family for family in families}

    def _check_names(self) -> None:
        names = [self._name_of(point, where) for point, where in self.pruned] + [table.name for table in self.trained]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"the name {twice[0]!r} is used by two arms; give each its own `name`")
        wanted = {"candidate": self.compare.candidate, "baseline": self.compare.baseline}
        for key, name in wanted.items():
            if name not in names:
                raise InputError(f"[compare] {key} = {name!r} is no arm of this recipe; {nearest(name, names)}")
        if self.compare.candidate == self.compare.baseline:
            raise InputError(f"[compare] candidate and baseline are both {self.compare.candidate!r}")

    def _check_controls(self) -> None:
        if self.compare.smaller is not None and "smaller" in self.compare.left_out:
            raise InputError("[compare] has a smaller model and says why there is none in left_out; remove one of them")
        if self.compare.smaller is None and "smaller" not in self.compare.left_out and self.compare.mode == "claim":
            raise InputError(
                "[compare] needs a smaller dense model as a control: give its task options, such as smaller = "
                '{ hidden = [64, 32] }, or say why there is none: left_out = { smaller = "..." }'
            )

    def _name_of(self, point: Mapping[str, Any], where: str) -> str:
        if own := sorted({"epochs", "minutes"} & point.keys()):
            raise InputError(f"{where}: {own[0]} is not given here; the lengths are [compare] durations")
        if not point.get("name"):
            raise InputError(f"{where}: an arm of a comparison needs a `name`")
        return str(point["name"])

    def _pruned(self, point: Mapping[str, Any], where: str, *, role: str | None = None) -> PrunedFamily:
        arms = {duration: arm_at({**point, "epochs": duration}, where) for duration in self.compare.durations}
        name = str(point["name"])
        return PrunedFamily(
            name=name,
            role=self._role(name) if role is None else role,
            durations=self.compare.durations,
            task=self.task_of({}),
            settings=self.train.settings(),
            arms=arms,
        )

    def _trained(self, table: DenseArmTable) -> Family:
        train = self._train_of(table)
        if self.compare.mode == "screening":
            return ScreenedFamily(
                name=table.name,
                role=self._role(table.name),
                durations=self.compare.durations,
                task=self.task_of(table.task_options),
                settings=train.settings(),
                peak=train.lr,
            )
        return TrainedFamily(
            name=table.name,
            role=self._role(table.name),
            durations=self.compare.durations,
            task=self.task_of(table.task_options),
            task_options=table.task_options,
            settings=train.settings(),
            curve=_curve(table.curve, train.lr),
            rates=tuple(table.tune_lr),
            stop_early=table.stop_early,
        )

    def _train_of(self, table: DenseArmTable) -> TrainTable:
        """`[train]` with the arm's own keys in the place of those that it gives."""
        train = validated(
            TrainTable, self.train.model_dump(exclude_unset=True) | table.train, where=f"{table.where} train"
        )
        if train.optimizer != self.train.optimizer and "lr" not in table.train and not table.tune_lr:
            raise InputError(
                f"{table.where}: lr = {train.lr:g} is that of {self.train.optimizer}; give {train.optimizer} one of "
                "its own in `train`, or `tune_lr`"
            )
        try:
            train.settings()
        except InputError as error:
            raise InputError(f"{table.where}: {error}; keys of [train] hold for every arm") from error
        return train

    def _role(self, name: str) -> str:
        return {self.compare.candidate: "candidate", self.compare.baseline: "baseline"}.get(name, "")

    def _controls(self, candidate: Family) -> list[Family]:
        return [family for family in (self._smaller(candidate), self._random(candidate)) if family is not None]

    def _smaller(self, candidate: Family) -> Family | None:
        if self.compare.smaller is None or self.compare.mode == "screening":
            return None
        return TrainedFamily(
            name=SMALLER,
            role="control:smaller",
            durations=self.compare.durations,
            task=self.task_of(self.compare.smaller),
            task_options=self.compare.smaller,
            settings=self.train.settings(),
            curve=_curve(self.dense.curve, self.train.lr),
            added_epochs=self.dense.epochs if candidate.charges_dense else 0.0,
        )

    def _random(self, candidate: Family) -> Family | None:
        if not candidate.prunes or "random" in self.compare.left_out or self.compare.mode == "screening":
            return None
        point, where = next((p, where) for p, where in self.pruned if p["name"] == candidate.name)
        control = table_of(point, where).random_control
        if control is None or "layer_sparsity" in point:
            what = "with layer_sparsity" if control is not None else f"of method {point['method']!r}"
            raise InputError(
                f"{where}: {what} there is no random version of the candidate to control for; "
                + ("use sparsity, or " if control is not None else "")
                + 'say left_out = { random = "..." } in [compare]'
            )
        changed = {**point, **control, "name": f"{candidate.name}, random weights"}
        return self._pruned(changed, where, role="control:random")


def _curve(
    of_peak: Callable[[float], Callable[[int], Schedule]], peak: float
) -> Callable[[int, float | None], Schedule]:
    """The schedule of a number of steps, at the recipe's peak or at another one."""
    of_peak(peak)  # refuses what the schedule does not have, before anything is run

    def build(num_steps: int, rate: float | None) -> Schedule:
        return of_peak(peak if rate is None else rate)(num_steps)

    return build
