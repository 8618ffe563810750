"""The curves of a run as lines to draw: steps joined over phases, thinned, with gaps between phases."""

import math
from collections.abc import Sequence

from paretorch.evidence.arms import Arm
from paretorch.evidence.quantities import sparsity
from paretorch.evidence.records import RunRecord
from paretorch.evidence.report.style import short

MAX_POINTS = 120  # per run and line: more cannot be seen, and a page of 100 runs stays small
MAX_ARMS_FIRST = 6

Line = tuple[list[float | None], list[float | None]]


def traces(run: RunRecord, *, factor: float) -> tuple[Line, Line]:
    """Two lines over the steps of the run: validation (times `factor`) and learning rate.

    Where steps start again, the later points are drawn after the earlier ones; between phases the line has a gap.
    """
    return _line(run, "validation", factor), _line(run, "lr", 1.0)


def arms_shown_first(arms: Sequence[Arm]) -> set[str]:
    """The arms drawn before the reader chooses: those of the greatest sparsity, at most six."""

    def level(arm: Arm) -> float:
        found = arm.interval(sparsity)
        return -1.0 if found is None else found.mean

    drawable = [arm for arm in arms if any(run.curves for run in arm.runs)]
    highest = max(map(level, drawable), default=0.0)
    chosen = [arm.label for arm in drawable if math.isclose(level(arm), highest, abs_tol=1e-6)]
    return set(chosen[:MAX_ARMS_FIRST])


def _line(run: RunRecord, name: str, factor: float) -> Line:
    pieces: list[list[tuple[float, float]]] = [[]]
    offset = last = 0.0
    phase = run.curves[0].get("phase") if run.curves else None
    for point in run.curves:
        step, value = point.get("step"), point.get(name)
        if step is None:
            continue
        restarted = step + offset < last
        if restarted:
            offset = last
        if restarted or point.get("phase") != phase:
            phase = point.get("phase")
            pieces.append([])
        last = step + offset
        if isinstance(value, int | float) and math.isfinite(value):
            pieces[-1].append((last, value * factor))
    keep = max(2, MAX_POINTS // len(pieces))
    x: list[float | None] = []
    y: list[float | None] = []
    for piece in filter(None, pieces):
        if x:
            x.append(None)
            y.append(None)
        for step, value in _thinned(_without_flat_middles(piece), keep):
            x.append(short(step))
            y.append(short(value))
    return x, y


def _without_flat_middles(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same line with fewer points: those between two equal neighbours are left out."""
    return [
        point
        for i, point in enumerate(points)
        if i in (0, len(points) - 1) or not points[i - 1][1] == point[1] == points[i + 1][1]
    ]


def _thinned(points: list[tuple[float, float]], keep: int) -> list[tuple[float, float]]:
    """At most `keep` points evenly by position, the first and the last among them."""
    if len(points) <= keep:
        return points
    return [points[round(i * (len(points) - 1) / (keep - 1))] for i in range(keep)]
