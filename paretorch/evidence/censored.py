"""Time to target when some runs never reach it, and none is known more exactly than its evaluations.

A run is evaluated at t_1 < t_2 < ...; where evaluation k is the first at the target, the true time lies in
(t_(k-1), t_k], and both ends are kept. A run that never is at the target is censored: its time exceeds the last
evaluation. Censored runs enter every estimator; leaving them out would favour the arm that fails more often.

    Kaplan-Meier    S(t) = prod over t_j <= t of (1 - d_j / n_j),   d_j hits at t_j, n_j runs not yet hit or censored
    median          the smallest t with S(t) <= 1/2, infinite where more than half of the runs miss
    RMST            integral of S from 0 to the horizon: the mean time spent, counting at most the horizon per run
    ERT             sum of min(t_i, budget) / number of hits: expected time if missed runs are restarted from scratch
    PAR-k           mean of t_i, a miss counting k times the budget

Sources: Kaplan and Meier, "Nonparametric estimation from incomplete observations" (JASA 53, 1958); Royston and Parmar,
"Restricted mean survival time" (BMC Medical Research Methodology 13:152, 2013); Hansen et al., "COCO: performance
assessment" (arXiv:1605.03560) for ERT.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from paretorch.errors import InputError
from paretorch.evidence.statistics import Interval, check_confidence, rate_interval


@dataclass(frozen=True)
class TargetTime:
    """When one run reached a target, as far as its evaluations tell.

    Args:
        low: time of the last evaluation before the target was reached; 0 if the first one was at it. Of a run that
            missed: how long it tried.
        high: time of the evaluation that found the target reached; None if none did.

    Raises:
        InputError: a time that is negative, infinite or NaN, or high before low.
    """

    low: float
    high: float | None

    def __post_init__(self) -> None:
        ends = (self.low,) if self.high is None else (self.low, self.high)
        if not all(0 <= end < math.inf for end in ends) or list(ends) != sorted(ends):
            raise InputError(
                f"a target is reached between two finite times, 0 <= low <= high, got ({self.low}, {self.high}]; "
                "for a run that missed give (time it tried, None)"
            )

    @classmethod
    def of_hit(cls, hit: Mapping[str, Any]) -> "TargetTime":
        """From an entry of `RunRecord.hits`: "t_lo" and "t_hi", the latter None where the target was missed."""
        if missing := {"t_lo", "t_hi"} - hit.keys():
            raise InputError(f"a hit needs t_lo and t_hi, and {sorted(missing)} is missing in {dict(hit)}")
        return cls(hit["t_lo"], hit["t_hi"])

    @property
    def reached(self) -> bool:
        """Whether the target was seen."""
        return self.high is not None

    @property
    def observed(self) -> float:
        """The time that estimators use: of the evaluation that found the target, or how long a missed run tried."""
        return self.low if self.high is None else self.high

    @property
    def time(self) -> float:
        """As `observed`, and infinite for a run that missed."""
        return math.inf if self.high is None else self.high

    def within(self, budget: float) -> bool:
        """Whether the target was seen no later than the budget, which may be infinite."""
        return self.high is not None and self.high <= budget


def time_to_target(
    curve: Sequence[tuple[float, float]],
    target: float,
    *,
    higher_is_better: bool = True,
    consecutive: int = 1,
    tried_until: float | None = None,
) -> TargetTime:
    """When a curve of evaluations first meets a target.

    A NaN meets no target. A noisy metric crosses a target by luck, and more often the more often one looks: ask for
    two consecutive evaluations, and compare arms that were evaluated equally often in time (`unequal_cadence`).

    Args:
        curve: (time, metric) per evaluation; times increase.
        target: value to be reached; meeting it exactly is reaching it.
        higher_is_better: direction of the metric.
        consecutive: how many evaluations in a row must meet it; the last of them is the moment it is reached.
        tried_until: for a run that ended for good (diverged): the time up to which it counts as having missed, its
            whole budget. None = its last evaluation.

    Raises:
        InputError: no evaluations, times that do not increase, a target that is not finite, consecutive < 1, or
            `tried_until` before the last evaluation.
    """
    times = [t for t, _ in curve]
    if not times or any(b <= a for a, b in pairwise(times)):
        raise InputError(f"a curve needs at least one evaluation, at increasing times, got times {times}")
    if not math.isfinite(target):
        raise InputError(f"the target must be finite, got {target}")
    if consecutive < 1:
        raise InputError(f"consecutive counts evaluations and is at least 1, got {consecutive}")
    if tried_until is not None and not tried_until >= times[-1]:
        raise InputError(f"tried_until = {tried_until} lies before the last evaluation at {times[-1]}")
    streak = 0
    for index, (time, metric) in enumerate(curve):
        met = metric >= target if higher_is_better else metric <= target  # False for NaN, both ways
        streak = streak + 1 if met else 0
        if streak == consecutive:
            return TargetTime(times[index - 1] if index else 0.0, time)
    return TargetTime(times[-1] if tried_until is None else tried_until, None)


def earliest(times: Sequence[TargetTime]) -> list[TargetTime]:
    """The runs as if each target had been reached right after the evaluation before: the other bound of any estimate.

    All estimators here use the evaluation that found the target, the latest moment it can have been reached. What they
    give for `earliest(times)` is the bound from below; the truth lies between the two.
    """
    return [replace(t, high=t.low) if t.reached else t for t in times]


@dataclass(frozen=True)
class Survival:
    """Kaplan-Meier estimate of the share of runs that have not reached the target yet.

    Args:
        times: where a run hit or was censored, increasing.
        share: S just after each time; S = 1 before the first, constant in between.
        low, high: ends of its interval (exponential Greenwood); None where it is not defined, at S = 1 and S = 0.
    """

    times: tuple[float, ...]
    share: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]

    def at(self, time: float) -> float:
        """S(time), continuous from the right."""
        return next((s for t, s in zip(reversed(self.times), reversed(self.share), strict=True) if t <= time), 1.0)

    @property
    def known_until(self) -> float:
        """The last time at which S is known: infinite if every run's end is a hit, else the longest try."""
        return math.inf if self.share[-1] == 0 else self.times[-1]


