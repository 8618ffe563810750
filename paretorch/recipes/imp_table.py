"""`[[arm]]` with `method = "imp"`, which is what an arm is if it does not say: iterative magnitude pruning."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from paretorch.errors import InputError
from paretorch.methods.schedules import NormScope
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.compression import Compression
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.pruning_step import Selection
from paretorch.pipelines.retraining import Retraining
from paretorch.recipes.arm_table import RetrainedTable, check_rates
from paretorch.recipes.strict import Sparsity


class PrunedTable(RetrainedTable):
    """The keys of arms that prune by magnitude in cycles and retrain after each."""

    lists: ClassVar[tuple[str, ...]] = ("tune_lr", "include", "exclude")
    random_control: ClassVar[Mapping[str, Any] | None] = {"allocation": "random"}

    sparsity: Sparsity | None = None
    cycles: Annotated[int, Field(ge=1)] = 1
    allocation: str = "global"
    layer_sparsity: Annotated[dict[str, Sparsity], Field(min_length=1)] | None = None
    include: list[str] | None = None
    exclude: list[str] | None = None
    norm_scope: NormScope = "prunable"
    keep_optimizer: bool = False

    def pruned_arm(self, compression: Compression, *, method: str, special: Mapping[str, Any]) -> Arm:
        """The arm of a compression.

        Args:
            compression: what is done.
            method: what people call it.
            special: settings that differ from the usual ones, beside those of pruning.
        """
        factors: dict[str, Any] = {"method": method, "cycles": self.cycles}
        if self.sparsity is not None:
            factors["sparsity"] = self.sparsity
        goal = "per layer" if self.sparsity is None else f"{self.sparsity * 100:.4g} %"
        return self.retrained_arm(compression, factors=factors, goal=goal, special=self._special() | dict(special))

    def selection(self) -> Selection:
        """What is pruned."""
        return Selection(allocation=self.layer_sparsity or self.allocation, include=self.include, exclude=self.exclude)

    def retraining_of_cycles(self) -> Retraining:
        """How each cycle is retrained."""
        return self.retraining(norm_scope=self.norm_scope, keep_optimizer=self.keep_optimizer)

    def check_pruning(self) -> None:
        """Refuse keys that exclude one another.

        Raises:
            InputError: saying which.
        """
        check_rates(self.lr, self.tune_lr)
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


class ImpTable(PrunedTable):
    """Weights are zero, shapes stay."""

    method: Literal["imp"] = "imp"

    def arm(self) -> Arm:
        self.check_pruning()
        imp = IMP(
            sparsity=self.sparsity,
            epochs=self.epochs,
            minutes=self.minutes,
            cycles=self.cycles,
            selection=self.selection(),
            retraining=self.retraining_of_cycles(),
        )
        return self.pruned_arm(imp, method="IMP", special={})
