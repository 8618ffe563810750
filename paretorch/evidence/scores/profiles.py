"""Performance profiles of a pool of submissions, and AlgoPerf's score: the exact area below a profile.

    r_(s,w) = t_(s,w) / min_s t_(s,w)                           time over the best time of the pool, infinite if missed
    rho_s(tau) = |{w : r_(s,w) <= tau}| / n                     share of n workloads within a factor tau of the best
    B_s = 1 / (r_max - 1) * integral_1^r_max rho_s d tau = (1 / n) * sum_w max(0, (r_max - r_(s,w)) / (r_max - 1))

The sum is exact; the reference code's 100-point trapezoid differs from it by up to 1/198 per workload.

A profile depends on its pool: a submission that is added or removed changes the best times, and with them the order of
two others. Show profiles; claim by ratios to a fixed reference (`paretorch.evidence.scores.ratios`).

Sources: Dolan and Moré, "Benchmarking optimization software with performance profiles" (Mathematical Programming 91,
2002); Dahl et al., "Benchmarking neural network training algorithms" (arXiv:2306.07179).
"""

import math
from collections.abc import Iterable, Mapping

from paretorch.errors import InputError, NotComparableError

Times = Mapping[str, float]
"""Workload -> time to the target in any one unit; infinite where it was missed."""


def ratios_to_best(pool: Mapping[str, Times]) -> dict[str, dict[str, float]]:
    """Submission -> workload -> r, infinite where the submission missed the target.

    Args:
        pool: submission -> its times; all submissions have the same workloads.

    Raises:
        InputError: an empty pool, no workloads, or a time that is not positive.
        NotComparableError: the submissions have different workloads.
    """
    if not pool:
        raise InputError("a pool needs at least one submission")
    workloads = None
    for name, times in pool.items():
        check_times(times, name)
        if workloads is not None and times.keys() != workloads:
            raise NotComparableError(
                f"{name} has the workloads {sorted(times)}, others {sorted(workloads)}; give a missed one as infinite"
            )
        workloads = times.keys()
    best = {w: min(times[w] for times in pool.values()) for w in workloads or ()}
    return {
        name: {w: math.inf if math.isinf(time) else time / best[w] for w, time in times.items()}
        for name, times in pool.items()
    }


def profile(ratios: Iterable[float], *, tau: float) -> float:
    """rho(tau): share of the workloads whose ratio is at most tau.

    Raises:
        InputError: no ratios, a ratio below 1 or NaN, or tau below 1.
    """
    ratios = _checked(ratios)
    if not tau >= 1:
        raise InputError(f"tau is a factor of the best time and at least 1, got {tau}")
    return sum(r <= tau and math.isfinite(r) for r in ratios) / len(ratios)


def profile_score(ratios: Iterable[float], *, r_max: float = 4.0) -> float:
    """B in [0, 1]: 1 = the best on every workload, 0 = nowhere within r_max of the best.

    Args:
        ratios: one per workload, infinite for a miss.
        r_max: finite, above 1.

    Raises:
        InputError: no ratios, a ratio below 1 or NaN, or r_max out of range.
    """
    ratios = _checked(ratios)
    if not 1 < r_max < math.inf:
        raise InputError(f"r_max is a finite factor above 1, got {r_max}")
    return math.fsum(max(0.0, (r_max - r) / (r_max - 1)) for r in ratios) / len(ratios)


def profile_scores(pool: Mapping[str, Times], *, r_max: float = 4.0) -> dict[str, float]:
    """Submission -> B, best first; the numbers hold for this pool only.

    Raises:
        InputError, NotComparableError: as `ratios_to_best` and `profile_score`.
    """
    scores = {name: profile_score(r.values(), r_max=r_max) for name, r in ratios_to_best(pool).items()}
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def check_times(times: Times, name: str) -> None:
    """Raises InputError unless there are times and all are positive; infinity is a miss, NaN is nothing."""
    if not times:
        raise InputError(f"{name} has no workloads")
    if bad := {w: t for w, t in times.items() if not t > 0}:
        raise InputError(f"{name}: times must be positive, infinite for a missed target, got {bad}")


def _checked(ratios: Iterable[float]) -> list[float]:
    ratios = list(ratios)
    if not ratios or not all(r >= 1 for r in ratios):
        raise InputError(f"ratios to the best time are at least 1, one per workload, got {ratios}")
    return ratios