def survival(times: Sequence[TargetTime], *, confidence: float = 0.95) -> Survival:
    """Kaplan-Meier's estimate, by `scipy.stats.ecdf`.

    It assumes that runs are not censored because they were doing badly: give diverged runs their whole budget
    (`tried_until`).

    Raises:
        InputError: no runs, or a confidence outside (0, 1).
    """
    _check(times)
    check_confidence(confidence)
    from scipy.stats import CensoredData, ecdf  # imported here: loading this module must stay light

    hits, misses = ([t.observed for t in times if t.reached is wanted] for wanted in (True, False))
    estimate = ecdf(CensoredData(uncensored=hits, right=misses)).sf
    with warnings.catch_warnings():
        # Greenwood's formula has no value at S = 1 and S = 0; those ends become None below.
        warnings.filterwarnings("ignore", message="The confidence interval is undefined", category=RuntimeWarning)
        ends = estimate.confidence_interval(confidence, method="log-log")
    low, high = (tuple(None if math.isnan(v) else float(v) for v in end.probabilities) for end in (ends.low, ends.high))
    return Survival(tuple(map(float, estimate.quantiles)), tuple(map(float, estimate.probabilities)), low, high)


def median_time(times: Sequence[TargetTime]) -> float:
    """Smallest time with S <= 1/2; infinite where S stays above."""
    curve = survival(times)
    slack = 1e-12  # of the rounding in a product of fractions
    return next((t for t, share in zip(curve.times, curve.share, strict=True) if share <= 0.5 + slack), math.inf)


def restricted_mean(times: Sequence[TargetTime], *, horizon: float) -> float:
    """RMST: area under the Kaplan-Meier curve from 0 to the horizon.

    Raises:
        InputError: no runs, a horizon that is not positive and finite, or one beyond what the runs can tell.
    """
    curve = survival(times)
    if not 0 < horizon < math.inf:
        raise InputError(f"the horizon must be a positive finite time, got {horizon}")
    if horizon > curve.known_until:
        raise InputError(
            f"the horizon is {horizon}, but the run that tried longest missed and stopped at {curve.known_until}; what "
            "happens later is not known. Use a horizon no later than that, or train longer"
        )
    area, before, share = 0.0, 0.0, 1.0
    for time, after in zip(curve.times, curve.share, strict=True):
        if time >= horizon:
            break
        area += share * (time - before)
        before, share = time, after
    return area + share * (horizon - before)


def expected_running_time(times: Sequence[TargetTime], *, budget: float = math.inf) -> float:
    """ERT: all time spent, at most the budget per run, over the number of hits within it; infinite without a hit."""
    _check(times, budget)
    hits = sum(t.within(budget) for t in times)
    return math.fsum(min(t.observed, budget) for t in times) / hits if hits else math.inf


def penalised_mean(times: Sequence[TargetTime], *, budget: float, factor: float = 10.0) -> float:
    """PAR-k: mean time, a run that missed within the budget counting factor * budget.

    Raises:
        InputError: no runs, a budget that is not positive and finite, a factor below 1, or a run that stopped earlier
            than the budget without a hit, so that it is not known whether it would have hit.
    """
    _check(times, budget)
    if not math.isfinite(budget) or not 1 <= factor < math.inf:
        raise InputError(f"PAR-k needs a finite budget and a finite factor of at least 1, got {budget} and {factor}")
    _check_tried(times, budget)
    return math.fsum(t.observed if t.within(budget) else factor * budget for t in times) / len(times)


def success_rate(times: Sequence[TargetTime], *, budget: float = math.inf, confidence: float = 0.95) -> Interval:
    """Share of runs that hit within the budget, with Wilson's interval.

    Raises:
        InputError: no runs, a budget that is not positive, a confidence outside (0, 1), or a run that stopped earlier
            than a finite budget without a hit.
    """
    _check(times, budget)
    if math.isfinite(budget):
        _check_tried(times, budget)
    return rate_interval(sum(t.within(budget) for t in times), len(times), confidence=confidence)


def _check(times: Sequence[TargetTime], budget: float = math.inf) -> None:
    if not times:
        raise InputError("no runs were given; censored runs count too, so give every run that was started")
    if not budget > 0:
        raise InputError(f"the budget must be a positive time, got {budget}")


def _check_tried(times: Sequence[TargetTime], budget: float) -> None:
    if short := [t.low for t in times if not t.reached and t.low < budget]:
        raise InputError(
            f"runs stopped at {short} without a hit, before the budget of {budget}: whether they would have hit is not "
            "known. Use the smallest of these as the budget, or pass tried_until for runs that diverged"
        )
