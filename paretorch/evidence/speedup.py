"""Two families compared seed by seed: speed-up at equal quality, gain at equal cost, and what the speed-up consists of.

    ln S_s(q*) = ln tau_B,s - ln tau_A,s          S = exp(mean ± t * sd / sqrt(n)) over the paired seeds s
    S_s = (K_B / K_A) * (t_B / t_A)               statistical: fewer steps to q*; hardware: less time per step

The range of qualities is what every seed of both families passes through, so that every level in it is reached by
every seed. At a level that some seed does not reach, that seed is counted and no interval is given, only a bound:
leaving it out would favour the family that fails more often. The same holds for a level that a seed's cheapest run
reaches already, whose true cost is unknown.

One result is primary, chosen beforehand: the average over the range. Whether its interval excludes 1 decides; single
levels are shown beside it and decide nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from paretorch.errors import InputError
from paretorch.evidence.comparable import check_comparable
from paretorch.evidence.curves import TradeoffCurve, average_ratio, common_range, cost_ratio, quality_gain
from paretorch.evidence.families import Axis, Family, Scope
from paretorch.evidence.statistics import Interval, paired_interval, ratio_interval

LEVELS = (0.25, 0.5, 0.75)  # of the range; at its hard end the plateau makes every cost uncertain
GRID = 30
Curves = Mapping[int, TradeoffCurve]


@dataclass(frozen=True)
class AtQuality:
    """The ratio of costs, baseline over candidate, at one quality.

    Args:
        quality: q*.
        ratio: geometric mean over the seeds; None where a seed's cost is not known on both sides.
        censored_candidate, censored_baseline: seeds that do not reach it.
        at_least, at_most: bounds of the geometric mean where there is no ratio; None where there is no bound.
    """

    quality: float
    ratio: Interval | None
    censored_candidate: int = 0
    censored_baseline: int = 0
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True)
class AtCost:
    """Quality of the candidate minus that of the baseline at one cost, in the metric's own sign.

    Args:
        cost: c*, in the unit of the axis.
        difference: mean over the seeds.
    """

    cost: float
    difference: Interval | None


@dataclass(frozen=True)
class Split:
    """The ratio at the middle quality as a product, exact for every seed.

    Args:
        statistical: steps of the baseline over steps of the candidate; None where there is no ratio.
        hardware: seconds per step of the baseline over those of the candidate; None on any other axis than seconds.
        unit: what is counted, "steps", or "samples" where the two families' batches differ in size.
    """

    statistical: Interval | None
    hardware: Interval | None
    unit: Literal["steps", "samples"] = "steps"


@dataclass(frozen=True, kw_only=True)
class Speedup:
    """What a candidate gains over a baseline. Ratios are baseline / candidate: above 1, the candidate is cheaper.

    They are speed-ups on the axis "seconds" only; on the others they say how many times fewer steps, samples and so on.

    Args:
        candidate, baseline: the families.
        axis, scope: what was charged.
        seeds: those that both have run.
        range: (q_lo, q_hi), the easier and the harder end of what every seed of both passes through; None: nothing.
        average: geometric mean over the range, the primary result; None without a range.
        at: at the qualities asked for.
        grid: at `GRID` qualities over the range, for plots.
        gains: at the least, the middle (of the logarithm) and the largest cost that every seed of both has measured.
        split: at the middle quality of the range.
        p_value: two-sided, of Student's test that the average is 1; None with one seed or without a range.
        ratios: seed -> its average ratio over the range, of which `average` is the mean; {} without a range.
        points: durations that both families share and that ended well, in the seed with the fewest.
        span: longest over shortest of these, in the seed with the smallest; 1 without any.
    """

    candidate: Family
    baseline: Family
    axis: Axis
    scope: Scope
    seeds: tuple[int, ...]
    range: tuple[float, float] | None
    average: Interval | None
    at: tuple[AtQuality, ...]
    grid: tuple[AtQuality, ...]
    gains: tuple[AtCost, ...]
    split: Split
    p_value: float | None
    ratios: dict[int, float]
    points: int
    span: float

    def places(self, family: Family) -> bool:
        """Whether a family has a cost in the scope of this comparison."""
        return self.scope == "total" or family.shares_dense


def compare_families(
    candidate: Family,
    baseline: Family,
    *,
    axis: Axis = "seconds",
    scope: Scope = "total",
    qualities: Sequence[float] | None = None,
    confidence: float = 0.95,
) -> Speedup:
    """Compare two families over the seeds that both have run.

    Args:
        candidate, baseline: of one task; on the axes seconds and energy_j also of one machine and torch.
        axis: what the cost is counted in.
        scope: "total", or "after_dense" to leave out the dense training that both share.
        qualities: where S(q*) is read, one at least; None: at a quarter, half and three quarters of the range.
        confidence: of all intervals.

    Raises:
        NotComparableError: another task, metric, machine or torch, another way of timing, or no shared seed.
        InputError: no or not finite qualities, or as `Family.curve`.
    """
    if qualities is not None and not (qualities and all(map(math.isfinite, qualities))):
        raise InputError(f"qualities are one or more finite numbers, or None; got {qualities!r}")
    seeds = check_comparable([candidate, baseline], axis=axis)
    ours = {seed: candidate.curve(seed, axis=axis, scope=scope) for seed in seeds}
    theirs = {seed: baseline.curve(seed, axis=axis, scope=scope) for seed in seeds}
    span = common_range([*ours.values(), *theirs.values()])
    levels = _levels(span, LEVELS) if qualities is None else [float(quality) for quality in qualities]
    fine, middle = _levels(span, [(i + 1) / GRID for i in range(GRID)]), _levels(span, [0.5])
    times = [_times(curves, [*levels, *fine, *middle]) for curves in (ours, theirs)]
    # The middle is last, and is no level of its own.
    at = tuple(_at(ours, theirs, q, a, b, confidence) for q, a, b in zip([*levels, *fine], *times, strict=False))
    split, average, ratios = Split(None, None), None, {}
    if span is not None:
        ratios = {seed: average_ratio(ours[seed], theirs[seed], quality_range=span) for seed in seeds}
        average = ratio_interval(ratios, dict.fromkeys(seeds, 1.0), confidence=confidence)
        halfway = {seed: times[1][-1][seed] / times[0][-1][seed] for seed in seeds}
        split = _split(candidate, baseline, halfway, middle[0], axis=axis, scope=scope, confidence=confidence)
    shared = set(candidate.durations) & set(baseline.durations)
    finished = [sorted(shared.intersection(arm.finished(seed))) for arm in (candidate, baseline) for seed in seeds]
    return Speedup(
        candidate=candidate,
        baseline=baseline,
        axis=axis,
        scope=scope,
        seeds=seeds,
        range=span,
        average=average,
        at=at[: len(levels)],
        grid=at[len(levels) :],
        gains=_gains(ours, theirs, confidence),
        split=split,
        p_value=None if average is None else student_p(average),
        ratios=ratios,
        points=min(map(len, finished)),
        span=min(held[-1] / held[0] if held and held[0] > 0 else 1.0 for held in finished),
    )


def student_p(ratio: Interval) -> float | None:
    """Two-sided p-value of Student's test that a geometric mean is 1, from its interval; None with one seed.

    It is below 1 - confidence exactly where the interval excludes 1.
    """
    if ratio.low is None or ratio.high is None:
        return None
    from scipy.special import stdtr, stdtrit  # imported here: loading this module must stay light

    mean, half = math.log(ratio.mean), math.log(ratio.high / ratio.low) / 2
    if half == 0:
        return 1.0 if mean == 0 else 0.0
    error = half / float(stdtrit(ratio.n - 1, (1 + ratio.confidence) / 2))
    return float(2 * stdtr(ratio.n - 1, -abs(mean) / error))


def _levels(span: tuple[float, float] | None, shares: Sequence[float]) -> list[float]:
    return [] if span is None else [span[0] * (1 - share) + span[1] * share for share in shares]


def _times(curves: Curves, qualities: Sequence[float]) -> list[dict[int, float]]:
    """Per quality, the cost of every seed."""
    found = {seed: curve.times_to(qualities) for seed, curve in curves.items()}
    return [{seed: times[i] for seed, times in found.items()} for i in range(len(qualities))]


def _at(
    ours: Curves, theirs: Curves, quality: float, a: dict[int, float], b: dict[int, float], confidence: float
) -> AtQuality:
    censored = [sum(time == math.inf for time in times.values()) for times in (a, b)]
    if any(censored) or any(curve.reached_at_start(quality) for curve in (*ours.values(), *theirs.values())):
        low, high = _bounds(ours, theirs, a, b, quality)
        return AtQuality(quality, None, censored[0], censored[1], low, high)
    return AtQuality(quality, ratio_interval(b, a, confidence=confidence))


def _bounds(
    ours: Curves, theirs: Curves, a: Mapping[int, float], b: Mapping[int, float], quality: float
) -> tuple[float | None, float | None]:
    """Least and largest geometric mean of b / a that the known costs allow."""

    def ends(curve: TradeoffCurve, time: float) -> tuple[float, float]:
        if time == math.inf:
            return (math.log(curve.cost_range[1]) if curve.cost_range else -math.inf), math.inf
        return (-math.inf if curve.reached_at_start(quality) else math.log(time)), math.log(time)

    pairs = [(ends(ours[seed], a[seed]), ends(theirs[seed], b[seed])) for seed in a]
    low = sum(their[0] - our[1] for our, their in pairs) / len(pairs)
    high = sum(their[1] - our[0] for our, their in pairs) / len(pairs)
    return (math.exp(low) if low > -math.inf else None), (math.exp(high) if high < math.inf else None)


def _split(
    candidate: Family,
    baseline: Family,
    ratios: Mapping[int, float],
    quality: float,
    *,
    axis: Axis,
    scope: Scope,
    confidence: float,
) -> Split:
    batches = [family.batch for family in (candidate, baseline)]
    unit: Literal["steps", "samples"] = "steps"
    if None not in batches and batches[0] != batches[1]:
        unit = "samples"  # a step of another batch size is another amount of work
    if axis == unit:
        counted = ratios
    else:
        a, b = ({s: arm.curve(s, axis=unit, scope=scope) for s in ratios} for arm in (candidate, baseline))
        counted = {seed: cost_ratio(a[seed], b[seed], quality=quality) for seed in ratios}
    statistical = ratio_interval(counted, dict.fromkeys(counted, 1.0), confidence=confidence)
    hardware = ratio_interval(ratios, counted, confidence=confidence) if axis == "seconds" else None
    return Split(statistical, hardware, unit)


def _gains(ours: Curves, theirs: Curves, confidence: float) -> tuple[AtCost, ...]:
    ranges = [curve.cost_range for curve in (*ours.values(), *theirs.values())]
    known = [own for own in ranges if own is not None]
    if len(known) < len(ranges):
        return ()
    low, high = max(own[0] for own in known), min(own[1] for own in known)
    if low > high:
        return ()
    costs = dict.fromkeys([low, min(math.sqrt(low * high), high), high])
    return tuple(AtCost(cost, _gain(ours, theirs, cost, confidence)) for cost in costs)


def _gain(ours: Curves, theirs: Curves, cost: float, confidence: float) -> Interval:
    gains = {seed: quality_gain(ours[seed], theirs[seed], cost=cost) for seed in ours}
    return paired_interval(gains, dict.fromkeys(gains, 0.0), confidence=confidence)
