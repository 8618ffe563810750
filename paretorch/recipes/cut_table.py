"""`[[arm]]` with `method = "cut"`: units are cut out of the trained model, and the smaller model is retrained."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from paretorch.methods.schedules import NormScope
from paretorch.methods.width.importance import Kind
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.cutting import CutAndRetrain
from paretorch.pipelines.cutting_step import Units
from paretorch.recipes.arm_table import RetrainedTable, check_rates

Part = Annotated[float, Field(gt=0, le=1)]


class CutTable(RetrainedTable):
    """Shapes become smaller."""

    lists: ClassVar[tuple[str, ...]] = ("tune_lr", "pins")

    method: Literal["cut"]
    params: Part | None = None
    macs: Part | None = None
    width: Part | None = None
    spread: Literal["uniform", "global"] = "uniform"
    importance: Kind = "l2"
    round_to: Annotated[int, Field(ge=1)] = 1
    pins: list[str] = Field(default=[])
    norm_scope: NormScope = "prunable"

    def arm(self) -> Arm:
        check_rates(self.lr, self.tune_lr)
        units = Units(
            params=self.params,
            macs=self.macs,
            width=self.width,
            spread=self.spread,
            importance=self.importance,
            round_to=self.round_to,
            pins=tuple(self.pins),
        )
        cut = CutAndRetrain(
            units=units,
            epochs=self.epochs,
            minutes=self.minutes,
            retraining=self.retraining(norm_scope=self.norm_scope),
        )
        goal = " ".join(f"{part * 100:.4g} % {name}" for name, part in units.budgets().items())
        return self.retrained_arm(cut, factors={"method": "cut", **units.budgets()}, goal=goal, special=self._special())

    def _special(self) -> dict[str, Any]:
        rates = self.special_rates()
        found = {
            "spread": self.spread if self.spread != "uniform" else None,
            "importance": self.importance if self.importance != "l2" else None,
            "round to": self.round_to if self.round_to != 1 else None,
            "pinned": ", ".join(self.pins) or None,
            "lr": rates["lr"],
            "norm": self.norm_scope if self.norm_scope != "prunable" else None,
            "batch-norm batches": rates["batch-norm batches"],
        }
        return {name: value for name, value in found.items() if value is not None}
