"""The tables of what compression broke: one row per arm, and below it per class, per corruption and per text."""

from collections.abc import Callable, Mapping, Sequence

from paretorch.evidence.records import RunRecord
from paretorch.evidence.report.table import UNKNOWN, Table, mean
from paretorch.evidence.side_effect_quantities import (
    Change,
    affected,
    class_changes,
    corruption_changes,
    domain_changes,
    mean_effect,
    worst,
)
from paretorch.evidence.side_effect_words import ACCURACY, COLLAPSE, FEW, HOLDS, LOSS, disagreement_words
from paretorch.evidence.statistics import LOW_N, Interval
from paretorch.evidence.words import Metric, grouped, plural

MOST_CLASSES = 20  # rows per arm
Groups = Mapping[str, Sequence[RunRecord]]
PAIRED = (
    "Every run beside the dense model of its own seed, on the test data; mean over seeds ± half of the 95 % t-interval"
)


def side_effect_tables(groups: Groups) -> list[Table]:
    """All tables that have a row.

    Args:
        groups: runs by the name they are reported under, one run per seed. Runs without side effects have no row.
    """
    tables = [overview_table(groups), class_table(groups), corruption_table(groups), domain_table(groups)]
    return [table for table in tables if table is not None]


def overview_table(groups: Groups) -> Table | None:
    """One row per arm: disagreement, the worst class beside the mean, calibration, divergence, warnings."""
    rows = []
    for label, runs in groups.items():
        found = affected(runs)
        if not found:
            continue
        classes = class_changes(found)
        lowest = worst(classes) if len(classes) > 1 else None
        rate = mean_effect(found, "disagreement", "rate")
        rows.append(
            [
                label,
                f"{len(found)}{', low-n' if len(found) < LOW_N else ''}",
                UNKNOWN if rate is None else disagreement_words(found),
                _signed(mean_effect(found, "mean_change")),
                UNKNOWN if lowest is None else f"{lowest.name}: {ACCURACY.signed(lowest.change)}",
                *[mean(ACCURACY, mean_effect(found, "calibration", name)) for name in ("dense", "candidate")],
                mean(LOSS, mean_effect(found, "kl")),
                str(sum(len(run.side_effects["warnings"]) for run in found)),
            ]
        )
    return _table(
        rows,
        key="side-effects",
        title="What compression broke",
        caption=f"{PAIRED}. Two dense models that differ in their seed alone disagree too, and the worst of several "
        "classes lies below the mean by chance alone. A warning: the mean holds (down by at most "
        f"{plural(HOLDS, 'point')}), and a class loses more than {plural(COLLAPSE, 'point')}.",
        head=[
            "arm",
            "runs",
            "examples with another answer than the dense model's",
            "accuracy minus dense (points)",
            "worst class minus dense (points), 95 % interval",
            "calibration error (%), dense",
            "calibration error (%)",
            "divergence from dense, nats per token",
            "warnings",
        ],
    )


def class_table(groups: Groups) -> Table | None:
    """One row per arm and class, the worst change first, at most `MOST_CLASSES` per arm."""
    return _changes_table(
        groups,
        lambda runs: sorted(class_changes(runs), key=lambda one: one.change.mean)[:MOST_CLASSES],
        ACCURACY,
        key="classes",
        title="By class",
        what="class",
        caption=f"{PAIRED}; the worst {MOST_CLASSES} classes of each arm at most. Fewer than {FEW} examples: one of "
        "them is more than a point.",
    )


def corruption_table(groups: Groups) -> Table | None:
    """One row per arm and corruption."""
    return _changes_table(
        groups,
        corruption_changes,
        ACCURACY,
        key="corruptions",
        title="On generated corruptions",
        what="corruption and severity",
        caption=f"{PAIRED}. Noise, blur and less contrast, in severities 1 to 3 (1, 3 and 5 of CIFAR-10-C).",
    )


def domain_table(groups: Groups) -> Table | None:
    """One row per arm and text."""
    return _changes_table(
        groups,
        domain_changes,
        LOSS,
        key="domains",
        title="By text",
        what="text",
        caption=f"{PAIRED}. Losses are nats per token; lower is better.",
    )


def _changes_table(
    groups: Groups,
    read: Callable[[Sequence[RunRecord]], Sequence[Change]],
    metric: Metric,
    *,
    key: str,
    title: str,
    what: str,
    caption: str,
) -> Table | None:
    rows = [
        [
            label,
            change.name,
            grouped(change.examples),
            mean(metric, change.dense),
            mean(metric, change.candidate),
            metric.signed(change.change),
        ]
        for label, runs in groups.items()
        for change in read(runs)
    ]
    counted, unit = ("tokens", "") if metric is LOSS else ("examples", " (points)")
    head = ["arm", what, counted, f"{metric.axis}, dense", metric.axis, f"minus dense{unit}, paired 95 % interval"]
    return _table(rows, key=key, title=title, caption=caption, head=head)


def _table(rows: list[list[str]], *, key: str, title: str, caption: str, head: list[str]) -> Table | None:
    return Table(key=key, title=title, caption=caption, head=head, rows=rows) if rows else None


def _signed(interval: Interval | None) -> str:
    return UNKNOWN if interval is None else ACCURACY.signed(interval)
