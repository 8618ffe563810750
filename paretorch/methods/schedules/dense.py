"""What is known of the dense run's learning rate: all of it, step by step, or only its ends.

Retraining schedules are defined relative to the run that produced the model: FT and CLR need its lowest learning rate
after warm-up, SLR and LRW its whole sequence, LLR and ALLR its peak. Source: Zimmer, Spiegel and Pokutta (ICLR 2023),
section 2, and Le and Hua (ICLR 2021).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from paretorch.errors import InputError
from paretorch.methods.schedules.base import Ramped, Schedule, require_lr

# Published step schedules end at a thousandth of their peak (0.1 to 1e-4 on ImageNet), and retraining there works.
NEAR_ZERO = 5e-4


@dataclass(frozen=True, kw_only=True)
class DenseSchedule:
    """The learning rate of the run that produced the model to prune; build it with `recorded`, `of` or `summary`.

    Args:
        peak: highest learning rate.
        floor: lowest learning rate after the warm-up, or None if unknown.
        num_steps: optimizer steps, or None if unknown.
        trace: the learning rate of every step, or None if it was not recorded.
        warmup_steps: how many leading entries of `trace` belong to the warm-up.

    Raises:
        InputError: for learning rates that are negative or not finite, and for numbers that contradict each other.
    """

    peak: float
    floor: float | None = None
    num_steps: int | None = None
    trace: tuple[float, ...] | None = field(default=None, repr=False)
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        require_lr(self.peak, name="peak")
        if self.floor is not None:
            require_lr(self.floor, name="floor")
            if self.floor > self.peak:
                raise InputError(f"the dense schedule's floor {self.floor} is above its peak {self.peak}")
        if self.num_steps is not None and self.num_steps < 1:
            raise InputError(f"the dense run's num_steps must be at least 1; got {self.num_steps}. Unknown is None.")
        if self.trace is None:
            if self.warmup_steps:
                raise InputError(f"warmup_steps {self.warmup_steps} says where a trace's warm-up ends; give the trace")
        elif (self.peak, self.floor, self.num_steps) != _ends(self.trace, self.warmup_steps):
            raise InputError(
                f"peak {self.peak}, floor {self.floor}, num_steps {self.num_steps} contradict the trace, which has "
                f"{_ends(self.trace, self.warmup_steps)}; use DenseSchedule.recorded(trace)"
            )

    @classmethod
    def recorded(cls, trace: Sequence[float], *, warmup_steps: int = 0) -> "DenseSchedule":
        """From the learning rates that were used, one per optimizer step.

        Args:
            trace: at least one learning rate, in the order of the steps.
            warmup_steps: how many leading entries are warm-up, fewer than there are entries. They count for the peak
                and not for the floor.
        """
        values = tuple(float(lr) for lr in trace)
        peak, floor, num_steps = _ends(values, warmup_steps)
        return cls(peak=peak, floor=floor, num_steps=num_steps, trace=values, warmup_steps=warmup_steps)

    @classmethod
    def of(cls, schedule: Schedule) -> "DenseSchedule":
        """From the schedule object that drove the dense run."""
        warmup_steps = schedule.warmup_steps if isinstance(schedule, Ramped) else 0
        return cls.recorded(schedule.trace(), warmup_steps=warmup_steps)

    @classmethod
    def summary(cls, *, peak: float, floor: float | None = None, num_steps: int | None = None) -> "DenseSchedule":
        """From what a paper or a model card says; SLR and LRW will be refused."""
        return cls(peak=peak, floor=floor, num_steps=num_steps)

    @property
    def ended_near_zero(self) -> bool:
        """Whether the lowest learning rate is too small to change weights.

        True below 1/2000 of the peak, and for a recorded curve that fell on each of its last three steps and would have
        reached 0 or less with one more: a line to 0 over R steps ends at peak / R, which is not small for small R.
        """
        if self.floor is None:
            raise InputError(
                "the dense run's lowest learning rate is unknown; give floor= or record the trace with "
                "DenseSchedule.recorded"
            )
        if self.floor < NEAR_ZERO * self.peak or self.peak == 0:
            return True
        if self.trace is None or len(self.trace) - self.warmup_steps < 3:
            return False
        third, second, last = self.trace[-3:]
        return third > second > last and last - (second - last) <= 1e-9 * self.peak


def check_finetune_baseline(dense: DenseSchedule) -> None:
    """Refuse FT as a baseline where it would do nothing, which makes every other schedule look good.

    Raises:
        InputError: if the dense schedule ended near zero, or its floor is unknown.
    """
    if dense.ended_near_zero:
        raise InputError(
            f"FT retrains at the lowest learning rate of the dense run, {dense.floor:.3g}, which is near zero against "
            f"its peak {dense.peak:.3g}: the weights would hardly move, and a comparison with it would prove nothing. "
            f"Give FT a tuned learning rate (lr=...), or train the dense model with a schedule that ends above zero."
        )


def _ends(trace: Sequence[float], warmup_steps: int) -> tuple[float, float, int]:
    """Peak, floor after the warm-up, and length of a trace."""
    if bad := [(step, lr) for step, lr in enumerate(trace) if not (math.isfinite(lr) and lr >= 0)]:
        raise InputError(f"trace holds {bad[0][1]} at step {bad[0][0]}; learning rates are finite numbers >= 0")
    if not 0 <= warmup_steps < len(trace):
        raise InputError(
            f"a trace of {len(trace)} learning rates cannot have {warmup_steps} warm-up steps; at least one step must "
            f"follow the warm-up"
        )
    return max(trace), min(trace[warmup_steps:]), len(trace)
