"""The learning rates of the dense run at another length, warm-up included: for training from scratch in its place.

    lr(t) = L[floor(t |L| / N)] * peak / max L         L the recorded sequence, N = num_steps

With N = |L| and the same peak these are the recorded values, entry by entry. Retraining takes SLR instead, which is the
same curve behind a warm-up of its own.
"""

from dataclasses import dataclass

from paretorch.errors import InputError
from paretorch.methods.schedules.base import Schedule, require_lr
from paretorch.methods.schedules.dense import DenseSchedule


@dataclass(frozen=True, kw_only=True)
class Stretched(Schedule):
    """The whole dense schedule over `num_steps` steps.

    Args:
        num_steps: optimizer steps of the phase.
        dense: the recorded learning rates of the dense run.
        peak: highest learning rate, to which all are scaled; None leaves them as they were.

    Raises:
        InputError: if the dense run was not recorded, or has no positive rate to scale.
    """

    dense: DenseSchedule
    peak: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dense.trace is None:
            raise InputError(
                "training from scratch takes the dense run's learning rate at every step, and only its ends are known; "
                "give DenseSchedule.recorded(trace, warmup_steps=...) or DenseSchedule.of(schedule)"
            )
        if self.peak is not None:
            require_lr(self.peak, name="peak")
            if self.dense.peak == 0:
                raise InputError(f"peak={self.peak} scales the dense schedule, whose learning rate was 0 throughout")

    def lr_at(self, step: int) -> float:
        """L[floor(t |L| / N)], scaled."""
        trace = self.dense.trace
        assert trace is not None  # refused at construction
        rate = trace[step * len(trace) // self.num_steps]
        # A product by exactly 1.0 leaves the recorded values bitwise as they were.
        return rate if self.peak is None else rate * (self.peak / self.dense.peak)
