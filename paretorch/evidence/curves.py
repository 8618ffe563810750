"""A trade-off curve, quality against cost, and what two of them say: speed-up, gain, and the average over a range.

    tau(q*)  = least cost at which quality q* is reached            infinite where it never is
    S(q*)    = tau_B(q*) / tau_A(q*)                                at equal quality; above 1, A is cheaper
    G(c*)    = q_A(c*) - q_B(c*)                                    at equal cost
    ln S-bar = 1 / (q_hi - q_lo) * integral from q_lo to q_hi of [ln tau_B(q) - ln tau_A(q)] dq

Measured curves are not monotone (a long training may end below a shorter one), so a curve is its envelope: the points
that are better than every cheaper one. Between them a monotone cubic (PCHIP) of the quality over the logarithm of the
cost, inverted numerically; interpolating the log cost linearly in the quality is off by 3 % where the two grids of
durations differ. Both S(q*) and G(c*) are functions: whether a method pays can depend on q*.

Sources: PCHIP, Fritsch and Butland 1984; averaging log cost over a common range of quality, Bjontegaard 2001 (for bit
rates); time to quality over families of durations, Portes et al. 2022 (arXiv 2206.00832).
"""

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from paretorch.errors import InputError, NotComparableError

_STEPS = 80  # enough to halve any interval of ln cost below what settles it
_SETTLED = 1e-12  # change of ln cost: a relative change of the cost


class TradeoffCurve:
    """Quality against cost, from several runs of one recipe with different durations.

    Args:
        points: (cost, quality) of each run, in any order; costs are positive. No points at all make the curve of
            something that never reached anything.
        higher_is_better: direction of the quality.

    Raises:
        InputError: a cost that is not positive and finite, or a quality that is not finite.
    """

    def __init__(self, points: Iterable[tuple[float, float]], *, higher_is_better: bool = True) -> None:
        self.points = tuple(sorted((float(cost), float(quality)) for cost, quality in points))
        self.higher_is_better = higher_is_better
        for cost, quality in self.points:
            if not 0 < cost < math.inf or not math.isfinite(quality):
                raise InputError(
                    "a point of a trade-off curve has a positive finite cost and a finite quality, got cost "
                    f"{cost} and quality {quality}; leave out runs that did not finish: they reach nothing"
                )

    @cached_property
    def envelope(self) -> tuple[tuple[float, float], ...]:
        """The points that are better than every cheaper one, by rising cost; of equals, the cheapest."""
        kept: list[tuple[float, float]] = []
        for cost, quality in sorted(self.points, key=lambda point: (point[0], -self._sign * point[1])):
            if not kept or self._sign * (quality - kept[-1][1]) > 0:
                kept.append((cost, quality))
        return tuple(kept)

    @property
    def quality_range(self) -> tuple[float, float] | None:
        """(quality of the cheapest run, best quality); None without points."""
        return (self.envelope[0][1], self.envelope[-1][1]) if self.envelope else None

    @property
    def cost_range(self) -> tuple[float, float] | None:
        """(least, largest) cost that was measured; None without points."""
        return (self.points[0][0], self.points[-1][0]) if self.points else None

    def reached_at_start(self, quality: float) -> bool:
        """Whether the cheapest run reaches `quality`, so that `time_to` is an upper bound of the cost and no more."""
        return bool(self.envelope) and self._sign * (self.envelope[0][1] - quality) >= 0

    def reaches(self, quality: float) -> bool:
        """Whether any run reaches `quality`."""
        return bool(self.envelope) and self._sign * (self.envelope[-1][1] - quality) >= 0

    def time_to(self, quality: float) -> float:
        """Least cost at which the envelope reaches `quality`.

        Returns:
            Infinity where it is not reached; the cheapest cost, an upper bound, where `reached_at_start`.

        Raises:
            InputError: the quality is NaN.
        """
        return self.times_to([quality])[0]

    def times_to(self, qualities: Sequence[float]) -> list[float]:
        """`time_to` of several qualities."""
        import numpy as np  # imported here: loading this module must stay light

        wanted = self._sign * np.asarray(qualities, dtype=float)
        if np.isnan(wanted).any():
            raise InputError(f"qualities are numbers, got {list(qualities)}")
        if not self.envelope:
            return [math.inf] * len(wanted)
        costs, values = self._arrays
        index = np.searchsorted(values, wanted, side="left")
        within = np.minimum(index, len(values) - 1)
        times = np.where(index < len(values), costs[within], math.inf)  # exact where it was measured
        inside = (index > 0) & (index < len(values)) & (values[within] != wanted)
        if inside.any():
            times[inside] = np.exp(self._inverse(wanted[inside]))
        return [float(time) for time in times]

    def quality_at(self, cost: float) -> float:
        """Quality of the envelope at `cost`; beyond the dearest run the best one, which is a lower bound there.

        Raises:
            InputError: there are no points, or the cost is below that of the cheapest run.
        """
        if not self.envelope or not cost >= self.envelope[0][0]:
            least = f"the cheapest run cost {self.envelope[0][0]:g}" if self.envelope else "no run finished"
            raise InputError(f"nothing is known of the quality at cost {cost:g}: {least}; ask for a larger cost")
        if cost >= self.envelope[-1][0]:
            return self.envelope[-1][1]
        return self._sign * float(self._spline(math.log(cost)))

    def log_cost_integral(self, quality_range: tuple[float, float]) -> float:
        """Integral of ln tau(q) over a range of qualities, exact for the interpolant.

        By parts, with x = ln cost: the integral of x dq is [x q] minus the integral of q dx, a polynomial's.

        Args:
            quality_range: (q_lo, q_hi), the easier and the harder quality, both within `quality_range`.

        Raises:
            InputError: the range is empty or reaches beyond the curve's.
        """
        low, high = (self._sign * quality for quality in quality_range)
        own = self.quality_range
        if own is None or not self._sign * own[0] <= low < high <= self._sign * own[1]:
            raise InputError(f"the range of qualities {quality_range} must go from easy to hard and lie within {own}")
        start, end = (math.log(time) for time in self.times_to(quality_range))
        return float(end * high - start * low - self._spline.integrate(start, end))

    @property
    def _sign(self) -> float:
        return 1.0 if self.higher_is_better else -1.0

    @cached_property
    def _arrays(self) -> tuple[Any, Any]:
        """Costs of the envelope, and its qualities with the sign that makes more better."""
        import numpy as np

        costs, values = np.array(self.envelope).T
        return costs, self._sign * values

    @cached_property
    def _spline(self) -> Any:
        """PCHIP of the signed quality over ln cost; it needs two points."""
        import numpy as np
        from scipy.interpolate import PchipInterpolator

        costs, values = self._arrays
        return PchipInterpolator(np.log(costs), values)

    def _inverse(self, wanted: Any) -> Any:
        """ln cost at signed qualities between the first and the last: Newton, kept within a shrinking interval."""
        import numpy as np

        spline, values = self._spline, self._arrays[1]
        interval = np.searchsorted(values, wanted, side="left") - 1
        cubic, square, linear, constant = spline.c[:, interval]
        low, high = np.zeros(len(wanted)), spline.x[interval + 1] - spline.x[interval]
        at = high * (wanted - values[interval]) / (values[interval + 1] - values[interval])
        for _ in range(_STEPS):
            excess = ((cubic * at + square) * at + linear) * at + constant - wanted
            slope = (3 * cubic * at + 2 * square) * at + linear
            low, high = np.where(excess < 0, at, low), np.where(excess < 0, high, at)
            new = at - excess / np.where(slope > 0, slope, 1.0)
            new = np.where((slope > 0) & (low <= new) & (new <= high), new, (low + high) / 2)
            settled = np.abs(new - at) <= _SETTLED
            at = new
            if settled.all():
                break
        return spline.x[interval] + at


