"""`[[arm]]` with `method = "bimp"`: one budget for dense training, pruning and retraining."""

from dataclasses import replace
from typing import Literal

from paretorch.errors import InputError
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.bimp import BIMP
from paretorch.recipes.imp_table import PrunedTable
from paretorch.recipes.strict import Positive


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
        return self.pruned_arm(bimp, method="BIMP", special={"dense epochs": self.dense_epochs})
