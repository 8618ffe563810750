"""`[[arm]]` with a method that makes a model sparse while it trains from scratch; `method` is the id of its card."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from paretorch.errors import InputError
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.gradual.gmp import GMP
from paretorch.methods.sparsity.gradual.schedule import Interval
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.gradual import GradualPruning
from paretorch.recipes.arm_table import BATCHES, ArmTable
from paretorch.recipes.bimp_table import TOTAL
from paretorch.recipes.strict import Positive, Sparsity


class GradualTable(ArmTable):
    """What all of them have in common. A subclass says what people call it, and makes the method from its keys.

    Attributes:
        words: what people call the method.
    """

    lists: ClassVar[tuple[str, ...]] = ("tune_lr", "include", "exclude")
    words: ClassVar[str]

    sparsity: Sparsity
    epochs: Positive
    lr: Positive | None = None
    tune_lr: list[Positive] = Field(default=[])
    include: list[str] | None = None
    exclude: list[str] | None = None
    reestimate_batches: Annotated[int, Field(ge=0)] = BATCHES

    @abstractmethod
    def kind(self) -> Callable[..., GradualMethod]:
        """The class of the method with its own settings, to be called with `sparsity`, `include` and `exclude`."""

    def special(self) -> Mapping[str, Any]:
        """Settings of the method that differ from the usual ones, for names: all keys of the subclass."""
        own = type(self).model_fields.keys() - GradualTable.model_fields.keys()
        fields = {name: field for name, field in type(self).model_fields.items() if name in own}
        given = {name: getattr(self, name) for name, field in fields.items()}
        return {name.replace("_", " "): value for name, value in given.items() if value != fields[name].get_default()}

    def arm(self) -> Arm:
        if self.tune_lr and self.lr is not None:
            raise InputError("an arm has either `lr` or `tune_lr`")
        if len(set(self.tune_lr)) < len(self.tune_lr):
            raise InputError(f"tune_lr = {self.tune_lr} holds a rate twice, which would be trained and charged twice")
        special = {name: value for name, value in self._special().items() if value is not None}
        tuned = {"tuned": True} if self.tune_lr else {}
        words = f"{self.words}{' tuned' if self.tune_lr else ''} {self.sparsity * 100:.4g} % {self.epochs:g} epochs"
        parts = [words, *(str(value) if name == "allocation" else f"{name} {value}" for name, value in special.items())]
        method = partial(self.kind(), sparsity=self.sparsity, include=self.include, exclude=self.exclude)
        return Arm(
            id=f"{self.method}-{self.digest()}",
            label=self.name or " ".join(parts),
            factors={"method": self.words, "sparsity": self.sparsity, TOTAL: self.epochs} | tuned | special,
            compression=GradualPruning(
                method=method, epochs=self.epochs, lr=self.lr, reestimate_batches=self.reestimate_batches
            ),
            rates=tuple(self.tune_lr),
        )

    def _special(self) -> dict[str, Any]:
        return {
            **self.special(),
            "lr": self.lr,
            "only": ", ".join(self.include) if self.include else None,
            "without": ", ".join(self.exclude) if self.exclude else None,
            "batch-norm batches": self.reestimate_batches if self.reestimate_batches != BATCHES else None,
        }


class GmpTable(GradualTable):
    """Gradual magnitude pruning."""

    random_control: ClassVar[Mapping[str, Any] | None] = {"allocation": "random"}
    words: ClassVar[str] = "GMP"

    method: Literal["gmp"]
    interval: Positive | None = None
    interval_steps: Annotated[int, Field(ge=1)] | None = None
    allocation: str = "global"
    allow_recovering: bool = False

    def kind(self) -> Callable[..., GradualMethod]:
        interval = Interval(epochs=self.interval, steps=self.interval_steps)
        return partial(GMP, interval=interval, allocation=self.allocation, allow_recovering=self.allow_recovering)
