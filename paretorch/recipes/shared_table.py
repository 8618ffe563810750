"""`[[arm]]` with `method = "share"`: the task's model from scratch, with layers that share templates."""

from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from paretorch.errors import InputError
from paretorch.methods.sharing.soft_sharing import SoftSharing
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.shared import SharedTraining
from paretorch.recipes.arm_table import BATCHES, ArmTable, check_rates
from paretorch.recipes.bimp_table import TOTAL
from paretorch.recipes.strict import NotNegative, Positive


def _counts(value: object) -> object:
    numbers = list(value.values()) if isinstance(value, dict) else [value]
    if not numbers or not all(type(number) is int and number >= 1 for number in numbers):
        raise ValueError("must be a whole number of at least 1, or a table with such a number for each group")
    return value


Templates = Annotated[int | dict[str, int], BeforeValidator(_counts)]
Fraction = Annotated[float, Field(ge=0, le=1)]
BELONG = {"recurrence": ("power", "ramp"), "fold": ("reestimate_batches",)}  # keys that mean nothing without another


class SharedTable(ArmTable):
    """One training; a list of `templates` makes an arm of each number."""

    lists: ClassVar[tuple[str, ...]] = ("tune_lr", "ramp")

    method: Literal["share"]
    templates: Templates
    epochs: Positive
    groups: Annotated[dict[str, list[str]], Field(min_length=1)] | None = None
    unit_rows: bool = False
    recurrence: NotNegative = 0.0
    power: Literal[1, 2] = 1
    ramp: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = Field(default=[0.0, 1.0])
    fold: Annotated[float, Field(gt=0, le=1)] | None = None
    lr: Positive | None = None
    tune_lr: list[Positive] = Field(default=[])
    reestimate_batches: Annotated[int, Field(ge=0)] = BATCHES

    def arm(self) -> Arm:
        check_rates(self.lr, self.tune_lr)
        for owner, names in BELONG.items():
            unheard = sorted({*names} & self.model_fields_set)
            if getattr(self, owner) or not unheard:
                continue
            if owner not in self.model_fields_set:
                verb = "belongs" if len(unheard) == 1 else "belong"
                raise InputError(f"{' and '.join(unheard)} {verb} to {owner}, and there is none; give it, or leave it")
            # the point of a grid over the owner that is without it: what belongs to it makes no other arm
            return type(self)(**self.model_dump(exclude={*unheard}, exclude_unset=True)).arm()
        number, special = self._number(), self._special()
        templates = f"{number} template{'' if number == 1 else 's'}"
        words = f"shared{' tuned' if self.tune_lr else ''} {templates} {self.epochs:g} epochs"
        method = partial(
            SoftSharing,
            templates=self.templates,
            groups=self.groups,
            unit_rows=self.unit_rows,
            recurrence=self.recurrence,
            power=self.power,
            ramp=(self.ramp[0], self.ramp[1]),
        )
        tuned = {"tuned": True} if self.tune_lr else {}
        return Arm(
            id=f"{self.method}-{self.digest()}",
            label=self.name or " ".join([words, *(n if v is True else f"{n} {v}" for n, v in special.items())]),
            factors={"method": "shared", "templates": number, TOTAL: self.epochs} | tuned | special,
            compression=SharedTraining(
                sharing=method,
                epochs=self.epochs,
                fold=self.fold,
                lr=self.lr,
                reestimate_batches=self.reestimate_batches,
            ),
            rates=tuple(self.tune_lr),
        )

    def _number(self) -> int | str:
        if isinstance(self.templates, int):
            return self.templates
        return ", ".join(f"{group} {number}" for group, number in self.templates.items())

    def _special(self) -> dict[str, Any]:
        """The settings that differ from the usual ones, for names and factors: two arms must never look alike."""
        found = {
            "groups": ", ".join(self.groups) if self.groups else None,  # a name for each set of patterns is the user's
            "unit rows": self.unit_rows or None,
            "recurrence": self.recurrence or None,
            "power": self.power if self.power != 1 else None,
            "ramp": None if self.ramp == [0.0, 1.0] else f"{self.ramp[0]:g} to {self.ramp[1]:g}",
            "folded at": self.fold,
            "lr": self.lr,
            "batch-norm batches": self.reestimate_batches if self.reestimate_batches != BATCHES else None,
        }
        return {name: value for name, value in found.items() if value is not None}
