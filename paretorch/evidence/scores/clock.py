"""Reference time: a training budget counted by a table measured once, so that runs on any machine are comparable.

    RST(run) = sum over steps of t_ref(kind, size) * samples / batch

t_ref is the seconds of one pass (of a kind such as "forward" or "step") over one reference batch, measured once on one
machine for several sizes (such as active layers) and interpolated linearly in between; a step on m times as many
samples is charged m times. What the run's own machine takes does not matter. Not counted: reading data, communication,
and whatever a method does that the table does not hold.

A table must rise with the size and be near a straight line. The published BERT table has .01052 s for 7 layers between
.09188 for 6 and .1186 for 8, a slipped decimal point; runs that drop layers are charged too little whenever exactly
seven are active. Such a table is refused.

Source: Kaddour, Key, Nawrot, Minervini, Kusner, "No train no gain: revisiting efficient training algorithms for
transformer-based language models" (arXiv:2307.06440).
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import correlation

from paretorch.errors import InputError

MIN_R2 = 0.98


@dataclass(frozen=True)
class Charge:
    """Steps that all cost the same.

    Args:
        kind: which table they are charged by.
        size: what the table's times depend on, e.g. active layers.
        samples: training examples per step, a multiple of the clock's batch.
        steps: how many.
    """

    kind: str
    size: float
    samples: int
    steps: int = 1


class ReferenceClock:
    """Seconds on the reference machine.

    Args:
        tables: kind -> {size: seconds of one pass over `batch` samples}. A table of one entry holds for that size only.
        batch: samples of one pass, the microbatch that was measured.
        min_r2: least share of a table's variance that a straight line must explain; looked at from three entries on.

    Raises:
        InputError: no tables, times that are not positive and finite, a batch below 1, a table that does not rise, or
            one that is not near a straight line.

    Example:
        >>> clock = ReferenceClock({"step": {1: 0.1, 3: 0.3}}, batch=128)
        >>> round(clock.seconds(Charge("step", 2, samples=256, steps=10)), 9)
        4.0
    """

    def __init__(self, tables: Mapping[str, Mapping[float, float]], *, batch: int, min_r2: float = MIN_R2) -> None:
        if not tables or batch < 1:
            raise InputError(f"a clock needs at least one table and a batch of at least 1, got {len(tables)}, {batch}")
        self.batch = batch
        self._tables = {kind: sorted(table.items()) for kind, table in tables.items()}
        for kind, table in self._tables.items():
            _check_table(kind, table, min_r2)

    def seconds(self, charge: Charge) -> float:
        """Reference seconds of the charge.

        Raises:
            InputError: an unknown kind, a size outside the table, samples that are no positive multiple of the batch,
                or a negative number of steps.
        """
        if charge.samples < 1 or charge.samples % self.batch:
            raise InputError(
                f"{charge.samples} samples per step are no multiple of the reference batch of {self.batch}; smaller "
                "passes were not measured and do not cost in proportion"
            )
        if charge.steps < 0:
            raise InputError(f"steps must be at least 0, got {charge.steps}")
        return self._pass_seconds(charge.kind, charge.size) * (charge.samples // self.batch) * charge.steps

    def total(self, charges: Iterable[Charge]) -> float:
        """Reference seconds of a run: the sum over all it did, scoring passes and searches included."""
        return math.fsum(self.seconds(charge) for charge in charges)

    def steps_within(self, budget_s: float, charge: Charge) -> int:
        """How many repetitions of the charge fit into a budget of reference seconds.

        Raises:
            InputError: a budget that is negative, infinite or NaN, a charge that costs nothing, or as `seconds`.
        """
        cost = self.seconds(charge)
        if not 0 <= budget_s < math.inf or not cost:
            raise InputError(f"need a finite budget of at least 0 s and a charge that costs, got {budget_s} and {cost}")
        return math.floor(budget_s / cost * (1 + 1e-12))  # ten times a tenth is one

    def _pass_seconds(self, kind: str, size: float) -> float:
        if kind not in self._tables:
            raise InputError(f"the clock has no table {kind!r}; it has {', '.join(self._tables)}")
        table = self._tables[kind]
        if not table[0][0] <= size <= table[-1][0]:
            raise InputError(
                f"{kind}: size {size} lies outside the measured {table[0][0]} to {table[-1][0]}; measure it, the clock "
                "does not extrapolate"
            )
        after = bisect_left(table, size, key=lambda entry: entry[0])
        if table[after][0] == size:
            return table[after][1]
        (x0, y0), (x1, y1) = table[after - 1], table[after]
        return y0 + (y1 - y0) * (size - x0) / (x1 - x0)


def _check_table(kind: str, table: list[tuple[float, float]], min_r2: float) -> None:
    if not table or not all(math.isfinite(size) and 0 < time < math.inf for size, time in table):
        raise InputError(f"table {kind!r} needs finite sizes with positive finite seconds, got {dict(table)}")
    for (x0, y0), (x1, y1) in pairwise(table):
        if y1 <= y0:
            raise InputError(
                f"table {kind!r} does not rise: {y0} s at size {x0}, {y1} s at size {x1}. One of them is wrong (a "
                "slipped decimal point?), or the measurement was disturbed: measure again"
            )
    if len(table) > 2 and (r2 := _r2(table)) < min_r2:
        raise InputError(
            f"table {kind!r} is not near a straight line (R^2 = {r2:.4f} < {min_r2}): {dict(table)}. Measure again, or "
            "pass a lower min_r2 if the cost really bends"
        )


def _r2(table: list[tuple[float, float]]) -> float:
    return correlation([size for size, _ in table], [time for _, time in table]) ** 2
