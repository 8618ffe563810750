"""The tables of a sweep: every figure with its uncertainty, as text."""

from collections.abc import Callable, Sequence

from paretorch.evidence.arms import Arm, compressed_of, difference
from paretorch.evidence.difference_words import claim
from paretorch.evidence.quantities import (
    best_dense_speeds,
    have_parallel_phases,
    have_teachers,
    last_compression,
    longest_path,
    measured_speeds,
    pruning_field,
    sparsity,
    total_bytes,
    train_minus_test,
    training_epochs,
    training_seconds,
)
from paretorch.evidence.report.cost_words import LONGEST_PATH, TEACHER_PASSES, TUNED_COST
from paretorch.evidence.report.table import (
    UNKNOWN,
    Table,
    count,
    counted,
    exact,
    latency,
    mean,
    speed_cells,
    spread,
    zeros,
)
from paretorch.evidence.verdict import contrasts
from paretorch.evidence.words import grouped, percent

REFERENCE = "1 (the reference)"


def quality_table(arms: Sequence[Arm], baseline: Arm | None) -> Table:
    """One row per arm: sparsity, validation and test quality, the gap to training data and to the dense model."""
    metric = arms[0].metric
    rows = []
    for arm in arms:
        gap = None if baseline is None or arm is baseline else difference(arm, baseline)
        training = arm.interval(train_minus_test)
        rows.append(
            [
                arm.label,
                count(arm),
                exact(arm, sparsity, lambda value: percent(round(value, 6))),
                zeros(arm),
                mean(metric, arm.interval(lambda run: pruning_field(run, "validation_raw"))),
                mean(metric, arm.interval(lambda run: pruning_field(run, "validation_reestimated"))),
                mean(metric, arm.validation),
                mean(metric, arm.quality),
                UNKNOWN if gap is None else f"{metric.signed(gap)}, n={gap.n}",
                UNKNOWN if training is None else metric.signed(training),
            ]
        )
    unit = " (points)" if metric.is_fraction else ""
    return Table(
        key="quality",
        title="Quality",
        caption=f"Mean over seeds ± half of the 95 % t-interval; {metric.direction}. The test data decide nothing: "
        "arms are chosen by validation. The columns after pruning are of the last step that pruned or "
        "cut, before retraining.",
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
            f"training minus test{unit}, 95 % interval",
        ],
        rows=rows,
    )


def cost_table(arms: Sequence[Arm], *, among: Sequence[Arm] | None = None) -> Table:
    """One row per arm: counted size and arithmetic, and training over all phases.

    Args:
        arms: the rows.
        among: all arms of the page, if they are more: columns that only some arms need are there if one of these does.
    """
    runs = [run for arm in among or arms for run in arm.runs]
    columns: dict[str, Callable[[Arm], str]] = {
        "parameters": lambda arm: counted(arm, "params"),
        "non-zero parameters": lambda arm: counted(arm, "nonzeros"),
        "stored bytes": lambda arm: exact(arm, total_bytes, grouped),
        "MACs, dense (theoretical)": lambda arm: counted(arm, "macs_dense"),
        "MACs, non-zero (theoretical)": lambda arm: counted(arm, "macs_nonzero"),
        "training epochs, all phases": lambda arm: exact(arm, training_epochs, lambda value: f"{round(value, 2):g}"),
        "training seconds, all phases (measured)": lambda arm: spread(arm.interval(training_seconds)),
    }
    caption = (
        "Multiply-accumulates (MACs) of one example are counted and theoretical: dense kernels do not skip zeros. "
        "Training is charged for all phases."
    )
    if any(arm.is_whole for arm in among or arms):
        caption += f" {TUNED_COST}"
    if have_parallel_phases(runs):
        columns[LONGEST_PATH] = lambda arm: spread(arm.interval(longest_path))
        caption += (
            " Longest path: of phases that need not wait for one another, as the copies of a soup, only the slowest "
            "counts; from each phase's own seconds, no measured parallel run."
        )
    if have_teachers(runs):
        columns[TEACHER_PASSES] = lambda arm: counted(arm, "teacher_samples")
    return Table(
        key="cost",
        title="Cost",
        caption=caption,
        head=["arm", *columns],
        rows=[[arm.label, *(write(arm) for write in columns.values())] for arm in arms],
    )


