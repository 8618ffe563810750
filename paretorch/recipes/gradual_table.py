"""`[[arm]]` with a method that makes a model sparse while it trains from scratch; `method` is the id of its card."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from paretorch.methods.sparsity.continuous.method import ContinuousSparsification
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.gradual.dnw import DNW
from paretorch.methods.sparsity.gradual.dpf import DPF
from paretorch.methods.sparsity.gradual.dst import DST
from paretorch.methods.sparsity.gradual.gmp import GMP
from paretorch.methods.sparsity.gradual.gsm import GSM
from paretorch.methods.sparsity.gradual.lc import LC
from paretorch.methods.sparsity.gradual.rigl import RigL
from paretorch.methods.sparsity.gradual.schedule import Interval
from paretorch.methods.sparsity.gradual.soft_threshold import SoftThreshold
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.gradual import GradualPruning
from paretorch.recipes.arm_table import BATCHES, ArmTable, check_rates
from paretorch.recipes.bimp_table import TOTAL
from paretorch.recipes.strict import Finite, NotNegative, Positive, Sparsity

Steps = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]


class GradualTable(ArmTable):
    """What all of them have in common.

    Attributes:
        words: what people call the method.
        made: its class.
    """

    lists: ClassVar[tuple[str, ...]] = ("tune_lr", "include", "exclude")
    added_later: ClassVar[tuple[str, ...]] = ("finetune_epochs", "finetune_lr")
    words: ClassVar[str]
    made: ClassVar[Callable[..., GradualMethod]]

    sparsity: Sparsity
    epochs: Positive
    finetune_epochs: NotNegative = 0.0
    lr: Positive | None = None
    finetune_lr: Positive | None = None
    tune_lr: list[Positive] = Field(default=[])
    include: list[str] | None = None
    exclude: list[str] | None = None
    reestimate_batches: Annotated[int, Field(ge=0)] = BATCHES

    def settings(self) -> Mapping[str, Any]:
        """Keyword arguments of the method beside those that all have: by default the keys that are its table's own."""
        return {name: getattr(self, name) for name in self._own()}

    def arm(self) -> Arm:
        check_rates(self.lr, self.tune_lr)
        special = self._special()
        words = f"{self.words}{' tuned' if self.tune_lr else ''} {self.sparsity * 100:.4g} % {self.epochs:g} epochs"
        parts = [words, *(str(value) if name == "allocation" else f"{name} {value}" for name, value in special.items())]
        tuned = {"tuned": True} if self.tune_lr else {}
        method = partial(
            type(self).made, sparsity=self.sparsity, include=self.include, exclude=self.exclude, **self.settings()
        )
        return Arm(
            id=f"{self.method}-{self.digest()}",
            label=self.name or " ".join(parts),
            factors={"method": self.words, "sparsity": self.sparsity, TOTAL: self.epochs} | tuned | special,
            compression=GradualPruning(
                method=method,
                epochs=self.epochs,
                finetune_epochs=self.finetune_epochs,
                lr=self.lr,
                finetune_lr=self.finetune_lr,
                reestimate_batches=self.reestimate_batches,
            ),
            rates=tuple(self.tune_lr),
        )

    @classmethod
    def _own(cls) -> list[str]:
        return [name for name in cls.model_fields if name not in GradualTable.model_fields]

    def _special(self) -> dict[str, Any]:
        """The settings that differ from the usual ones, for names and factors: two arms must never look alike."""
        usual = {name: field.get_default() for name, field in type(self).model_fields.items()}
        found = {
            name.replace("_", " "): getattr(self, name) for name in self._own() if getattr(self, name) != usual[name]
        }
        found |= {
            "fine-tuning epochs": self.finetune_epochs or None,
            "lr": self.lr,
            "fine-tuning lr": self.finetune_lr,
            "only": ", ".join(self.include) if self.include else None,
            "without": ", ".join(self.exclude) if self.exclude else None,
            "batch-norm batches": self.reestimate_batches if self.reestimate_batches != BATCHES else None,
        }
        return {name: value for name, value in found.items() if value is not None}


class GmpTable(GradualTable):
    """Gradual magnitude pruning."""

    words: ClassVar[str] = "GMP"
    made: ClassVar[Callable[..., GradualMethod]] = GMP

    method: Literal["gmp"]
    interval: Positive | None = None
    interval_steps: Steps | None = None
    allocation: str = "global"
    allow_recovering: bool = False

    def settings(self) -> Mapping[str, Any]:
        return {
            "interval": Interval(epochs=self.interval, steps=self.interval_steps),
            "allocation": self.allocation,
            "allow_recovering": self.allow_recovering,
        }


class GsmTable(GradualTable):
    """Gradients of the most important weights alone."""

    words: ClassVar[str] = "GSM"
    made: ClassVar[Callable[..., GradualMethod]] = GSM

    method: Literal["gsm"]


class LcTable(GradualTable):
    """Weight decay on the smallest weights alone."""

    words: ClassVar[str] = "LC"
    made: ClassVar[Callable[..., GradualMethod]] = LC

    method: Literal["lc"]


class DpfTable(GradualTable):
    """Pruned weights are trained on by feedback."""

    words: ClassVar[str] = "DPF"
    made: ClassVar[Callable[..., GradualMethod]] = DPF

    method: Literal["dpf"]
    interval: Positive | None = None
    interval_steps: Steps | None = None
    refresh_steps: Steps = 16

    def settings(self) -> Mapping[str, Any]:
        interval = Interval(epochs=self.interval, steps=self.interval_steps)
        return {"interval": interval, "refresh_steps": self.refresh_steps}


class DnwTable(GradualTable):
    """The largest weights of every step."""

    words: ClassVar[str] = "DNW"
    made: ClassVar[Callable[..., GradualMethod]] = DNW

    method: Literal["dnw"]
    refresh_steps: Steps = 1


class SoftThresholdTable(GradualTable):
    """A learned threshold per layer."""

    words: ClassVar[str] = "STR"
    made: ClassVar[Callable[..., GradualMethod]] = SoftThreshold

    method: Literal["soft-threshold"]
    initial: Finite = -5.0
    threshold_decay: NotNegative = 5e-3


class DstTable(GradualTable):
    """A learned threshold per output channel."""

    words: ClassVar[str] = "DST"
    made: ClassVar[Callable[..., GradualMethod]] = DST

    method: Literal["dst"]
    penalty: NotNegative = 1e-4


class ContinuousTable(GradualTable):
    """Soft masks that become binary."""

    words: ClassVar[str] = "CS"
    made: ClassVar[Callable[..., GradualMethod]] = ContinuousSparsification

    method: Literal["continuous-sparsification"]
    initial: Finite = -0.1
    final_beta: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 200.0
    strength: NotNegative = 1.0
    penalty: NotNegative = 0.0
    ending: Literal["top-k", "threshold"] = "top-k"
    scaled: bool | None = None
    mask_lr: Positive = 0.1


class RiglTable(GradualTable):
    """A sparse model whose connections move."""

    words: ClassVar[str] = "RigL"
    made: ClassVar[Callable[..., GradualMethod]] = RigL

    method: Literal["rigl"]
    allocation: Literal["erk", "uniform"] = "erk"
    interval_steps: Steps = 100
    end: Fraction = 0.75
    alpha: Fraction = 0.3

    def settings(self) -> Mapping[str, Any]:
        return {"allocation": self.allocation, "interval": self.interval_steps, "end": self.end, "alpha": self.alpha}
