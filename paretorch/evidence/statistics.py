"""Means over seeds with an honest interval, and differences and ratios of paired seeds.

    mean ± t * s / sqrt(n),   t = Student quantile with n - 1 degrees of freedom, s with divisor n - 1

Student's interval and not a percentile bootstrap: with 3 seeds a nominal 95 % bootstrap interval covers about 73 %
of the time, Student's 95 % (normal data). Two arms that ran the same seeds are compared seed by seed, which removes
the variance they share (initial weights, data order). Times and other positive costs are compared as ratios, on the
logarithm. Fewer than five seeds are marked "low-n" wherever they are printed.

Intervals describe one comparison at a time; they are not adjusted for how many comparisons a report makes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paretorch.errors import InputError, NotComparableError

LOW_N = 5


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
    if not 0 < confidence < 1:
        raise InputError(f"confidence is a probability in (0, 1), got {confidence}; for 95 % pass 0.95")
    values = [float(v) for v in values]
    if not values:
        raise InputError("the mean of no values does not exist; give at least one run")
    if not all(map(math.isfinite, values)):
        raise InputError(f"values must be finite, got {values}; leave failed runs out and report them as failed")
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, None, None, 1, confidence)

    from scipy.special import stdtrit  # imported here: loading this module must stay light

    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * deviation / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n, confidence)


def paired_interval(
    a: Sequence[float] | Mapping[int, float], b: Sequence[float] | Mapping[int, float], *, confidence: float = 0.95
) -> Interval:
    """Interval of the mean of a - b, pair by pair.

    Args:
        a, b: one value per seed: two sequences in the same order of seeds, or two mappings from seed to value.
        confidence: nominal coverage in (0, 1).

    Raises:
        NotComparableError: unequal lengths, or mappings with different seeds.
        InputError: as `mean_interval`.
    """
    pairs = _pairs(a, b)
    return mean_interval([x - y for x, y in pairs], confidence=confidence)


def ratio_interval(
    a: Sequence[float] | Mapping[int, float], b: Sequence[float] | Mapping[int, float], *, confidence: float = 0.95
) -> Interval:
    """Interval of the geometric mean of a / b, pair by pair: exp(mean ± t * s / sqrt(n)) of ln a - ln b.

    Special case: of a with itself, mean, low and high are 1; of b and a, the reciprocals.

    Args:
        a, b: positive costs, as in `paired_interval`.
        confidence: nominal coverage in (0, 1).

    Raises:
        NotComparableError: as `paired_interval`.
        InputError: a value that is not positive and finite.
    """
    pairs = _pairs(a, b)
    if bad := [v for pair in pairs for v in pair if not 0 < v < math.inf]:
        raise InputError(f"a ratio needs positive finite costs, got {bad}")
    log = mean_interval([math.log(x) - math.log(y) for x, y in pairs], confidence=confidence)
    low, high = (None if end is None else math.exp(end) for end in (log.low, log.high))
    return Interval(math.exp(log.mean), low, high, log.n, confidence)


def _pairs(
    a: Sequence[float] | Mapping[int, float], b: Sequence[float] | Mapping[int, float]
) -> list[tuple[float, float]]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if a.keys() != b.keys():
            raise NotComparableError(
                f"paired comparison needs the same seeds: {sorted(a)} against {sorted(b)}; run the missing ones"
            )
        return [(a[seed], b[seed]) for seed in sorted(a)]
    if isinstance(a, Mapping) or isinstance(b, Mapping):
        raise NotComparableError("one side is a mapping from seed to value, the other is not; give both the same form")
    if len(a) != len(b):
        raise NotComparableError(
            f"paired comparison needs the same seeds on both sides: {len(a)} values against {len(b)}; "
            "run the missing ones"
        )
    return list(zip(a, b, strict=True))
