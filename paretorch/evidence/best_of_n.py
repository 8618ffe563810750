"""What tuning with n trials is expected to reach, and what it costs.

    sorted v_(1) <= ... <= v_(N), max is better:
    unbiased   E_n = sum_i v_(i) * [C(i, n) - C(i - 1, n)] / C(N, n)      n of the N trials, without replacement
    plug-in    E_n = sum_i v_(i) * [(i / N)^n - ((i - 1) / N)^n]          n draws with replacement (Dodge et al.)

Where lower is better (times, errors) the same of the negated values: E_n = sum_i v_(i) * C(N - i, n - 1) / C(N, n).
Two arms are compared at equal n, or as curves n -> (tuning cost, E_n); the best trial of 50 against the best of 5 says
nothing. The plug-in is biased towards worse values, so the unbiased form is the default.

A trial that failed counts: give it infinity where lower is better, minus infinity where higher is. The expectation is
then infinite until no choice of n trials consists of failures only.

Sources: Dodge, Gururangan, Card, Schwartz, Smith, "Show your work" (EMNLP 2019), section 3; the unbiased form: Tang
et al., "Showing your work doesn't always work" (ACL 2020).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paretorch.errors import InputError
from paretorch.evidence.resampling import RESAMPLES, percentile_interval
from paretorch.evidence.statistics import Interval

Estimator = Literal["unbiased", "plug-in"]


@dataclass(frozen=True)
class TuningPoint:
    """What n trials cost and reach.

    Args:
        n: number of trials.
        cost: n * mean cost of a trial, in the unit of the costs given.
        expected: expected best value of n trials.
    """

    n: int
    cost: float
    expected: float


def expected_best(
    values: Sequence[float], n: int, *, higher_is_better: bool, estimator: Estimator = "unbiased"
) -> float:
    """Expected best value of n trials.

    Args:
        values: one number per trial, N >= n of them, in any order; failed trials as the module says.
        n: number of trials.
        higher_is_better: direction of the values.
        estimator: "unbiased" or "plug-in".

    Returns:
        The mean of the values for n = 1; their best for n = N with "unbiased".

    Raises:
        InputError: n outside [1, N], a NaN, an infinitely good trial, or an unknown estimator.
    """
    array = _checked(values, n, higher_is_better)
    return float(_expected(array, _weights(len(array), n, estimator), higher_is_better))


def tuning_curve(
    values: Sequence[float], costs: Sequence[float], *, higher_is_better: bool, estimator: Estimator = "unbiased"
) -> tuple[TuningPoint, ...]:
    """The expected best of 1, 2, ..., N trials against what they cost: the fair plot for "needs less tuning".

    Args:
        values: one number per trial.
        costs: what each trial cost, non-negative; all trials are charged at their mean.
        higher_is_better, estimator: as `expected_best`.

    Raises:
        InputError: lengths that differ, no trials, or a cost that is negative or not finite; as `expected_best`.
    """
    if len(costs) != len(values):
        raise InputError(f"every trial needs a cost: {len(values)} values and {len(costs)} costs")
    if bad := [c for c in costs if not 0 <= c < math.inf]:
        raise InputError(f"the cost of a trial is finite and not negative, got {bad}")
    if len(costs) == 0:
        raise InputError("no trials, so no curve; an arm that was not tuned has one trial, the run itself")
    mean_cost = math.fsum(costs) / len(costs)
    return tuple(
        TuningPoint(n, n * mean_cost, expected_best(values, n, higher_is_better=higher_is_better, estimator=estimator))
        for n in range(1, len(values) + 1)
    )


def tuned_interval(
    studies: Sequence[Sequence[float]],
    n: int,
    *,
    higher_is_better: bool,
    generator: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """Interval of a tuned arm: the median over studies of the expected best of n trials, resampled over trials.

    Trials are resampled within each study. No resample is better than the best trial that was seen, so the interval
    is too short on that side, the more so the closer n is to the number of trials.

    Args:
        studies: per study (a repetition of the whole search) its trials; one study is allowed.
        n: number of trials; the number of trials of each study gives the median of the studies' best.
        higher_is_better: direction of the values.
        generator: where the draws come from.
        confidence: nominal coverage in (0, 1).
        resamples: how many, at least 100.

    Returns:
        The interval; its n is the number of trials of the smallest study. Ends may be infinite when trials failed.

    Raises:
        InputError: no study; as `expected_best` for each.
    """
    arrays = [_checked(values, n, higher_is_better) for values in studies]
    weights = [_weights(len(array), n, "unbiased") for array in arrays]

    def median(*drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        best = [_expected(trials, w, higher_is_better) for trials, w in zip(drawn, weights, strict=True)]
        return np.median(np.stack(best), axis=0)

    return percentile_interval(arrays, median, generator=generator, confidence=confidence, resamples=resamples)


def _weights(total: int, n: int, estimator: Estimator) -> NDArray[np.float64]:
    """The weight of each value, worst first."""
    if estimator == "unbiased":
        return np.array([math.comb(i - 1, n - 1) / math.comb(total, n) for i in range(1, total + 1)])
    if estimator == "plug-in":
        return np.diff((np.arange(total + 1) / total) ** n)
    raise InputError(f"unknown estimator {estimator!r}; known are 'unbiased' and 'plug-in'")


def _expected(values: NDArray[np.float64], weights: NDArray[np.float64], higher_is_better: bool) -> NDArray[np.float64]:
    """Along the last axis."""
    sign = 1.0 if higher_is_better else -1.0
    used = weights > 0  # a failed trial without weight must not turn 0 * inf into NaN
    return sign * (np.sort(sign * values, axis=-1)[..., used] @ weights[used])


def _checked(values: Sequence[float], n: int, higher_is_better: bool) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if not 1 <= n <= len(array):
        raise InputError(f"n is a number of trials between 1 and the {len(array)} that were run, got {n}")
    best = math.inf if higher_is_better else -math.inf
    if np.isnan(array).any() or (array == best).any():
        raise InputError(f"a trial cannot be NaN or {best}, got {array.tolist()}; a failed trial is {-best}")
    return array
