"""`[[arm]]` with `method = "reprune"`: independent runs of iterative pruning, averaged and pruned again."""

from typing import Annotated, Literal

from pydantic import Field

from paretorch.errors import InputError
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.sms import RePrune
from paretorch.recipes.imp_table import PrunedTable


class ReprunedTable(PrunedTable):
    """The keys of pruning, and how many runs there are."""

    method: Literal["reprune"]
    copies: Annotated[int, Field(ge=1)] = 3

    def arm(self) -> Arm:
        if self.tune_lr:
            raise InputError(
                "tune_lr would choose a rate for an average, and it is the runs that have rates; write lr = "
                f"{self.tune_lr}, which makes an arm of each rate"
            )
        self.check_pruning()
        reprune = RePrune(
            sparsity=self.sparsity,
            epochs=self.epochs,
            minutes=self.minutes,
            cycles=self.cycles,
            copies=self.copies,
            selection=self.selection(),
            retraining=self.retraining_of_cycles(),
        )
        return self.pruned_arm(reprune, method="IMP-RePrune", special={"copies": self.copies})