def common_range(curves: Iterable[TradeoffCurve]) -> tuple[float, float] | None:
    """The qualities that every curve passes through: (q_lo, q_hi), the easier and the harder end.

    Returns:
        None where there are none: a curve has no points, or one starts where another ends.

    Raises:
        NotComparableError: the curves differ in the direction of their quality.
    """
    curves = list(curves)
    if len({curve.higher_is_better for curve in curves}) > 1:
        raise NotComparableError("some curves are higher-is-better and others lower-is-better; compare one metric")
    ranges = [curve.quality_range for curve in curves]
    found = [own for own in ranges if own is not None]
    if not found or len(found) < len(ranges):
        return None
    harder, easier = (max, min) if curves[0].higher_is_better else (min, max)
    low, high = harder(own[0] for own in found), easier(own[1] for own in found)
    return (low, high) if curves[0]._sign * (high - low) > 0 else None


def cost_ratio(candidate: TradeoffCurve, baseline: TradeoffCurve, *, quality: float) -> float:
    """S(q*) = tau_B(q*) / tau_A(q*): what the baseline pays for a quality over what the candidate pays.

    Returns:
        Infinity where only the candidate reaches it, 0 where only the baseline does, NaN where neither does.
    """
    ours, theirs = candidate.time_to(quality), baseline.time_to(quality)
    return math.nan if ours == theirs == math.inf else theirs / ours


def quality_gain(candidate: TradeoffCurve, baseline: TradeoffCurve, *, cost: float) -> float:
    """G(c*) = q_A(c*) - q_B(c*), in the metric's own sign.

    Raises:
        InputError: as `TradeoffCurve.quality_at`.
    """
    return candidate.quality_at(cost) - baseline.quality_at(cost)


def average_ratio(
    candidate: TradeoffCurve, baseline: TradeoffCurve, *, quality_range: tuple[float, float] | None = None
) -> float:
    """S-bar, the geometric mean of S(q*) over a range of qualities.

    Special case: for an exact dilation, q_A(c) = q_B(k c), it is k.

    Args:
        candidate, baseline: A and B.
        quality_range: (q_lo, q_hi); None takes all that both curves pass through.

    Raises:
        NotComparableError: no quality is reached by both.
        InputError: the range reaches beyond a curve.
    """
    span = quality_range or common_range([candidate, baseline])
    if span is None:
        raise NotComparableError(
            f"the curves share no quality: {candidate.quality_range} against {baseline.quality_range}; add shorter "
            "runs of the better one or longer runs of the other"
        )
    width = abs(span[1] - span[0])
    return math.exp((baseline.log_cost_integral(span) - candidate.log_cost_integral(span)) / width)