def speed_table(arms: Sequence[Arm], baseline: Arm | None) -> Table | None:
    """One row per batch size and arm: both ratios of measured time, and the absolute latency; None without a ratio."""
    eager = {arm.label: {s.batch: s for s in measured_speeds(arm, baseline)} for arm in arms if arm is not baseline}
    best = {arm.label: {s.batch: s for s in best_dense_speeds(arm)} for arm in arms if arm is not baseline}
    rows = []
    for batch in sorted({batch for found in eager.values() for batch in found}):
        for arm in arms:
            time = latency(arm.finished, batch)
            if arm is baseline:
                rows.append([arm.label, str(batch), REFERENCE, *[UNKNOWN] * 3, time])
            elif batch in eager[arm.label]:
                other = best[arm.label].get(batch)
                ratio, sample = speed_cells(eager[arm.label][batch])
                rows.append(
                    [
                        arm.label,
                        str(batch),
                        ratio,
                        speed_cells(other)[0],
                        UNKNOWN if other is None else other.path,
                        sample,
                        time,
                    ]
                )
    if not rows:
        return None
    return Table(
        key="speed",
        title="Measured time",
        caption="Dense time over this time with its interval; above 1 is faster. The dense model is run in eager fp32 "
        "and, where that was timed too, in the best fp32 way this machine has for it; only what is faster than both "
        "is a gain. Certified: timed side by side on a quiet machine.",
        head=[
            "arm",
            "batch",
            "speed-up over eager dense (measured)",
            "speed-up over the best dense path (measured)",
            "best dense path",
            "sample",
            "latency, ms: median (10th to 90th percentile)",
        ],
        rows=rows,
    )


def comparison_table(arms: Sequence[Arm]) -> Table | None:
    """Paired differences between arms that differ in one factor; None without any."""
    pairs = contrasts(compressed_of(arms))
    if not pairs:
        return None
    metric = pairs[0][0].metric
    rows = []
    for arm, reference in pairs:
        gap = difference(arm, reference)
        text = "no shared seed" if gap is None else metric.signed(gap)
        seeds = UNKNOWN if gap is None else str(gap.n)
        rows.append([arm.label, reference.label, text, seeds, CLAIMS[metric.higher_is_better][claim(gap)]])
    unit = " (points)" if metric.is_fraction else ""
    return Table(
        key="comparisons",
        title="Comparisons",
        caption="Paired over the seeds that both arms finished. One 95 % interval per row, not adjusted for the number "
        "of rows: about one in twenty would exclude 0 by chance.",
        head=["arm", "compared with", f"test difference{unit}, 95 % interval", "seeds", "claim"],
        rows=rows,
    )


CLAIMS = {
    True: {"more": "better", "less": "worse", "none": "no difference can be claimed"},
    False: {"more": "worse", "less": "better", "none": "no difference can be claimed"},
}


def runs_table(arms: Sequence[Arm]) -> Table:
    """One row per run: the raw numbers behind the means."""
    metric = arms[0].metric
    every = [run for arm in arms for run in arm.runs]
    parallel = have_parallel_phases(every)
    rows = []
    for run in every:
        retrained: dict[str, object] = next((line for line in reversed(run.phases) if "lr_peak" in line), {})
        pruning = last_compression(run)
        numbers = [retrained.get("lr_peak"), pruning.get("d1"), retrained.get("d2"), training_epochs(run)]
        times = [training_seconds(run), *([longest_path(run)] if parallel else [])]
        rows.append(
            [
                run.run_id,
                str(run.seed),
                run.status.replace("_", " "),
                *[
                    UNKNOWN if value is None else metric.number(value)
                    for value in (run.train_quality, run.validation, run.quality)
                ],
                UNKNOWN if "pruned" not in pruning else grouped(float(str(pruning["pruned"]))),
                *[f"{value:.4g}" if isinstance(value, int | float) else UNKNOWN for value in numbers],
                *[UNKNOWN if seconds is None else f"{seconds:.1f}" for seconds in times],
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
            *["run", "seed", "status"],
            *[f"{kind} {metric.axis}" for kind in ("training", "validation", "test")],
            *["exact zeros", "lr peak", "d1", "d2", "epochs", "seconds", *([LONGEST_PATH] if parallel else [])],
            *["mask hash", "recipe hash"],
        ],
        rows=rows,
    )
