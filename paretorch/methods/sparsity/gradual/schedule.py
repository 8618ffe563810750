"""When a gradual method prunes, and to which sparsity: the cubic curve of Zhu and Gupta.

    s(x) = S (1 - (1 - x)^3),   x = share of the pruning time that has passed, in [0, 1]

    T = steps of the run, D = steps between prunings:   prune after steps j D, j = 1 .. m,   m = floor(T / D) - 1,
    to x = j / m, so that the last pruning is to S and at least D steps of training follow it

Sources: the curve, Zhu and Gupta 2017 ("To prune, or not to prune", section 3, with a sparsity of 0 at the start); the
times, the published code of Zimmer, Spiegel and Pokutta 2023, which prunes at epochs and takes one pruning (2 D <= T)
for enough. One is one-shot pruning, so here there are at least two.
"""

import math
from dataclasses import dataclass

from paretorch.errors import InputError


def cubic_sparsity(progress: float, *, final: float) -> float:
    """s(progress): `final` times 1 - (1 - progress)^3; exactly `final` at 1.

    Args:
        progress: share of the pruning time that has passed; what is outside [0, 1] counts as the nearer end.
        final: sparsity at the end.
    """
    return final * (1 - (1 - min(max(progress, 0.0), 1.0)) ** 3)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """The time between two prunings, in epochs or in steps.

    Args:
        epochs: may be a fraction; one epoch if neither is given.
        steps: optimizer steps.

    Raises:
        InputError: for both, or a number that is not positive and finite.
    """

    epochs: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.epochs is not None and self.steps is not None:
            raise InputError(f"give an interval in epochs or in steps; got {self.epochs} epochs and {self.steps} steps")
        if self.epochs is not None and not (math.isfinite(self.epochs) and self.epochs > 0):
            raise InputError(f"an interval between prunings is a positive number of epochs; got {self.epochs}")
        if self.steps is not None and (type(self.steps) is not int or self.steps < 1):
            raise InputError(f"an interval between prunings is at least one whole step; got {self.steps!r}")

    def num_steps(self, steps_per_epoch: int) -> int:
        """The interval in optimizer steps, at least one."""
        if self.steps is not None:
            return self.steps
        return max(1, round((1.0 if self.epochs is None else self.epochs) * steps_per_epoch))


@dataclass(frozen=True, kw_only=True)
class PruningTimes:
    """The steps of a run after which weights are pruned.

    Args:
        num_steps: of the run, T.
        interval: steps between two prunings, D.

    Raises:
        InputError: if the run has room for fewer than two.
    """

    num_steps: int
    interval: int

    def __post_init__(self) -> None:
        if self.count < 2:
            raise InputError(
                f"a run of {self.num_steps} steps with {self.interval} between prunings has room for "
                f"{max(0, self.count)} before the last {self.interval}; gradual pruning needs at least two. Take an "
                f"interval of at most {self.num_steps // 3} steps or a longer run; for one pruning there is IMP"
            )

    @property
    def count(self) -> int:
        """How many prunings there are, m."""
        return self.num_steps // self.interval - 1

    def number_at(self, step: int) -> int | None:
        """Which pruning, from 1 to `count`, comes after `step` finished steps; None if none does."""
        number, rest = divmod(step, self.interval)
        return number if rest == 0 and 1 <= number <= self.count else None

    def progress(self, step: int) -> float:
        """Share of the time until the last pruning that has passed after `step` steps, in [0, 1]."""
        return min(1.0, step / (self.count * self.interval))
