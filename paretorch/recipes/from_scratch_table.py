"""`[[arm]]` with `method = "train"`: a whole model, trained from scratch with an optimizer of the arm's own."""

from typing import Any, ClassVar, Literal

from paretorch.evidence.arms import OPTIMIZER, RATE
from paretorch.evidence.words import factor
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.from_scratch import FromScratch
from paretorch.recipes.arm_table import ArmTable
from paretorch.recipes.bimp_table import TOTAL
from paretorch.recipes.optimizer_table import OptimizerTable
from paretorch.recipes.strict import Positive
from paretorch.training.settings import OptimizerName

TITLES: dict[OptimizerName, str] = {
    "sgd": "SGD",
    "adam": "Adam",
    "adamw": "AdamW",
    "avagrad": "AvaGrad",
    "avagradw": "AvaGradW",
    "delayed-adam": "Delayed Adam",
}


class FromScratchTable(OptimizerTable, ArmTable):
    """One training; lists of `lr` and `eps` make the grid that a report draws as a heat map."""

    lists: ClassVar[tuple[str, ...]] = ("betas",)

    method: Literal["train"]
    epochs: Positive
    optimizer: OptimizerName
    lr: Positive

    def arm(self) -> Arm:
        title, special = TITLES[self.optimizer], self._special()
        words = [factor(name, value) for name, value in special.items()]
        return Arm(
            id=f"{self.method}-{self.optimizer}-{self.digest()}",
            label=self.name or " ".join([title, f"{self.epochs:g} epochs lr {self.lr:g}", *words]),
            factors={OPTIMIZER: title, TOTAL: self.epochs, RATE: self.lr} | special,
            compression=FromScratch(epochs=self.epochs, optimizer=self.spec()),
        )

    def _special(self) -> dict[str, Any]:
        """The settings that differ from the usual ones, for names and factors: two arms must never look alike."""
        own = ("eps", "betas", "momentum", "nesterov", "weight_decay")
        usual = {name: field.get_default() for name, field in type(self).model_fields.items()}
        found = {name.replace("_", " "): getattr(self, name) for name in own if getattr(self, name) != usual[name]}
        return found | ({"betas": ", ".join(f"{beta:g}" for beta in self.betas)} if self.betas is not None else {})
