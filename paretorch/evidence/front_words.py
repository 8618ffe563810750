"""Sentences that compare whole fronts of a sweep: how much more one competitor's front covers than another's.

A competitor is a recipe swept over sparsity (`series_name`). Each seed has a front of its own, in non-zero parameters
and test quality; the areas are compared seed by seed. The reference point is declared by rule and not chosen: as many
parameters as the dense model, and the weakest reference of the task that needs no model (guessing, say), else the worst
result of any run.
"""

from collections.abc import Sequence

import numpy as np

from paretorch.errors import NotComparableError
from paretorch.evidence.arms import Arm
from paretorch.evidence.hypervolume import hypervolume_difference
from paretorch.evidence.names import level, series_name
from paretorch.evidence.quantities import cost_field
from paretorch.evidence.words import minus, plain, plural, seeds

POINTS = 3  # a front of fewer settings is a comparison of points


def front_sentences(arms: Sequence[Arm], baseline: Arm | None) -> list[str]:
    """One sentence per competitor against the first one; [] without a dense model or with fewer than two fronts.

    Args:
        arms: of one sweep.
        baseline: its dense arm.
    """
    limit = None if baseline is None else baseline.interval(lambda run: cost_field(run, "nonzeros"))
    if limit is None:
        return []
    fronts: dict[str, list[Arm]] = {}
    for arm in arms:
        if not arm.is_baseline and arm.finished:
            fronts.setdefault(series_name(arm), []).append(arm)
    fronts = {name: found for name, found in fronts.items() if len(found) >= POINTS}
    names = list(fronts)
    found = [_compare(fronts[name], fronts[names[0]], name, names[0], limit.mean, arms) for name in names[1:]]
    return [sentence for sentence in found if sentence is not None]


def _compare(
    mine: Sequence[Arm], theirs: Sequence[Arm], name: str, other: str, limit: float, arms: Sequence[Arm]
) -> str | None:
    if sorted(map(level, mine)) != sorted(map(level, theirs)):  # more settings cover more by themselves
        return None
    points, base = _points(mine), _points(theirs)
    shared = sorted(points.keys() & base.keys())
    if len(shared) < 2:
        return None
    metric = mine[0].metric
    worst = _worst(arms)
    try:
        found = hypervolume_difference(
            {seed: points[seed] for seed in shared},
            {seed: base[seed] for seed in shared},
            reference=(limit, worst),
            generator=np.random.default_rng(0),
            higher_is_better=metric.higher_is_better,
        )
    except NotComparableError:  # no run of either is better than the reference
        return None
    interval = found.interval
    assert interval.low is not None
    assert interval.high is not None
    more = "more" if interval.mean > 0 else "less"
    ends = f"{minus(plain(interval.low, digits=2))} to {minus(plain(interval.high, digits=2))}"
    claimed = "" if not interval.contains(0.0) else ", which contains 0: no difference can be claimed"
    low_n = ", low-n" if interval.low_n else ""
    return (
        f"Over {plural(len(mine), 'setting')}, the front of {name} covers "
        f"{plain(abs(interval.mean), digits=2)} {more} than that of {other} (difference of the hypervolumes in "
        f"ln(non-zero parameters) x test {metric.name}, below {plain(limit, digits=3)} parameters and from "
        f"{metric.value(worst)}; 95 % interval {ends} over {seeds(interval.n)}{low_n}{claimed})."
    )


def _points(front: Sequence[Arm]) -> dict[int, list[tuple[float, float]]]:
    """Seed -> (non-zero parameters, test quality) of its runs that ended well; one of which none did covers nothing."""
    found: dict[int, list[tuple[float, float]]] = {run.seed: [] for arm in front for run in arm.runs}
    for arm in front:
        for run in arm.finished:
            nonzeros = cost_field(run, "nonzeros")
            if nonzeros and run.quality is not None:
                found[run.seed].append((nonzeros, run.quality))
    return found


def _worst(arms: Sequence[Arm]) -> float:
    """The quality that still counts: the task's weakest reference, else the worst result of any finished run.

    Runs of grids are left out: a learning rate that was too high must not say what still counts.
    """
    least = min if arms[0].metric.higher_is_better else max
    runs = [run for arm in arms if not arm.is_whole for run in arm.finished]
    references = [value for run in runs for value in run.references.values()]
    return least(references or [run.quality for run in runs if run.quality is not None])
