"""Learning-rate curves as pure functions of the step: constant, linear, cosine and multi-step, with a warm-up.

    N = num_steps, W = floor(warmup * N), R = N - W, u = t - W

    t <  W:  linear ramp  lr(t) = peak * t / W      cosine ramp  lr(t) = peak * (1 - cos(pi t / W)) / 2
    t >= W:  constant     lr(t) = peak
             linear       lr(t) = peak * (1 - u / R)                              to 0
             cosine       lr(t) = floor + (peak - floor) * (1 + cos(pi u / R)) / 2
             multi-step   lr(t) = peak * factor ** #{m in milestones : t >= m N}

A schedule keeps no counter, so a run that is killed and resumed reads the same value at the same step, and no scheduler
is left behind in an optimizer. Torch's chains of schedulers read `initial_lr` from the parameter groups, where an
earlier phase may have left its own. Source of the cosine ramp: Zimmer, Spiegel and Pokutta, "How I Learned to Stop
Worrying and Love Retraining" (ICLR 2023).
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from operator import index
from typing import Literal

from paretorch.errors import InputError

WarmupShape = Literal["linear", "cosine"]
WARMUP_SHAPES = ("linear", "cosine")


def exact(fraction: float) -> Fraction:
    """The number a user meant by a float: 0.29 is 29/100, so that floor(0.29 * 100) is 29 and not 28."""
    return Fraction(float(fraction)).limit_denominator(10**9)


def require_lr(value: float, *, name: str) -> None:
    """Refuse a learning rate that is not a finite number >= 0.

    Raises:
        InputError: naming the argument and the value.
    """
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{name} is a learning rate, a finite number >= 0; got {value}")


@dataclass(frozen=True, kw_only=True)
class Schedule(ABC):
    """A learning rate for every step of one phase: `schedule(step) -> float`.

    Subclass it for a curve of your own: a frozen dataclass that implements `lr_at`.

    Args:
        num_steps: optimizer steps of the phase, >= 0.

    Raises:
        InputError: if `num_steps` is not a whole number >= 0.
    """

    num_steps: int

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "num_steps", index(self.num_steps))
        except TypeError:
            raise InputError(f"num_steps counts optimizer steps, a whole number; got {self.num_steps!r}") from None
        if self.num_steps < 0:
            raise InputError(f"num_steps counts optimizer steps, at least 0; got {self.num_steps}")

    def __call__(self, step: int) -> float:
        """The learning rate of optimizer step `step`, counted from 0 within the phase.

        Raises:
            InputError: if `step` is not a whole number in [0, num_steps).
        """
        try:
            position = index(step)
        except TypeError:
            raise InputError(f"a schedule is read at a whole step; got {step!r}") from None
        if not 0 <= position < self.num_steps:
            raise InputError(
                f"step {position} is outside this {type(self).__name__} schedule of {self.num_steps} steps, which "
                f"are counted from 0; build the schedule with the number of optimizer steps of the phase"
            )
        return self.lr_at(position)

    @abstractmethod
    def lr_at(self, step: int) -> float:
        """The learning rate of a step in [0, num_steps); called through `schedule(step)`, which checks the range."""

    def trace(self) -> tuple[float, ...]:
        """The learning rate of every step, `num_steps` numbers."""
        return tuple(self.lr_at(step) for step in range(self.num_steps))


@dataclass(frozen=True, kw_only=True)
class Ramped(Schedule):
    """A schedule that climbs from 0 to `peak` first; subclasses say what follows.

    Args:
        num_steps: optimizer steps of the phase.
        peak: the highest learning rate.
        warmup: fraction of the steps spent on the ramp, in [0, 1); floor(warmup * num_steps) steps.
        warmup_shape: "linear" or "cosine".

    Raises:
        InputError: for a number outside its range or an unknown shape.
    """

    peak: float
    warmup: float = 0.0
    warmup_shape: WarmupShape = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_lr(self.peak, name="peak")
        if not 0 <= self.warmup < 1:
            raise InputError(
                f"warmup is the fraction of the steps spent on the ramp, in [0, 1); got {self.warmup}. "
                f"For 10 % pass 0.1."
            )
        if self.warmup_shape not in WARMUP_SHAPES:
            raise InputError(f"warmup_shape {self.warmup_shape!r} is unknown; choose from {WARMUP_SHAPES}")

    @cached_property
    def warmup_steps(self) -> int:
        """Steps of the ramp, W = floor(warmup * num_steps)."""
        return math.floor(exact(self.warmup) * self.num_steps)

    @property
    def decay_steps(self) -> int:
        """Steps after the ramp, R = num_steps - W."""
        return self.num_steps - self.warmup_steps

    def lr_at(self, step: int) -> float:
        """The ramp, or what follows it."""
        if step >= self.warmup_steps:
            return self.after_warmup(step - self.warmup_steps)
        done = step / self.warmup_steps
        if self.warmup_shape == "linear":
            return self.peak * done
        return self.peak * (1 - math.cos(math.pi * done)) / 2

    @abstractmethod
    def after_warmup(self, step: int) -> float:
        """The learning rate `step` steps after the ramp, `step` in [0, decay_steps)."""


@dataclass(frozen=True, kw_only=True)
class Constant(Ramped):
    """`peak` throughout, after the ramp."""

    def after_warmup(self, step: int) -> float:
        """The peak."""
        return self.peak


@dataclass(frozen=True, kw_only=True)
class Linear(Ramped):
    """From `peak` to 0 in a straight line, after the ramp; the last step still has peak / decay_steps.

    The values sum to peak * num_steps / 2 with a ramp of at least one step, and to peak * (num_steps + 1) / 2 without.
    """

    def after_warmup(self, step: int) -> float:
        """peak * (1 - u / R)."""
        return self.peak * (1 - step / self.decay_steps)


@dataclass(frozen=True, kw_only=True)
class Cosine(Ramped):
    """From `peak` to `floor` along half a cosine wave, after the ramp.

    Args:
        floor: the learning rate the curve ends at, to O(1 / decay_steps ** 2); at most `peak`.

    Raises:
        InputError: if `floor` is negative or above `peak`.
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_lr(self.floor, name="floor")
        if self.floor > self.peak:
            raise InputError(
                f"floor {self.floor} is above peak {self.peak}; a cosine schedule falls from peak to floor"
            )

    def after_warmup(self, step: int) -> float:
        """floor + (peak - floor) * (1 + cos(pi u / R)) / 2."""
        return self.floor + (self.peak - self.floor) * (1 + math.cos(math.pi * step / self.decay_steps)) / 2


