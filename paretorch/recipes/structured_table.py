"""`[[arm]]` with `method = "structured-cs"`: widths are found by gates while the model trains."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from paretorch.errors import InputError
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.structured import GateSettings, StructuredRun
from paretorch.recipes.arm_table import BudgetTable, check_rates
from paretorch.recipes.strict import Positive

Part = Annotated[float, Field(gt=0, lt=1)]


class StructuredTable(BudgetTable):
    """One training with gates; its budget is the arm's."""

    lists: ClassVar[tuple[str, ...]] = ("tune_lr", "pins")

    method: Literal["structured-cs"]
    params: Part | None = None
    macs: Part | None = None
    schedule: str = "SLR"
    start: Literal["scratch", "dense"] = "scratch"
    window: Annotated[int, Field(ge=1)] = 50
    open_ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    final_beta: Annotated[float, Field(ge=1)] = 200.0
    strength: Positive = 60.0
    gates_lr: Positive = 0.1
    pins: list[str] = Field(default=[])

    def arm(self) -> Arm:
        check_rates(self.lr, self.tune_lr)
        given = {name: part for name, part in (("params", self.params), ("macs", self.macs)) if part is not None}
        if len(given) != 1:
            raise InputError(f'method = "structured-cs" has one target; give either params or macs, not {list(given)}')
        ((cost, part),) = given.items()
        gates = GateSettings(
            target=part,
            cost="params" if cost == "params" else "macs",
            window=self.window,
            open_ratio=self.open_ratio,
            final_beta=self.final_beta,
            strength=self.strength,
            lr=self.gates_lr,
            pins=tuple(self.pins),
        )
        run = StructuredRun(
            gates=gates,
            epochs=self.epochs,
            minutes=self.minutes,
            training=self.retraining(),
            from_dense=self.start == "dense",
        )
        goal = f"about {part * 100:.4g} % {cost}"
        return self.retrained_arm(run, factors={"method": "structured CS", **given}, goal=goal, special=self._special())

    def _special(self) -> dict[str, Any]:
        usual = {
            "start": "scratch",
            "window": 50,
            "open_ratio": 1.0,
            "final_beta": 200.0,
            "strength": 60.0,
            "gates_lr": 0.1,
        }
        found = {name.replace("_", " "): getattr(self, name) for name in usual if getattr(self, name) != usual[name]}
        pinned = {"pinned": ", ".join(self.pins)} if self.pins else {}
        return found | pinned | {name: value for name, value in self.special_rates().items() if value is not None}
