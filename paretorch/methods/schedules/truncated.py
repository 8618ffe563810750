"""The beginning of a longer schedule: what a run that is stopped early has had.

    lr(t) = whole(t),  t < N <= whole.num_steps

It is a baseline to beat and nothing to train with: the learning rate has not come down where it ends.
"""

from dataclasses import dataclass

from paretorch.errors import InputError
from paretorch.methods.schedules.base import Schedule


@dataclass(frozen=True, kw_only=True)
class Truncated(Schedule):
    """The first `num_steps` steps of `whole`.

    Raises:
        InputError: if `whole` is shorter.
    """

    whole: Schedule

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_steps > self.whole.num_steps:
            raise InputError(
                f"num_steps = {self.num_steps} is more than the {self.whole.num_steps} steps of the schedule that is "
                "to be cut short"
            )

    def lr_at(self, step: int) -> float:
        """That of the whole schedule."""
        return self.whole.lr_at(step)
