"""The front of a sweep as a table for the terminal, with the findings in words below it."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from paretorch.evidence.arms import Arm, arms_of, baseline_of, difference
from paretorch.evidence.front import Front, Point
from paretorch.evidence.quantities import cost_field, sparsity, training_epochs
from paretorch.evidence.records import RunRecord
from paretorch.evidence.verdict import verdict
from paretorch.evidence.words import percent


def print_front(records: Sequence[RunRecord], console: Console) -> None:
    """Every arm with its test quality and cost; a star marks arms no other arm beats in both size and quality."""
    arms = arms_of(records)
    baseline, metric = baseline_of(arms), arms[0].metric
    optimal = _optimal(arms)
    table = Table(title=f"{records[0].workload}: quality against size", title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("arm", no_wrap=True)
    for heading in ("sparsity", "non-zero", f"test {metric.axis}", "against dense", "training epochs"):
        table.add_column(heading, justify="right")
    for arm in arms:
        quality, removed = arm.quality, arm.interval(sparsity)
        kept, epochs = arm.interval(lambda run: cost_field(run, "nonzeros")), arm.interval(training_epochs)
        gap = difference(arm, baseline) if baseline is not None and arm is not baseline else None
        table.add_row(
            "*" if arm.label in optimal else "",
            arm.label,
            "" if removed is None else percent(removed.mean),
            "" if kept is None else f"{kept.mean:,.0f}",
            "failed" if quality is None else f"{metric.number(quality.mean)} ({metric.spread(quality)})",
            "" if gap is None else metric.signed(gap),
            "" if epochs is None else f"{epochs.mean:g}",
        )
    console.print(table)
    console.print("* on the front: no other arm is both smaller and better. Training epochs count dense training,")
    console.print("  retraining and every tuning trial. Intervals: 95 % over seeds (t).")


def print_findings(records: Sequence[RunRecord], console: Console, *, most: int) -> None:
    """The first `most` findings; the report holds them all."""
    for sentence in verdict(records)[:most]:
        console.print(sentence, soft_wrap=True, highlight=False)


def _optimal(arms: Sequence[Arm]) -> set[str]:
    points = []
    for arm in arms:
        kept = arm.interval(lambda run: cost_field(run, "nonzeros"))
        if arm.quality is not None and kept is not None:
            points.append(Point(label=arm.label, cost=kept.mean, quality=arm.quality.mean))
    if not points:
        return set()
    return {point.label for point in Front(points, higher_is_better=arms[0].metric.higher_is_better).optimal}
