"""Means over seeds with an honest interval; differences, ratios and rates with theirs.

    mean ± t * s / sqrt(n),   t = Student quantile with n - 1 degrees of freedom, s with divisor n - 1
    Welch, seeds not shared:  a - b ± t * sqrt(u + v),  u = s_a^2 / n_a,  v = s_b^2 / n_b,
                              (u + v)^2 / (u^2 / (n_a - 1) + v^2 / (n_b - 1)) degrees of freedom (Satterthwaite)
    Wilson, k of n:           the rates p with |k / n - p| <= z * sqrt(p * (1 - p) / n)

Student's interval and not a percentile bootstrap: with 3 seeds a nominal 95 % bootstrap interval covers about 73 %
of the time, Student's 95 % (normal data). Two arms that ran the same seeds are compared seed by seed, which removes
the variance they share (initial weights, data order). Times and other positive costs are compared as ratios, on the
logarithm. Fewer than five seeds are marked "low-n" wherever they are printed. What to do with many seeds:
`paretorch.evidence.effect`.

Intervals describe one comparison at a time; they are not adjusted for how many comparisons a report makes.

Sources: Welch, "The generalization of 'Student's' problem when several different population variances are involved"
(Biometrika 34, 1947); Wilson, "Probable inference, the law of succession, and statistical inference" (JASA 22, 1927).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from paretorch.errors import InputError, NotComparableError

LOW_N = 5

Values: TypeAlias = Sequence[float] | Mapping[int, float]
"""One number per seed: a sequence, or a mapping from seed to value."""


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval.

    Args:
        mean: arithmetic mean (geometric for `ratio_interval`).
        low, high: ends of the interval; None when one value says nothing about the spread.
        n: number of values (seeds).
        confidence: nominal coverage, e.g. 0.95.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    confidence: float = 0.95

    @property
    def low_n(self) -> bool:
        """Whether there are too few values (under 5) to trust more than the direction of the mean."""
        return self.n < LOW_N

    @property
    def half_width(self) -> float | None:
        """Half the length of the interval, the number after "±"; None with one value."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def contains(self, value: float) -> bool:
        """Whether `value` cannot be excluded; with one value nothing can be, so True."""
        return self.low is None or self.high is None or self.low <= value <= self.high

    def scaled(self, factor: float) -> "Interval":
        """The same interval in another unit (factor > 0), e.g. 100 for fractions to percent."""
        ends = [None if end is None else end * factor for end in (self.low, self.high)]
        return Interval(self.mean * factor, ends[0], ends[1], self.n, self.confidence)

    def exponential(self) -> "Interval":
        """exp of the mean and of both ends: the interval of a difference of logarithms as that of a ratio."""
        ends = [None if end is None else math.exp(end) for end in (self.low, self.high)]
        return Interval(math.exp(self.mean), ends[0], ends[1], self.n, self.confidence)

    def text(self, *, digits: int = 1) -> str:
        """'91.3 ± 0.4 (n=3, low-n)'; without ± when n = 1."""
        spread = "" if self.half_width is None else f" ± {self.half_width:.{digits}f}"
        return f"{self.mean:.{digits}f}{spread} (n={self.n}{', low-n' if self.low_n else ''})"


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean.

    Args:
        values: at least one finite number, one per seed.
        confidence: nominal coverage in (0, 1).

    Returns:
        The interval; low and high are None when there is one value.

    Raises:
        InputError: no values, a NaN or infinite value, or a confidence outside (0, 1).
    """
    check_confidence(confidence)
    n, mean, variance = moments(values)
    if n == 1:
        return Interval(mean, None, None, 1, confidence)
    half = _student_quantile(n - 1, confidence) * math.sqrt(variance / n)
    return Interval(mean, mean - half, mean + half, n, confidence)


def paired_interval(a: Values, b: Values, *, confidence: float = 0.95) -> Interval:
    """Interval of the mean of a - b, pair by pair.

    Args:
        a, b: one value per seed: two sequences in the same order of seeds, or two mappings from seed to value.
        confidence: nominal coverage in (0, 1).

    Raises:
        NotComparableError: unequal lengths, or mappings with different seeds.
        InputError: as `mean_interval`.
    """
    return mean_interval(paired_differences(a, b), confidence=confidence)


def unpaired_interval(a: Values, b: Values, *, confidence: float = 0.95) -> Interval:
    """Welch's interval of mean(a) - mean(b), for arms that share no seeds; variances may differ.

    Args:
        a, b: at least one finite number each; a mapping's seeds are ignored.
        confidence: nominal coverage in (0, 1).

    Returns:
        The interval; n is that of the smaller arm, and low and high are None when an arm has one value.

    Raises:
        InputError: as `mean_interval`.
    """
    check_confidence(confidence)
    (n_a, mean_a, variance_a), (n_b, mean_b, variance_b) = (moments(sequence_of(side)) for side in (a, b))
    mean, n = mean_a - mean_b, min(n_a, n_b)
    if n == 1:
        return Interval(mean, None, None, 1, confidence)
    u, v = variance_a / n_a, variance_b / n_b
    if u + v == 0:
        return Interval(mean, mean, mean, n, confidence)
    share = u / (u + v)  # of the variance; the squares of u and v themselves can underflow
    degrees = 1 / (share**2 / (n_a - 1) + (1 - share) ** 2 / (n_b - 1))
    half = _student_quantile(degrees, confidence) * math.sqrt(u + v)
    return Interval(mean, mean - half, mean + half, n, confidence)


def ratio_interval(a: Values, b: Values, *, confidence: float = 0.95) -> Interval:
    """Interval of the geometric mean of a / b, pair by pair: exp(mean ± t * s / sqrt(n)) of ln a - ln b.

    Special case: of a with itself, mean, low and high are 1; of b and a, the reciprocals.

    Args:
        a, b: positive costs, as in `paired_interval`.
        confidence: nominal coverage in (0, 1).

    Raises:
        NotComparableError: as `paired_interval`.
        InputError: a value that is not positive and finite.
    """
    return paired_interval(logarithms(a), logarithms(b), confidence=confidence).exponential()


def unpaired_ratio_interval(a: Values, b: Values, *, confidence: float = 0.95) -> Interval:
    """Interval of the ratio of the geometric means of a and b: exp of Welch's interval of ln a - ln b.

    Args:
        a, b: positive costs, as in `unpaired_interval`.
        confidence: nominal coverage in (0, 1).

    Raises:
        InputError: a value that is not positive and finite.
    """
    return unpaired_interval(logarithms(a), logarithms(b), confidence=confidence).exponential()


def rate_interval(count: int, total: int, *, confidence: float = 0.95) -> Interval:
    """Wilson's interval of a rate: `count` of `total` trials.

    Stays in [0, 1] and is not symmetric about count / total; of 0 of n it is not empty.

    Args:
        count: trials with the property, 0 <= count <= total.
        total: trials, at least 1.
        confidence: nominal coverage in (0, 1).

    Raises:
        InputError: counts out of range, or a confidence outside (0, 1).
    """
    check_confidence(confidence)
    if not 0 <= count <= total or total < 1:
        raise InputError(f"a rate needs 0 <= count <= total and total >= 1, got {count} of {total}")
    from scipy.stats import binomtest  # imported here: loading this module must stay light

    low, high = binomtest(count, total).proportion_ci(confidence, method="wilson")
    return Interval(count / total, float(low), float(high), total, confidence)


def time_reduction(speedup: float) -> float:
    """The fraction of the time that a speed-up saves: 1 - 1 / speedup.

    Says which of the two an "x % faster" means: 28 % less time is a speed-up of 1.39, not of 1.28.

    Args:
        speedup: time of the baseline / time of the candidate, positive; infinite when the baseline never arrives.

    Returns:
        In (-inf, 1]: 0 for equal times, negative when the candidate takes longer.

    Raises:
        InputError: a speed-up that is zero, negative or NaN.
    """
    if not speedup > 0:
        raise InputError(f"a speed-up is a positive ratio of times, baseline / candidate, got {speedup}")
    return 1 - 1 / speedup


def paired_differences(a: Values, b: Values) -> list[float]:
    """a - b for every seed; mappings in the order of their seeds.

    Raises:
        NotComparableError: unequal lengths, mappings with different seeds, or only one side a mapping.
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if a.keys() != b.keys():
            raise NotComparableError(
                f"paired comparison needs the same seeds: {sorted(a)} against {sorted(b)}; run the missing ones"
            )
        return [a[seed] - b[seed] for seed in sorted(a)]
    if isinstance(a, Mapping) or isinstance(b, Mapping):
        raise NotComparableError("one side is a mapping from seed to value, the other is not; give both the same form")
    if len(a) != len(b):
        raise NotComparableError(
            f"paired comparison needs the same seeds on both sides: {len(a)} values against {len(b)}; "
            "run the missing ones"
        )
    return [x - y for x, y in zip(a, b, strict=True)]