@dataclass(frozen=True, kw_only=True)
class MultiStep(Ramped):
    """`peak`, multiplied by `factor` at every milestone.

    Args:
        milestones: where the drops are, as increasing fractions of the whole phase (ramp included) in (0, 1). Fractions
            and not steps, so that the same recipe at another duration drops at the same relative places.
        factor: what the learning rate is multiplied by at each milestone, in (0, 1].

    Raises:
        InputError: for no milestone, milestones outside (0, 1) or out of order, or a factor outside (0, 1].
    """

    milestones: tuple[float, ...]
    factor: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "milestones", tuple(self.milestones))
        if not self.milestones or not all(0 < m < 1 for m in self.milestones):
            raise InputError(
                f"milestones are fractions of the phase, each in (0, 1), at least one; got {self.milestones}. For a "
                f"drop at epoch 90 of 200 pass 90 / 200."
            )
        if any(a >= b for a, b in zip(self.milestones, self.milestones[1:], strict=False)):
            raise InputError(f"milestones must increase; got {self.milestones}")
        if not 0 < self.factor <= 1:
            raise InputError(f"factor is what the learning rate is multiplied by, in (0, 1]; got {self.factor}")

    @cached_property
    def drops(self) -> tuple[int, ...]:
        """The first step at or after each milestone."""
        return tuple(math.ceil(exact(m) * self.num_steps) for m in self.milestones)

    def after_warmup(self, step: int) -> float:
        """peak * factor ** (milestones passed)."""
        return self.peak * self.factor ** bisect_right(self.drops, self.warmup_steps + step)
