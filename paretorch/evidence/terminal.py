"""The front of a sweep as a table for the terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from paretorch.evidence.arms import Arm, arms_of, baseline_of, difference
from paretorch.evidence.front import Front, Point
from paretorch.evidence.grids import leading
from paretorch.evidence.quantities import (
    cost_field,
    have_parallel_phases,
    longest_path,
    training_epochs,
    training_seconds,
)
from paretorch.evidence.records import RunRecord
from paretorch.evidence.statistics import Interval
from paretorch.evidence.words import Metric


def print_front(records: Sequence[RunRecord], console: Console) -> None:
    """Every arm with its test quality and cost, largest first; a star marks arms that no other arm dominates."""
    every = arms_of(records)
    arms = sorted(leading(every), key=lambda arm: -(_nonzeros(arm) or 0))
    baseline, metric = baseline_of(arms), arms[0].metric
    optimal = _optimal(arms)
    table = Table(title=f"{records[0].workload}: quality against size", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    table.add_column("arm", overflow="fold")  # a long name takes more lines, and no figure from the others
    parallel = have_parallel_phases(records)
    times = {"seconds": training_seconds, "longest path, s": longest_path} if parallel else {}
    for heading in ("non-zero", f"test {metric.axis}", "against dense", "epochs", *times):
        table.add_column(heading, justify="right", no_wrap=True)
    for arm in arms:
        quality, kept, epochs = arm.quality, _nonzeros(arm), arm.interval(training_epochs)
        gap = difference(arm, baseline) if baseline is not None and arm is not baseline else None
        table.add_row(
            "*" if arm.label in optimal else "",
            arm.label,
            "" if kept is None else f"{kept:,.0f}",
            "failed" if quality is None else _mean(metric, quality),
            "" if gap is None else metric.signed(gap),
            "" if epochs is None else f"{epochs.mean:g}",
            *("" if (found := arm.interval(read)) is None else f"{found.mean:.1f}" for read in times.values()),
        )
    console.print(table)
    if hidden := len(every) - len(arms):
        console.print(
            f"{hidden} points of the grids are not listed; they are in the report. Of each grid the point is listed",
            "that validation chose, with the epochs of the whole grid.",
            highlight=False,
        )
    seeds = max(len(arm.runs) for arm in arms)
    few = ", low-n" if seeds < 5 else ""
    console.print(
        "* on the front: no other arm is at least as small and as good, unless it is equal in both. Epochs count dense",
        f"training, retraining and every tuning trial. Intervals: 95 %, t, {seeds} seeds{few}.",
        highlight=False,
    )
    if parallel:
        console.print(
            "Seconds are of all training. Longest path: of phases that need not wait for one another, as the copies of",
            "a soup, only the slowest counts; from each phase's own seconds, no measured parallel run.",
            highlight=False,
        )


def _mean(metric: Metric, quality: Interval) -> str:
    spread = "" if quality.half_width is None else f" ± {metric.half(quality)}"
    return f"{metric.number(quality.mean)}{spread}"


def _nonzeros(arm: Arm) -> float | None:
    kept = arm.interval(lambda run: cost_field(run, "nonzeros"))
    return None if kept is None else kept.mean


def _optimal(arms: Sequence[Arm]) -> set[str]:
    points = []
    for arm in arms:
        if arm.quality is not None and (kept := _nonzeros(arm)) is not None:
            points.append(Point(label=arm.label, cost=kept, quality=arm.quality.mean))
    if not points:
        return set()
    return {point.label for point in Front(points, higher_is_better=arms[0].metric.higher_is_better).optimal}
