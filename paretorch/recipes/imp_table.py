"""`[[arm]]` with `method = "imp"`, which is what an arm is if it does not say: iterative magnitude pruning."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from paretorch.errors import InputError
from paretorch.methods.schedules import NormScope
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.pruning_step import Selection
from paretorch.recipes.arm_table import RetrainedTable
from paretorch.recipes.strict import Sparsity


class ImpTable(RetrainedTable):
    """Weights are zero, shapes stay."""

    lists: ClassVar[tuple[str, ...]] = ("tune_lr", "include", "exclude")
    random_control: ClassVar[Mapping[str, Any] | None] = {"allocation": "random"}

    method: Literal["imp"] = "imp"
    sparsity: Sparsity | None = None
    cycles: Annotated[int, Field(ge=1)] = 1
    allocation: str = "global"
    layer_sparsity: Annotated[dict[str, Sparsity], Field(min_length=1)] | None = None
    include: list[str] | None = None
    exclude: list[str] | None = None
    norm_scope: NormScope = "prunable"
    keep_optimizer: bool = False

    def arm(self) -> Arm:
        self._check()
        factors: dict[str, Any] = {"method": "IMP", "cycles": self.cycles}
        if self.sparsity is not None:
            factors["sparsity"] = self.sparsity
        imp = IMP(
            sparsity=self.sparsity,
            epochs=self.epochs,
            minutes=self.minutes,
            cycles=self.cycles,
            selection=Selection(
                allocation=self.layer_sparsity or self.allocation, include=self.include, exclude=self.exclude
            ),
            retraining=self.retraining(norm_scope=self.norm_scope, keep_optimizer=self.keep_optimizer),
        )
        goal = "per layer" if self.sparsity is None else f"{self.sparsity * 100:.4g} %"
        return self.retrained_arm(imp, factors=factors, goal=goal, special=self._special())

    def _check(self) -> None:
        """Refuse keys that exclude one another."""
        self.check_rates()
        if (self.sparsity is None) == (self.layer_sparsity is None):
            raise InputError("an arm has either `sparsity` or `layer_sparsity`")
        if self.layer_sparsity is not None and self.allocation != "global":
            raise InputError("`layer_sparsity` is an allocation of its own; leave `allocation` out")

    def _special(self) -> dict[str, Any]:
        layers = ", ".join(f"{pattern} {sparsity:g}" for pattern, sparsity in (self.layer_sparsity or {}).items())
        rates = self.special_rates()
        found = {
            "allocation": layers or (self.allocation if self.allocation != "global" else None),
            "lr": rates["lr"],
            "norm": self.norm_scope if self.norm_scope != "prunable" else None,
            "optimizer": "kept" if self.keep_optimizer else None,
            "only": ", ".join(self.include) if self.include else None,
            "without": ", ".join(self.exclude) if self.exclude else None,
            "batch-norm batches": rates["batch-norm batches"],
        }
        return {name: value for name, value in found.items() if value is not None}
