"""What share of the seeds attains a quality at a cost, and the curve that a given share attains.

    a(c, q) = share of the runs with a point of cost <= c and quality at least q    (empirical attainment function)
    surface of level p = the best q with a(c, q) >= p, as a step curve over c

A front of means says what no run may have done: the mean cost with the mean quality. The median surface says what half
of the runs did, and its distance from the surfaces of 1/n and 1 shows the spread.

Source: Grunert da Fonseca, Fonseca, Hall, "Inferential performance assessment of stochastic optimisers and the
attainment function" (EMO 2001).
"""

import math

from paretorch.errors import InputError
from paretorch.evidence.front import Front, Point
from paretorch.evidence.hypervolume import Runs


def attained_share(runs: Runs, *, cost: float, quality: float, higher_is_better: bool = True) -> float:
    """a(cost, quality) in [0, 1].

    Args:
        runs: seed -> (cost, quality) points; a run without points attains nothing and counts.
        cost, quality: the corner that is to be attained; meeting it exactly is attaining it.
        higher_is_better: direction of the quality.

    Raises:
        InputError: no runs, or a point that is not finite.
    """
    sign = 1 if higher_is_better else -1
    hits = [any(c <= cost and sign * q >= sign * quality for c, q in points) for points in _points(runs)]
    return sum(hits) / len(hits)


def attainment_surface(
    runs: Runs, *, level: float = 0.5, higher_is_better: bool = True
) -> tuple[tuple[float, float], ...]:
    """Corners of the step curve that at least a share `level` of the runs attains, cheapest first.

    From each corner's cost up to the next one's, the curve has the corner's quality; before the first, fewer runs have
    any point at all.

    Args:
        runs: as `attained_share`.
        level: share in (0, 1]; of n runs, ceil(level * n) must attain. 0.5 = median, 1 = what every run attains.
        higher_is_better: direction of the quality.

    Returns:
        (cost, quality) with increasing cost and strictly improving quality; empty if too few runs have points.

    Raises:
        InputError: no runs, a level outside (0, 1], or a point that is not finite.
    """
    if not 0 < level <= 1:
        raise InputError(f"level is a share of the runs in (0, 1], got {level}; the median is 0.5")
    sign = 1 if higher_is_better else -1
    sets = _points(runs)
    needed = max(1, math.ceil(level * len(sets) - 1e-9))  # a level such as 0.1 is no exact fraction
    corners: list[tuple[float, float]] = []
    for cost in sorted({c for points in sets for c, _ in points}):
        best = sorted(max((sign * q for c, q in points if c <= cost), default=-math.inf) for points in sets)
        attained = best[-needed]
        if attained > (sign * corners[-1][1] if corners else -math.inf):
            corners.append((cost, sign * attained))
    return tuple(corners)


def _points(runs: Runs) -> list[list[tuple[float, float]]]:
    if not runs:
        raise InputError("an attainment surface needs at least one run")
    found = []
    for seed, points in runs.items():
        named = [Point(f"seed {seed}", *((p.cost, p.quality) if isinstance(p, Point) else p)) for p in points]
        found.append([(p.cost, p.quality) for p in Front(named).points])  # which refuses what is not finite
    return found
