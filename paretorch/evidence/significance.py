"""Permutation tests, the smallest p-value that seeds can reach, and non-inferiority.

    p = 2 * min(share of arrangements with difference <= observed, share with difference >= observed), at most 1
    paired: the sign of each difference is flipped, 2^n arrangements; unpaired: labels exchanged, C(n_a + n_b, n_a)

The test is exact: if the labels mean nothing, p <= alpha in at most a share alpha of cases, whatever the distribution.
The price is a smallest attainable p, 2 / arrangements: 3 seeds against 3 give at best 0.10, so they can never be
significant at 5 %. The same bound holds for every test on ranks.

Non-inferiority, "no worse than by delta": claimed only if the lower one-sided bound of quality a - quality b lies
above -delta. A difference that is merely not significant is no evidence of equality. Delta is declared before the runs.

Sources: Ernst, "Permutation methods: a basis for exact inference" (Statistical Science 19, 2004); Phipson, Smyth,
"Permutation p-values should never be zero" (SAGMB 9, 2010) for the + 1 of sampled arrangements.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretorch.errors import InputError
from paretorch.evidence.statistics import (
    Interval,
    Values,
    check_confidence,
    moments,
    paired_differences,
    paired_interval,
    sequence_of,
    unpaired_interval,
)

ARRANGEMENTS = 50_000
"""Up to this many arrangements all are looked at: 15 pairs, 9 runs against 9."""


@dataclass(frozen=True)
class NonInferiority:
    """Whether a is no worse than b by more than a declared margin.

    Args:
        claimed: bound > -margin.
        bound: lower one-sided bound of the quality of a minus that of b, positive where a is better; None with one
            seed, and then nothing is claimed.
        margin: delta, in units of the metric.
        gain: the difference of quality with its two-sided interval, whose low end is `bound`.
    """

    claimed: bool
    bound: float | None
    margin: float
    gain: Interval


def permutation_p_value(
    a: Values, b: Values, *, generator: np.random.Generator, paired: bool = True, arrangements: int = ARRANGEMENTS
) -> float:
    """Two-sided p-value of the difference of means.

    Args:
        a, b: at least two values each; paired as in `paired_interval`. Pass logarithms to test a ratio.
        generator: draws the arrangements where there are more than `arrangements`; else it is not touched.
        paired: flip signs of differences, or exchange labels.
        arrangements: all are looked at up to this number, else this many are drawn.

    Returns:
        In (0, 1]; never below `smallest_p_value` of the numbers of values.

    Raises:
        NotComparableError: pairs that do not match.
        InputError: fewer than two values, or values that are not finite.
    """
    x, y = np.asarray(sequence_of(a), dtype=float), np.asarray(sequence_of(b), dtype=float)
    if min(len(x), len(y)) < 2:
        raise InputError(f"a permutation test needs at least two values per arm, got {len(x)} and {len(y)}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("values must be finite; leave failed runs out and report them as failed")

    def difference(*sides: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        means = [side.mean(axis=axis) for side in sides]
        return means[0] if paired else means[0] - means[1]

    from scipy.stats import permutation_test  # imported here: loading this module must stay light

    data = (np.asarray(paired_differences(a, b)),) if paired else (x, y)
    result = permutation_test(
        data,
        difference,
        permutation_type="samples" if paired else "independent",
        vectorized=True,
        n_resamples=arrangements,
        rng=generator,
    )
    # scipy's own p takes values as equal up to a fraction of the observed difference. Accuracies are multiples of
    # 1 / examples, so arrangements tie all the time, up to rounding of the values and not of their difference.
    rounding = 1e-12 * max(np.abs(x).max(), np.abs(y).max())
    null = result.null_distribution
    added = int(arrangements < _number(len(x), None if paired else len(y)))
    tails = (
        np.count_nonzero(null <= result.statistic + rounding),
        np.count_nonzero(null >= result.statistic - rounding),
    )
    return float(min(1.0, 2 * (min(tails) + added) / (len(null) + added)))


def smallest_p_value(seeds: int, other_seeds: int | None = None) -> float:
    """The smallest two-sided p that a permutation or rank test of so many seeds can give.

    Args:
        seeds: number of pairs, or of runs in one arm.
        other_seeds: number of runs in the other arm; None for paired seeds.

    Returns:
        2 / 2^seeds, or 2 / C(seeds + other_seeds, seeds); at most 1. Above the level, no result of these seeds can be
        significant.

    Raises:
        InputError: fewer than one seed.
    """
    if seeds < 1 or (other_seeds is not None and other_seeds < 1):
        raise InputError(f"a comparison needs at least one seed per arm, got {seeds} and {other_seeds}")
    return min(1.0, 2 / _number(seeds, other_seeds))


def non_inferiority(
    a: Values,
    b: Values,
    *,
    margin: float,
    higher_is_better: bool,
    paired: bool = True,
    confidence: float = 0.95,
) -> NonInferiority:
    """Whether the quality of a is at most `margin` worse than that of b.

    Args:
        a, b: quality per seed, as in `paired_interval` or `unpaired_interval`.
        margin: delta >= 0, in units of the metric, declared before the runs; `seed_margin` gives the default.
        higher_is_better: direction of the metric; where lower is better the gain is b - a.
        paired: whether the seeds are shared.
        confidence: of the one-sided bound, in (0.5, 1).

    Raises:
        NotComparableError: pairs that do not match.
        InputError: a margin that is negative or not finite, or as `mean_interval`.
    """
    if not 0 <= margin < math.inf:
        raise InputError(f"the margin is how much worse is still acceptable, 0 or more, got {margin}")
    check_confidence(confidence)
    if confidence <= 0.5:
        raise InputError(f"a one-sided bound needs a confidence above 0.5, got {confidence}; for 95 % pass 0.95")
    better, worse = (a, b) if higher_is_better else (b, a)
    interval = paired_interval if paired else unpaired_interval
    gain = interval(better, worse, confidence=2 * confidence - 1)
    return NonInferiority(gain.low is not None and gain.low > -margin, gain.low, margin, gain)


def seed_margin(baseline: Values) -> float:
    """The default margin of non-inferiority: the standard deviation (divisor n - 1) of the baseline over its seeds.

    Take it from runs that exist before the comparison; seeds that agree exactly give 0, which asks for superiority.

    Raises:
        InputError: fewer than two seeds, or values that are not finite.
    """
    values = sequence_of(baseline)
    if len(values) < 2:
        raise InputError(f"the spread over seeds needs at least two of them, got {len(values)}; declare a margin")
    return math.sqrt(moments(values)[2])


def _number(n: int, other: int | None) -> int:
    """How many arrangements there are."""
    return 2**n if other is None else math.comb(n + other, n)
