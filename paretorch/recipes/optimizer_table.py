"""An optimizer and its settings as keys of a table: of `[train]`, and of an `[[arm]]` that brings one of its own."""

from typing import Annotated

from pydantic import Field

from paretorch.errors import InputError
from paretorch.recipes.strict import NotNegative, Positive, Strict
from paretorch.training.settings import OptimizerName, OptimizerSpec


class OptimizerTable(Strict):
    """Keys of an optimizer."""

    optimizer: OptimizerName = "sgd"
    lr: Positive = 0.1
    momentum: NotNegative = 0.9
    nesterov: bool = False
    weight_decay: NotNegative = 0.0
    eps: Positive | None = None
    betas: Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)] | None = None

    def spec(self) -> OptimizerSpec:
        """The same as a trainer takes it.

        Raises:
            InputError: for a setting that the chosen optimizer does not have.
        """
        sgd = self.optimizer == "sgd"
        if foreign := sorted(self.model_fields_set & ({"eps", "betas"} if sgd else {"momentum", "nesterov"})):
            verb, owner = "belongs" if len(foreign) == 1 else "belong", "adaptive optimizers" if sgd else "sgd"
            raise InputError(f"{' and '.join(foreign)} {verb} to {owner}; optimizer {self.optimizer!r} has none")
        return OptimizerSpec(
            name=self.optimizer,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            eps=self.eps,
            betas=None if self.betas is None else (self.betas[0], self.betas[1]),
        )
