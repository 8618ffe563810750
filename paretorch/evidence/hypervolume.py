"""How much more one arm's fronts cover than another's, over runs.

    HV(run) = area that one run's points dominate, up to a declared reference, in (ln cost, quality)
    difference = mean over runs of HV(candidate) - HV(baseline), with the interval that the number of runs allows

With ln cost another unit of cost shifts points and reference alike and changes no area. The reference is the worst case
that still counts, declared before looking: the largest cost allowed, and the quality of a trivial model or of the
baseline at a quarter of its duration. Each run (seed) gives one area; a front over all runs together would take the
luckiest seed at every cost. From ten runs on, the interval is a bootstrap over runs (`paretorch.evidence.effect`).

Source of the area: Zitzler, Thiele, "Multiobjective evolutionary algorithms" (IEEE TEC 3(4), 1999), section 3.
"""

import math
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.effect import Effect, effect
from paretorch.evidence.front import Front, Point

Runs: TypeAlias = Mapping[int, Iterable[Point | tuple[float, float]]]
"""Seed -> the (cost, quality) points of that run; a run that yielded none covers nothing and stays in."""


def run_hypervolumes(
    runs: Runs, *, reference: tuple[float, float], higher_is_better: bool = True, log_cost: bool = True
) -> dict[int, float]:
    """Seed -> area of that run, in units of quality (times those of cost without `log_cost`).

    Args:
        runs: points of each seed; costs positive with `log_cost`.
        reference: (cost, quality), the cost in the unit of the points and not its logarithm.
        higher_is_better: direction of the quality.
        log_cost: whether the area is taken over ln cost.

    Raises:
        InputError: a point or reference that is not finite, or a cost that is not positive with `log_cost`.
    """
    limit, worst = _axis(reference[0], "reference", log_cost), reference[1]
    areas = {}
    for seed, points in runs.items():
        pairs = [(p.cost, p.quality) if isinstance(p, Point) else p for p in points]
        moved = [Point(f"seed {seed}", _axis(cost, f"seed {seed}", log_cost), quality) for cost, quality in pairs]
        areas[seed] = Front(moved, higher_is_better=higher_is_better).hypervolume((limit, worst))
    return areas


def hypervolume_difference(
    candidate: Runs,
    baseline: Runs,
    *,
    reference: tuple[float, float],
    generator: np.random.Generator,
    higher_is_better: bool = True,
    log_cost: bool = True,
    paired: bool = True,
    confidence: float = 0.95,
) -> Effect:
    """Area of the candidate minus that of the baseline; positive = the candidate's fronts cover more.

    Args:
        candidate, baseline: points of each seed; the same seeds if `paired`.
        reference, higher_is_better, log_cost: as `run_hypervolumes`, the same for both arms.
        generator: where resamples are drawn; the same state gives the same interval.
        paired: whether equal seeds of the two arms share initial weights and data order.
        confidence: nominal coverage in (0, 1).

    Raises:
        NotComparableError: paired seeds that do not match, or no run of either arm is better than the reference.
        InputError: no runs, or as `run_hypervolumes`.
    """
    ours, theirs = (
        run_hypervolumes(runs, reference=reference, higher_is_better=higher_is_better, log_cost=log_cost)
        for runs in (candidate, baseline)
    )
    if ours and theirs and not any((*ours.values(), *theirs.values())):
        raise NotComparableError(
            f"no point of either arm is better than the reference {reference} in both coordinates; every area is 0. "
            "Declare a reference that the arms can beat"
        )
    return effect(ours, theirs, generator=generator, paired=paired, confidence=confidence)


def _axis(cost: float, owner: str, log_cost: bool) -> float:
    if not log_cost:
        return cost
    if not 0 < cost < math.inf:
        raise InputError(f"{owner}: the logarithm needs a positive finite cost, got {cost}; or pass log_cost=False")
    return math.log(cost)