def logarithms(costs: Values) -> Values:
    """The natural logarithm of positive costs, in the form they came in.

    Raises:
        InputError: a value that is not positive and finite.
    """
    if bad := [v for v in sequence_of(costs) if not 0 < v < math.inf]:
        raise InputError(f"a ratio needs positive finite costs, got {bad}")
    if isinstance(costs, Mapping):
        return {seed: math.log(v) for seed, v in costs.items()}
    return [math.log(v) for v in costs]


def sequence_of(values: Values) -> list[float]:
    """The numbers without their seeds; of a mapping in the order of the seeds."""
    return [values[seed] for seed in sorted(values)] if isinstance(values, Mapping) else list(values)


def check_confidence(confidence: float) -> None:
    """Raises InputError unless `confidence` lies in (0, 1)."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence is a probability in (0, 1), got {confidence}; for 95 % pass 0.95")


def moments(values: Sequence[float]) -> tuple[int, float, float]:
    """Number, mean, and variance with divisor n - 1 (0 for one value).

    Raises:
        InputError: no values, or a NaN or infinite value.
    """
    values = [float(v) for v in values]
    if not values:
        raise InputError("the mean of no values does not exist; give at least one run")
    if not all(map(math.isfinite, values)):
        raise InputError(f"values must be finite, got {values}; leave failed runs out and report them as failed")
    n = len(values)
    mean = math.fsum(values) / n
    return n, mean, math.fsum((v - mean) ** 2 for v in values) / max(n - 1, 1)


def _student_quantile(degrees: float, confidence: float) -> float:
    from scipy.special import stdtrit  # imported here: loading this module must stay light

    return float(stdtrit(degrees, (1 + confidence) / 2))
