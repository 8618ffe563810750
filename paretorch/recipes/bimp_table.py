"""`[[arm]]` with `method = "bimp"`: one budget for dense training, pruning and retraining."""

from dataclasses import replace
from typing import Literal

from paretorch.errors import InputError
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.bimp import BIMP
from paretorch.recipes.imp_table import PrunedTable
from paretorch.recipes.strict import Positive

TOTAL = "epochs in all"  # the factor of arms whose budget holds dense training too


def without_point(value: float) -> float:
    """A whole number as an int, which is written without a point."""
    return int(value) if value.is_integer() else value


class BimpTable(PrunedTable):
    """Trains from scratch; `epochs` counts everything, and rates are peaks of the dense training."""

    method: Literal["bimp"]
    epochs: Positive
    dense_epochs: Positive

    def arm(self) -> Arm:
        self.check_pruning()
        if self.minutes is not None:
            raise InputError(
                f"minutes = {self.minutes:g}: a budget that dense training and retraining share is given in `epochs`"
            )
        bimp = BIMP(
            sparsity=self.sparsity,
            epochs=self.epochs,
            dense_epochs=self.dense_epochs,
            cycles=self.cycles,
            lr=self.lr,
            selection=self.selection(),
            retraining=replace(self.retraining_of_cycles(), lr=None),
        )
        arm = self.pruned_arm(bimp, method="BIMP", special={"dense epochs": without_point(self.dense_epochs)})
        # "epochs" is what others retrain for
        return replace(arm, factors={TOTAL if key == "epochs" else key: value for key, value in arm.factors.items()})
