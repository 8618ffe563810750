"""Cosine with warm restarts: one run whose learning rate comes down again and again, for screening.

    lr = floor + (peak - floor) * (1 + cos(pi v / T_k)) / 2,    v = steps into cycle k, of T_k = T_0 * m^k steps

At the end of each cycle the model is as good as its steps so far allow, so one run of 120 steps of schedule gives the
curve that four runs of 8, 24, 56 and 120 would (T_0 = 8, m = 2). It costs about half of these, and it is a short cut:
regularised recipes come out 0.4 points too low, and the points of one run depend on each other. Screening only.

Read a run at its troughs and nowhere else: the best value within some epochs of one, as the authors take it, looks at
later epochs and is a maximum over test data.

Sources: Loshchilov and Hutter, "SGDR" (ICLR 2017); Portes, Blalock, Stephenson, Frankle, "Fast benchmarking of accuracy
vs. training time with cyclic learning rates" (2022, arXiv 2206.00832).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from operator import index

from paretorch.errors import InputError
from paretorch.methods.schedules.base import Cosine


@dataclass(frozen=True, kw_only=True)
class CyclicCosine(Cosine):
    """From `peak` to `floor` along half a cosine wave, over and over, each cycle longer than the one before.

    Args:
        first_cycle: steps of the first cycle, T_0 >= 2.
        multiplier: each cycle has so many times the steps of the one before, m >= 1. At 1 the cycles are equal, which
            the authors show to be inferior.

    Raises:
        InputError: for a first cycle under 2 steps or longer than the phase without its ramp, or a multiplier under 1.
    """

    first_cycle: int
    multiplier: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("first_cycle", 2), ("multiplier", 1)):
            try:
                value = index(getattr(self, name))
            except TypeError:
                raise InputError(f"{name} is a whole number, got {getattr(self, name)!r}") from None
            if value < least:
                raise InputError(f"{name} is at least {least}, got {value}")
        if self.first_cycle > self.decay_steps:
            raise InputError(
                f"the first cycle of {self.first_cycle} steps does not fit into the {self.decay_steps} steps after the "
                "ramp; shorten it or train longer"
            )

    def troughs(self) -> tuple[int, ...]:
        """How many steps are done at the end of each finished cycle: 8, 24, 56, 120 for 120 steps and T_0 = 8.

        The learning rate of the step before is the lowest of its cycle; evaluate there, before the next step.
        """
        return tuple(end + self.warmup_steps for end in self._ends if end <= self.decay_steps)

    def after_warmup(self, step: int) -> float:
        """The cosine of the cycle that `step` lies in."""
        start, end = next((a, b) for a, b in zip((0, *self._ends), self._ends, strict=False) if step < b)
        return self.floor + (self.peak - self.floor) * (1 + math.cos(math.pi * (step - start) / (end - start))) / 2

    @cached_property
    def _ends(self) -> tuple[int, ...]:
        """Steps after the ramp at which the cycles end; the last one may reach beyond the phase."""
        ends, length = [self.first_cycle], self.first_cycle
        while ends[-1] < self.decay_steps:
            length *= self.multiplier
            ends.append(ends[-1] + length)
        return tuple(ends)
