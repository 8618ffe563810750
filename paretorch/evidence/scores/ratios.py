"""Times over those of one fixed reference: the comparison of a pair that no third submission can change.

    ratio_w = t_(candidate,w) / t_(reference,w),     over all workloads: the geometric mean, misses set to budget + 1 s

A missed target has no time. Putting budget + 1 s in its place is what AlgoPerf publishes: where the candidate missed,
the true ratio is larger, where the reference did, smaller, and where both did, the ratio of 1 pulls the mean towards 1.
So every result counts what was put in.

"28 % less time" is a ratio of .72 and a speed-up of 1.39, not of 1.28: `text` prints both.

Source: Kasimbeg et al., "Accelerating neural network training: an analysis of the AlgoPerf competition"
(arXiv:2502.15015); MLCommons' scoring rules.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.scores.profiles import Times, check_times
from paretorch.evidence.statistics import time_reduction
from paretorch.evidence.words import percent, plural

MARGIN_S = 1.0  # what a missed target exceeds the budget by


@dataclass(frozen=True)
class MeanRatio:
    """Geometric mean of the times of a candidate over those of a reference.

    Args:
        ratio: candidate / reference; below 1 where the candidate is faster.
        workloads: how many the mean is over.
        missed: workloads that only the candidate missed; the true ratio is larger.
        missed_by_reference: workloads that only the reference missed; the true ratio is smaller.
        missed_by_both: workloads that both missed and that count 1.
    """

    ratio: float
    workloads: int
    missed: tuple[str, ...]
    missed_by_reference: tuple[str, ...]
    missed_by_both: tuple[str, ...]

    @property
    def speedup(self) -> float:
        """Reference / candidate."""
        return 1 / self.ratio

    @property
    def bound(self) -> str:
        """What the ratio is after misses were put at the budget: "exact", "at least", "at most", "undetermined"."""
        if self.missed_by_both or (self.missed and self.missed_by_reference):
            return "undetermined"
        return "at least" if self.missed else "at most" if self.missed_by_reference else "exact"

    def text(self) -> str:
        """'28 % less time (speed-up 1.387x), over 8 workloads; 1 missed by both counts as equal'."""
        saved = time_reduction(self.speedup)
        words = f"{percent(round(abs(saved), 2))} {'less' if saved >= 0 else 'more'} time"
        parts = [f"{words} (speed-up {self.speedup:.3f}x), over {plural(self.workloads, 'workload')}"]
        for names, meaning in (
            (self.missed, "missed by the candidate only count as just over the budget, which flatters it"),
            (self.missed_by_reference, "missed by the reference only count as just over the budget"),
            (self.missed_by_both, "missed by both count as equal"),
        ):
            if names:
                parts.append(f"{len(names)} {meaning}")
        return "; ".join(parts)


def reference_ratios(candidate: Times, reference: Times) -> dict[str, float | None]:
    """Workload -> candidate / reference: infinite if only the candidate missed, 0 if only the reference, None if both.

    Raises:
        InputError: no workloads, or a time that is not positive.
        NotComparableError: different workloads.
    """
    _check_pair(candidate, reference)
    return {
        w: None if math.isinf(time) and math.isinf(reference[w]) else time / reference[w]
        for w, time in candidate.items()
    }


def mean_ratio(
    candidate: Times, reference: Times, *, budgets: Mapping[str, float], leave_out_joint_misses: bool = False
) -> MeanRatio:
    """Geometric mean of candidate / reference, misses set to the workload's budget + 1 s.

    Args:
        candidate, reference: seconds per workload, infinite for a miss.
        budgets: seconds that a run was allowed, for each workload that somebody missed.
        leave_out_joint_misses: leave out workloads that both missed, instead of counting them as equal.

    Raises:
        InputError: times that are not positive, a budget that is missing, not positive and finite, or smaller than a
            time that was reached, or nothing left to compare.
        NotComparableError: different workloads.
    """
    ratios = reference_ratios(candidate, reference)
    joint = tuple(w for w, ratio in ratios.items() if ratio is None)
    logs = []
    for w in ratios:
        if w in joint and leave_out_joint_misses:
            continue
        ours, theirs = (_with_budget(times[w], w, budgets) for times in (candidate, reference))
        logs.append(math.log(ours) - math.log(theirs))
    if not logs:
        raise InputError(f"both missed every target ({', '.join(joint)}); there is nothing to compare")
    return MeanRatio(
        math.exp(math.fsum(logs) / len(logs)),
        len(logs),
        tuple(w for w, ratio in ratios.items() if ratio == math.inf),
        tuple(w for w, ratio in ratios.items() if ratio == 0),
        () if leave_out_joint_misses else joint,
    )


def _with_budget(time: float, workload: str, budgets: Mapping[str, float]) -> float:
    budget = budgets.get(workload)
    if budget is not None and not (0 < budget < math.inf and (time <= budget or math.isinf(time))):
        raise InputError(f"{workload}: the budget must be positive, finite and hold the time {time}, got {budget}")
    if math.isfinite(time):
        return time
    if budget is None:
        raise InputError(f"{workload} was missed; give its budget in seconds, budgets={{{workload!r}: ...}}")
    return budget + MARGIN_S


def _check_pair(candidate: Times, reference: Times) -> None:
    check_times(candidate, "the candidate")
    check_times(reference, "the reference")
    if candidate.keys() != reference.keys():
        raise NotComparableError(
            f"different workloads: {sorted(candidate)} against {sorted(reference)}; give a missed one as infinite"
        )
