"""`[[arm]]` with `method = "sms"`: copies of one pruned model, retrained and averaged.

Arms that differ only in the last merge share the copies: they are trained once per seed, and each arm is charged for
all of them.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from paretorch.errors import InputError
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.sms import SMS
from paretorch.pipelines.sms.merge import SoupKind
from paretorch.recipes.imp_table import PrunedTable
from paretorch.recipes.strict import NotNegative


class SmsTable(PrunedTable):
    """The keys of pruning, and how many copies there are, in what they differ, and how they are merged."""

    lists: ClassVar[tuple[str, ...]] = ("values",)

    method: Literal["sms"]
    copies: Annotated[int, Field(ge=1)] = 3
    vary: Literal["seed", "weight_decay", "lr", "length"] = "seed"
    values: Annotated[list[NotNegative], Field(min_length=1)] | None = None
    soup: SoupKind = "uniform"
    guard: bool = True

    def arm(self) -> Arm:
        if self.tune_lr:
            raise InputError(
                "tune_lr chooses among whole arms, and the copies of a soup belong to no arm alone; write lr = "
                f"{self.tune_lr}, which makes an arm of each rate"
            )
        self.check_pruning()
        sms = SMS(
            sparsity=self.sparsity,
            epochs=self.epochs,
            minutes=self.minutes,
            cycles=self.cycles,
            copies=self.copies,
            vary=self.vary,
            values=None if self.values is None else tuple(self.values),
            soup=self.soup,
            guard=self.guard,
            selection=self.selection(),
            retraining=self.retraining_of_cycles(),
        )
        return self.pruned_arm(sms, method="SMS", special=self._special_soup())

    def _special_soup(self) -> dict[str, Any]:
        found = {
            "copies": self.copies,
            "soup": self.soup,
            "vary": self.vary if self.vary != "seed" else None,
            "values": None if self.values is None else ", ".join(f"{value:g}" for value in self.values),
            "guard": None if self.guard else "off",
        }
        return {name: value for name, value in found.items() if value is not None}
