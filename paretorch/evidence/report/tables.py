"""The tables of a report: every figure with its uncertainty, as text; "not known" is a dash, never a zero."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from paretorch.evidence.arms import Arm, difference
from paretorch.evidence.quantities import (
    MeasuredSpeed,
    cost_field,
    last_pruning,
    measured_speeds,
    pruning_field,
    sparsity,
    total_bytes,
    training_epochs,
    training_seconds,
)
from paretorch.evidence.records import RunRecord
from paretorch.evidence.statistics import Interval
from paretorch.evidence.verdict import claim, contrasts
from paretorch.evidence.words import Metric, grouped, percent, plural, ratio

UNKNOWN = "\N{EN DASH}"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text.

    Args:
        key: short name, used as the id in the page.
        title: heading.
        caption: how to read it.
        head: column names.
        rows: one list of cells per row, as long as the head; the first cell names the row.
    """

    key: str
    title: str
    caption: str
    head: list[str]
    rows: list[list[str]]


def tables_of(arms: Sequence[Arm], baseline: Arm | None) -> list[Table]:
    """Quality, cost and paired comparisons; the comparisons only if there are any."""
    tables = [_without_empty_columns(_quality(arms, baseline)), _without_empty_columns(_cost(arms, baseline))]
    if pairs := contrasts([arm for arm in arms if not arm.is_baseline and arm.quality is not None]):
        tables.append(_comparisons(pairs))
    return tables


def _quality(arms: Sequence[Arm], baseline: Arm | None) -> Table:
    metric = arms[0].metric
    rows = []
    for arm in arms:
        gap = None if baseline is None or arm is baseline else difference(arm, baseline)
        rows.append(
            [
                arm.label,
                _count(arm),
                _exact(arm, sparsity, lambda value: percent(round(value, 6))),
                _zeros(arm),
                _mean(metric, arm.interval(lambda run: pruning_field(run, "validation_raw"))),
                _mean(metric, arm.interval(lambda run: pruning_field(run, "validation_reestimated"))),
                _mean(metric, arm.validation),
                _mean(metric, arm.quality),
                UNKNOWN if gap is None else f"{metric.signed(gap)}, n={gap.n}",
            ]
        )
    unit = " (points)" if metric.is_fraction else ""
    return Table(
        key="quality",
        title="Quality",
        caption="Mean over seeds ± half of the 95 % t-interval. The test data decide nothing: arms are chosen by "
        "validation. The columns after pruning are of the last pruning step, before its retraining.",
        head=[
            "arm",
            "runs",
            "sparsity",
            "exact zeros / prunable weights",
            f"validation {metric.axis} after pruning, stale batch norm",
            f"validation {metric.axis} after pruning, batch norm re-estimated",
            f"validation {metric.axis}, final",
            f"test {metric.axis}, final",
            f"test minus dense{unit}, paired 95 % interval",
        ],
        rows=rows,
    )


def _cost(arms: Sequence[Arm], baseline: Arm | None) -> Table:
    candidates = [arm for arm in arms if arm is not baseline]
    speeds = {arm.label: {speed.batch: speed for speed in measured_speeds(arm, baseline)} for arm in candidates}
    batches = sorted({batch for found in speeds.values() for batch in found})

    def speed_cells(arm: Arm) -> list[str]:
        if arm is baseline:
            return ["1 (the reference)"] * len(batches)
        return [_speed(speeds[arm.label].get(batch)) for batch in batches]

    rows = [
        [
            arm.label,
            _counted(arm, "params"),
            _counted(arm, "nonzeros"),
            _exact(arm, total_bytes, grouped),
            _counted(arm, "macs_dense"),
            _counted(arm, "macs_nonzero"),
            *speed_cells(arm),
            *[_latency(arm, batch) for batch in batches],
            _exact(arm, training_epochs, lambda value: f"{value:g}"),
            _spread(arm.interval(training_seconds)),
        ]
        for arm in arms
    ]
    return Table(
        key="cost",
        title="Cost",
        caption="Multiply-accumulates (MACs) of one example are counted and theoretical: dense kernels do not skip "
        "zeros. The speed-up is measured, dense time over this time, with its interval; above 1 is faster. Training is "
        "charged for all phases.",
        head=[
            "arm",
            "parameters",
            "non-zero parameters",
            "stored bytes",
            "MACs, dense (theoretical)",
            "MACs, non-zero (theoretical)",
            *[f"speed-up, batch {batch} (measured)" for batch in batches],
            *[f"latency, batch {batch}, ms: median (10th to 90th percentile)" for batch in batches],
            "training epochs, all phases",
            "training seconds, all phases (measured)",
        ],
        rows=rows,
    )


def _comparisons(pairs: Sequence[tuple[Arm, Arm]]) -> Table:
    metric = pairs[0][0].metric
    up, down = ("better", "worse") if metric.higher_is_better else ("worse", "better")
    words = {"more": up, "less": down, "none": "no difference can be claimed"}
    rows = []
    for arm, reference in pairs:
        gap = difference(arm, reference)
        text = "no shared seed" if gap is None else metric.signed(gap)
        rows.append([arm.label, reference.label, text, UNKNOWN if gap is None else str(gap.n), words[claim(gap)]])
    unit = " (points)" if metric.is_fraction else ""
    return Table(
        key="comparisons",
        title="Comparisons",
        caption="Paired over the seeds that both arms finished. One 95 % interval per row, not adjusted for the number "
        "of rows: about one in twenty would exclude 0 by chance.",
        head=["arm", "compared with", f"test difference{unit}, 95 % interval", "seeds", "claim"],
        rows=rows,
    )


