"""The curves of a run as lines to draw: steps joined over phases, thinned, with gaps between phases."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from paretorch.evidence.arms import Arm
from paretorch.evidence.quantities import removed_share
from paretorch.evidence.records import RunRecord
from paretorch.evidence.report.style import short

MAX_POINTS = 120  # per run and line: more cannot be seen, and a page of 100 runs stays small
MAX_ARMS_FIRST = 6

Line = tuple[list[float | None], list[float | None]]


def traces(run: RunRecord, **factors: float) -> list[Line]:
    """One line over the steps of the run per quantity of its curve, times the factor given for it.

    Where steps start again, the later points are drawn after the earlier ones; between phases the line has a gap.
    """
    return [_line(run, name, factor) for name, factor in factors.items()]


def phases_of(run: RunRecord) -> dict[str, RunRecord]:
    """Phase -> the run with the curve of that phase only; a curve that names no phase is one, "training"."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for point in _continued(run):
        parts.setdefault(str(point.get("phase", "training")), []).append(point)
    return {phase: replace(run, curves=points) for phase, points in parts.items()}


def arms_shown_first(arms: Sequence[Arm]) -> set[str]:
    """The arms drawn before the reader chooses: those that removed most, at most six."""

    def level(arm: Arm) -> float:
        found = arm.interval(removed_share)
        return (0.0 if arm.is_whole else -1.0) if found is None else found.mean

    drawable = [arm for arm in arms if any(run.curves for run in arm.runs)]
    highest = max(map(level, drawable), default=0.0)
    chosen = [arm.label for arm in drawable if math.isclose(level(arm), highest, abs_tol=1e-6)]
    return set(chosen[:MAX_ARMS_FIRST])


def _continued(run: RunRecord) -> list[dict[str, Any]]:
    """The points of the curve that have a step, with steps that go on where they start again."""
    points: list[dict[str, Any]] = []
    offset = last = 0.0
    for point in run.curves:
        if point.get("step") is None:
            continue
        if restarted := point["step"] + offset < last:
            offset = last
        last = point["step"] + offset
        points.append(point | {"step": last, "restarted": restarted})
    return points


def _line(run: RunRecord, name: str, factor: float) -> Line:
    pieces: list[list[tuple[float, float]]] = [[]]
    points = _continued(run)
    phase = points[0].get("phase") if points else None
    for point in points:
        if point["restarted"] or point.get("phase") != phase:
            phase = point.get("phase")
            pieces.append([])
        value = point.get(name)
        if isinstance(value, int | float) and math.isfinite(value):
            pieces[-1].append((point["step"], value * factor))
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
