"""`[[arm]]`: ways to compress the dense model; lists in a table expand into a grid."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from paretorch.errors import InputError
from paretorch.methods.schedules import NormScope
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.pruning_step import Selection
from paretorch.pipelines.retraining import Retraining
from paretorch.recipes.strict import NotNegative, Positive, Sparsity, Strict, validated

LIST_VALUED = ("tune_lr", "include", "exclude")


class ArmTable(Strict):
    """One point of an `[[arm]]` grid."""

    name: str | None = None
    sparsity: Sparsity | None = None
    epochs: NotNegative | None = None
    minutes: NotNegative | None = None
    cycles: Annotated[int, Field(ge=1)] = 1
    schedule: str = "ALLR"
    lr: Positive | None = None
    tune_lr: list[Positive] = Field(default=[])
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
            label=self.name or self._label(schedule, special),
            factors=factors | special,
            compression=imp,
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


def expand(tables: Sequence[Mapping[str, Any]]) -> list[Arm]:
    """The arms of all grid points of all `[[arm]]` tables, in order.

    Raises:
        InputError: for an invalid point, the same point twice, or two points that reports could not tell apart.
    """
    arms = [arm_at(point, where) for point, where in grid(tables)]
    seen: dict[str, Arm] = {}
    for arm in arms:
        if (other := seen.setdefault(arm.label, arm)) is arm:
            continue
        differ = "" if other.id == arm.id else ", with settings that its name does not tell apart"
        raise InputError(f"the arm {arm.label!r} appears twice in the recipe{differ}")
    return arms


def grid(tables: Sequence[Mapping[str, Any]]) -> list[tuple[dict[str, Any], str]]:
    """Every combination of the lists in each table, and where it stands; lists by nature are left alone.

    Raises:
        InputError: for an empty list.
    """
    found = []
    for number, table in enumerate(tables):
        where = f"[[arm]] number {number + 1}"
        if empty := [key for key, value in table.items() if value == [] and key not in LIST_VALUED]:
            raise InputError(f"{where}: {empty[0]} = [] leaves no arm; give at least one value, or remove the table")
        axes = [
            value if isinstance(value, list) and key not in LIST_VALUED else [value] for key, value in table.items()
        ]
        found += [(dict(zip(table, values, strict=True)), where) for values in itertools.product(*axes)]
    return found


def arm_at(point: Mapping[str, Any], where: str) -> Arm:
    """The arm of one grid point.

    Raises:
        InputError: beginning with `where`.
    """
    table = validated(ArmTable, point, where=where)
    try:
        return table.arm()
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