def runs_table(arms: Sequence[Arm]) -> Table:
    """One row per run: the raw numbers behind the means."""
    metric = arms[0].metric
    rows = []
    for run in (run for arm in arms for run in arm.runs):
        retrained: dict[str, object] = next((line for line in reversed(run.phases) if "lr_peak" in line), {})
        pruning = last_pruning(run)
        numbers = [retrained.get("lr_peak"), pruning.get("d1"), retrained.get("d2"), training_epochs(run)]
        rows.append(
            [
                run.run_id,
                str(run.seed),
                run.status.replace("_", " "),
                UNKNOWN if run.validation is None else metric.number(run.validation),
                UNKNOWN if run.quality is None else metric.number(run.quality),
                UNKNOWN if "pruned" not in pruning else grouped(float(str(pruning["pruned"]))),
                *[f"{value:.4g}" if isinstance(value, int | float) else UNKNOWN for value in numbers],
                *[UNKNOWN if value is None else f"{value:.1f}" for value in [training_seconds(run)]],
                str(pruning.get("mask_hash", UNKNOWN))[:12],
                run.recipe_hash[:12] or UNKNOWN,
            ]
        )
    return Table(
        key="runs",
        title="Every run",
        caption="lr peak: largest learning rate of the last trained phase. d1: share of the norm removed by the last "
        "pruning, against the most that it could. d2: retraining steps over dense steps.",
        head=[
            "run",
            "seed",
            "status",
            f"validation {metric.axis}",
            f"test {metric.axis}",
            "exact zeros",
            "lr peak",
            "d1",
            "d2",
            "epochs",
            "seconds",
            "mask hash",
            "recipe hash",
        ],
        rows=rows,
    )


def _without_empty_columns(table: Table) -> Table:
    """The table without the columns that hold no value in any row; the caption names them."""
    empty = [i for i in range(len(table.head)) if all(row[i] == UNKNOWN for row in table.rows)]
    if not empty:
        return table
    kept = [i for i in range(len(table.head)) if i not in empty]
    return replace(
        table,
        caption=f"{table.caption} Not recorded in any run: {'; '.join(table.head[i] for i in empty)}.",
        head=[table.head[i] for i in kept],
        rows=[[row[i] for i in kept] for row in table.rows],
    )


def _count(arm: Arm) -> str:
    failed = len(arm.runs) - len(arm.finished)
    return f"{len(arm.finished)}{', low-n' if len(arm.finished) < 5 else ''}" + (f", {failed} failed" if failed else "")


def _mean(metric: Metric, interval: Interval | None) -> str:
    if interval is None:
        return UNKNOWN
    text = metric.number(interval.mean)
    return text if interval.half_width is None else f"{text} ± {metric.number(interval.half_width)}"


def _spread(interval: Interval | None) -> str:
    if interval is None:
        return UNKNOWN
    return f"{interval.mean:.1f}" + ("" if interval.half_width is None else f" ± {interval.half_width:.1f}")


def _exact(arm: Arm, read: Callable[[RunRecord], float | None], write: Callable[[float], str]) -> str:
    """A counted number: itself if all seeds agree, else its range over seeds."""
    found = sorted({write(value): value for value in arm.values(read).values()}.items(), key=lambda item: item[1])
    if not found:
        return UNKNOWN
    return found[0][0] if len(found) == 1 else f"{found[0][0]} to {found[-1][0]}"


def _counted(arm: Arm, name: str) -> str:
    return _exact(arm, lambda run: cost_field(run, name), grouped)


def _zeros(arm: Arm) -> str:
    pruned = arm.values(lambda run: pruning_field(run, "pruned"))
    kept = arm.values(lambda run: pruning_field(run, "kept"))
    texts = sorted({f"{grouped(pruned[s])} / {grouped(pruned[s] + kept[s])}" for s in pruned.keys() & kept.keys()})
    return " or ".join(texts) if texts else UNKNOWN


def _speed(speed: MeasuredSpeed | None) -> str:
    if speed is None:
        return UNKNOWN
    sample = plural(speed.seeds, "seed") if speed.seeds > 1 else plural(speed.interval.n, "round")
    return f"{ratio(speed.interval)}, {sample}, {'certified' if speed.certified else 'not certified'}"


def _latency(arm: Arm, batch: int) -> str:
    """Absolute times of the first run that was timed; they differ between runs by what the machine did meanwhile."""
    for run in arm.finished:
        for entry in run.cost.get("latency", []):
            if entry["batch"] == batch:
                p10, p50, p90 = (1000 * entry[name] for name in ("p10_s", "p50_s", "p90_s"))
                noisy = "" if entry["quiet"] else ", not certified"
                return f"{p50:.3g} ({p10:.3g} to {p90:.3g}){noisy}"
    return UNKNOWN
