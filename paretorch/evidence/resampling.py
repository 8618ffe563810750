"""Bootstrap intervals, all drawn from an explicit generator: the same generator state gives the same interval.

    percentile   quantiles (1 - c) / 2 and (1 + c) / 2 of the statistic of resampled runs
    BCa          the same with quantiles corrected for bias and skewness

A percentile interval is too short for few runs: nominal 95 % of the mean of normal data cover about 73 % with 3, 83 %
with 5, 90 % with 10. It stands here for statistics that have no Student interval; means of fewer than ten seeds are
left to `paretorch.evidence.statistics`.

Source: Efron, Tibshirani, "An introduction to the bootstrap" (1993), sections 13.3 and 14.3.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paretorch.errors import InputError
from paretorch.evidence.statistics import Interval, check_confidence

RESAMPLES = 9999
_BATCH_ELEMENTS = 500_000  # keeps a batch at a few MB

Statistic = Callable[..., NDArray[np.float64]]
"""Takes one array (resamples, runs, ...) per sample, returns (resamples, ...)."""


def bootstrap_distribution(
    samples: Sequence[ArrayLike], statistic: Statistic, *, generator: np.random.Generator, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """The statistic of `resamples` resampled data sets; every sample is resampled by itself, with replacement.

    Args:
        samples: arrays (runs, ...); the runs are drawn, whatever belongs to a run stays together. Strata (tasks,
            arms) are separate samples.
        statistic: vectorised over a leading axis of resamples.
        generator: where the draws come from.
        resamples: how many, at least 100.

    Returns:
        Array (resamples, ...).

    Raises:
        InputError: no samples, an empty sample, a NaN, or fewer than 100 resamples.
    """
    arrays = _checked(samples, resamples)
    batch = max(1, _BATCH_ELEMENTS // sum(a.size for a in arrays))
    parts = []
    for start in range(0, resamples, batch):
        size = min(batch, resamples - start)
        parts.append(statistic(*(a[generator.integers(len(a), size=(size, len(a)))] for a in arrays)))
    return np.concatenate(parts)


def percentile_interval(
    samples: Sequence[ArrayLike],
    statistic: Statistic,
    *,
    generator: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """Percentile bootstrap interval of one number.

    Quantiles are members of the distribution and not interpolated, so that infinite ends (targets that were not
    reached) are allowed.

    Args:
        samples, statistic, generator, resamples: as `bootstrap_distribution`; the statistic returns (resamples,).
        confidence: nominal coverage in (0, 1).

    Returns:
        `mean` is the statistic of the samples as they are; n the number of runs of the smallest; low and high are
        None when no sample has two runs.

    Raises:
        InputError: as `bootstrap_distribution`, or a confidence outside (0, 1).
    """
    check_confidence(confidence)
    arrays = _checked(samples, resamples)
    center = float(statistic(*(a[None] for a in arrays))[0])
    n = min(map(len, arrays))
    if max(map(len, arrays)) == 1:
        return Interval(center, None, None, n, confidence)
    distribution = bootstrap_distribution(arrays, statistic, generator=generator, resamples=resamples)
    low, high = quantile_ends(distribution, confidence)
    return Interval(center, float(low), float(high), n, confidence)


def quantile_ends(
    distribution: NDArray[np.float64], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both ends of the percentile interval, along the first axis of a bootstrap distribution."""
    ends = np.quantile(distribution, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0, method="inverted_cdf")
    return ends[0], ends[1]


def bca_interval(
    samples: Sequence[Sequence[float]],
    *,
    generator: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval | None:
    """BCa bootstrap interval of the mean of one sample, or of the first mean minus the second.

    Args:
        samples: one or two sequences of at least two numbers.
        generator: where the draws come from.
        confidence: nominal coverage in (0, 1).
        resamples: how many, at least 100.

    Returns:
        The interval, n being that of the smaller sample; None where the values of each sample are all the same (up to
        rounding), so that the corrections do not exist.

    Raises:
        InputError: as `percentile_interval`, or samples of the wrong number or size.
    """
    check_confidence(confidence)
    arrays = _checked(samples, resamples)
    if len(arrays) > 2 or min(map(len, arrays)) < 2:
        raise InputError(f"BCa needs one or two samples of at least two values, got sizes {[len(a) for a in arrays]}")

    from scipy import stats  # imported here: loading this module must stay light

    def difference(a: NDArray[np.float64], *b: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return a.mean(axis=axis) - (b[0].mean(axis=axis) if b else 0.0)

    if all(np.ptp(a) <= 1e-12 * np.abs(a).max() for a in arrays):
        return None
    ends = stats.bootstrap(
        arrays, difference, vectorized=True, n_resamples=resamples, confidence_level=confidence, rng=generator
    ).confidence_interval
    center = float(difference(*arrays, axis=-1))
    return Interval(center, float(ends.low), float(ends.high), min(map(len, arrays)), confidence)


def _checked(samples: Sequence[ArrayLike], resamples: int) -> list[NDArray[np.float64]]:
    arrays = [np.asarray(sample, dtype=np.float64) for sample in samples]
    if not arrays or any(a.ndim == 0 or a.size == 0 for a in arrays):
        raise InputError("a bootstrap needs samples with at least one run each; leave empty arms out")
    if any(np.isnan(a).any() for a in arrays):
        raise InputError("a sample contains NaN; leave failed runs out and report them as failed")
    if resamples < 100:
        raise InputError(f"the ends of an interval need at least 100 resamples, got {resamples}; 9999 is usual")
    return arrays
