"""`[[arm]]` with `method = "train"`: a whole model, trained from scratch with an optimizer of the arm's own."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from paretorch.errors import InputError
from paretorch.evidence.arms import OPTIMIZER, RATE
from paretorch.evidence.words import factor
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.from_scratch import FromScratch
from paretorch.recipes.arm_table import ArmTable
from paretorch.recipes.bimp_table import TOTAL
from paretorch.recipes.strict import NotNegative, Positive
from paretorch.training.settings import OptimizerName, OptimizerSpec

TITLES: dict[OptimizerName, str] = {
    "sgd": "SGD",
    "adam": "Adam",
    "adamw": "AdamW",
    "avagrad": "AvaGrad",
    "avagradw": "AvaGradW",
    "delayed-adam": "Delayed Adam",
}


class FromScratchTable(ArmTable):
    """One training; lists of `lr` and `eps` make the grid that a report draws as a heat map."""

    lists: ClassVar[tuple[str, ...]] = ("betas",)

    method: Literal["train"]
    epochs: Positive
    optimizer: OptimizerName
    lr: Positive
    eps: Positive | None = None
    betas: Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)] | None = None
    momentum: NotNegative = 0.9
    nesterov: bool = False
    weight_decay: NotNegative = 0.0

    def arm(self) -> Arm:
        if self.optimizer != "sgd" and (ignored := sorted(self.model_fields_set & {"momentum", "nesterov"})):
            raise InputError(f"{' and '.join(ignored)} belong to sgd; optimizer {self.optimizer!r} has none")
        spec = OptimizerSpec(
            name=self.optimizer,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            eps=self.eps,
            betas=None if self.betas is None else (self.betas[0], self.betas[1]),
        )
        title, special = TITLES[self.optimizer], self._special()
        words = [factor(name, value) for name, value in special.items()]
        return Arm(
            id=f"{self.method}-{self.optimizer}-{self.digest()}",
            label=self.name or " ".join([title, f"{self.epochs:g} epochs lr {self.lr:g}", *words]),
            factors={OPTIMIZER: title, TOTAL: self.epochs, RATE: self.lr} | special,
            compression=FromScratch(epochs=self.epochs, optimizer=spec),
        )

    def _special(self) -> dict[str, Any]:
        """The settings that differ from the usual ones, for names and factors: two arms must never look alike."""
        own = ("eps", "betas", "momentum", "nesterov", "weight_decay")
        usual = {name: field.get_default() for name, field in type(self).model_fields.items()}
        found = {name.replace("_", " "): getattr(self, name) for name in own if getattr(self, name) != usual[name]}
        return found | ({"betas": ", ".join(f"{beta:g}" for beta in self.betas)} if self.betas is not None else {})
