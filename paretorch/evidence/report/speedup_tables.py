"""The tables of a comparison: what the figures show, as text, and every run behind it."""

import math
from collections.abc import Sequence
from typing import Any

from paretorch.evidence.families import Family, charge, duration_of, trial_charge
from paretorch.evidence.report.cost_words import cost_label, ratio_label
from paretorch.evidence.report.table import UNKNOWN, Table, without_empty_columns
from paretorch.evidence.speedup import AtQuality, Speedup
from paretorch.evidence.statistics import Interval
from paretorch.evidence.words import Metric, grouped, minus, plain, plural, ratio

NOT_CLAIMED = "Measured, and not claimed: the verdict at the top says why."


def ratio_table(speedup: Speedup, *, claimed: bool) -> Table | None:
    """The ratio at each compared quality and its mean over the range; None when there is neither."""
    metric = speedup.baseline.metric
    rows = [
        [
            metric.value(level.quality),
            *_ratio_cells(level.ratio, bound=bound_words(level)),
            *[str(level.censored_candidate), str(level.censored_baseline)],
            _side(level.ratio),
        ]
        for level in speedup.at
    ]
    if speedup.average is not None and speedup.range is not None:
        low, high = map(metric.value, speedup.range)
        claim = _claim(speedup.average) if claimed else "not claimed"
        rows.append([f"mean from {low} to {high}", *_ratio_cells(speedup.average), *[UNKNOWN] * 2, claim])
    if not rows:
        return None
    p_value = "" if speedup.p_value is None or not claimed else f" p of the mean: {speedup.p_value:.2g}, two-sided."
    return Table(
        key="ratios",
        title=f"{upper(ratio_label(speedup.axis))} at equal quality",
        caption=f"Baseline cost over candidate cost to reach the same {metric.name}, in "
        f"{cost_label(speedup.axis, speedup.scope)}; above 1, the candidate costs less. Paired over seeds, geometric "
        "mean. Cost saved is 1 - 1 / ratio: 1.25 is 20 % less. The mean over the range decides, single qualities do "
        f"not.{p_value}{'' if claimed else f' {NOT_CLAIMED}'}",
        head=[
            *["quality", ratio_label(speedup.axis), "cost saved", "pairs of seeds"],
            *["candidate seeds that miss it", "baseline seeds that miss it", "reading"],
        ],
        rows=rows,
    )


def split_table(speedup: Speedup) -> Table | None:
    """Steps and time per step at the middle quality; None when neither factor is known."""
    split = speedup.split
    if split.statistical is None and split.hardware is None:
        return None
    assert speedup.range is not None
    middle = sum(speedup.range) / 2
    whole = next((x.ratio for x in (*speedup.at, *speedup.grid) if math.isclose(x.quality, middle)), None)
    factors = {
        f"statistical: {split.unit} needed": split.statistical,
        f"hardware: time of one {split.unit[:-1]}": split.hardware,
        f"both: {ratio_label(speedup.axis)}": whole,
    }
    return Table(
        key="split",
        title="Where it comes from",
        caption=f"At {speedup.baseline.metric.name} {speedup.baseline.metric.value(middle)}, the middle of the range. "
        f"The whole is the product of both, seed by seed: how many {split.unit}, and how long each takes. A method "
        "that gains by one of them can lose by the other.",
        head=["factor", "baseline / candidate", "pairs of seeds"],
        rows=[
            [name, *([UNKNOWN] * 2 if value is None else [ratio(value), str(value.n)])]
            for name, value in factors.items()
        ],
    )


def gain_table(speedup: Speedup) -> Table | None:
    """Candidate minus baseline quality at equal cost; None without any cost that both were measured at."""
    metric = speedup.baseline.metric
    rows = [
        [plain(gain.cost), metric.signed(gain.difference), str(gain.difference.n)]
        for gain in speedup.gains
        if gain.difference is not None
    ]
    if not rows:
        return None
    unit = " (points)" if metric.is_fraction else ""
    return Table(
        key="gains",
        title="Quality at equal cost",
        caption=f"{upper(metric.name)} of the candidate minus that of the baseline, each the best at most that cost; "
        f"{metric.direction}. Paired over seeds.",
        head=[cost_label(speedup.axis, speedup.scope), f"{metric.name}, candidate minus baseline{unit}", "seeds"],
        rows=rows,
    )


def grid_table(speedup: Speedup) -> Table | None:
    """The points of the curve of ratios; None without any."""
    if not speedup.grid:
        return None
    metric = speedup.baseline.metric
    return Table(
        key="grid",
        title="The curve in numbers",
        caption="Intervals hold for one quality at a time, not for the whole curve.",
        head=["quality", ratio_label(speedup.axis)],
        rows=[
            [_fine(metric, level.quality), bound_words(level) if level.ratio is None else ratio(level.ratio)]
            for level in speedup.grid
        ],
    )


def family_table(speedup: Speedup, families: Sequence[Family]) -> Table:
    """One row per family: what it is, how it was tuned, its runs, and what one step costs."""
    rows = [
        [
            family.label,
            role_words(speedup, family),
            ", ".join(dict.fromkeys(name for run in family.runs for name in run.methods)) or "none",
            str(len(family.seeds)),
            ", ".join(f"{duration:g}" for duration in family.durations) or UNKNOWN,
            _runs(family),
            str(family.trials),
            _sum([trial_charge(run, speedup.axis) for run in family.runs]),
            _median([run.step_time.get("p50_s") for run in family.runs], factor=1000.0),
            _median([run.flops_step.get("forward") for run in family.runs]),
            _median([run.flops_step.get("backward") for run in family.runs]),
            _median([run.bytes_step for run in family.runs]),
            _median([run.saved_bytes for run in family.runs]),
        ]
        for family in families
    ]
    table = Table(
        key="families",
        title="What was compared",
        caption="A family is one recipe at several durations and seeds; every run is a full training with its schedule "
        "scaled to its duration. Trials that were tried and not chosen are charged apart. The time of a step is as it "
        "came in the runs; where steps were timed side by side, costs use that instead. Operations and bytes of a step "
        "are counted.",
        head=[
            *["family", "role", "methods", "seeds", "durations (epochs)", "runs", "tuning trials"],
            f"cost of trials not chosen, {cost_label(speedup.axis, 'total')}",
            *["median step, ms (measured)", "operations of a step, forward (counted)"],
            *["operations of a step, backward (counted)", "bytes of a step (counted)", "bytes saved for backward"],
        ],
        rows=rows,
    )
    return without_empty_columns(table)


def run_table(speedup: Speedup, families: Sequence[Family]) -> Table:
    """One row per run."""
    metric = speedup.baseline.metric
    rows = [
        [
            run.run_id,
            family.label,
            str(run.seed),
            f"{duration_of(run):g}",
            run.status.replace("_", " "),
            plain(charge(run, speedup.axis, scope=speedup.scope)),
            *[UNKNOWN if value is None else metric.number(value) for value in (run.validation, run.quality)],
            *[_number(run.overhead.get(name)) for name in ("evaluation_s", "checkpoint_s", "compile_s")],
            _number(run.energy.get("energy_j")),
            run.recipe_hash[:12] or UNKNOWN,
            run.code_rev or UNKNOWN,
        ]
        for family in families
        for run in family.runs
    ]
    table = Table(
        key="runs",
        title="Every run",
        caption="The cost is what the figures use. Evaluation, checkpoints and compilation are not in it.",
        head=[
            *["run", "family", "seed", "duration (epochs)", "status", cost_label(speedup.axis, speedup.scope)],
            *[f"{kind} {metric.axis}" for kind in ("validation", "test")],
            *["evaluation, s", "checkpoints, s", "compilation, s", "energy, J (measured)", "recipe hash", "code"],
        ],
        rows=rows,
    )
    return without_empty_columns(table)


def hit_table(families: Sequence[Family]) -> Table | None:
    """When single runs first stood at a target while they trained; None when no target was watched."""
    metric = families[0].metric
    rows = [
        [
            run.run_id,
            metric.value(hit["target"]),
            "no" if hit.get("t_hi") is None else "yes",
            _number(hit.get("step")),
            f"after {hit['t_lo']:.3g}" if hit.get("t_hi") is None else f"{hit['t_lo']:.3g} to {hit['t_hi']:.3g}",
        ]
        for family in families
        for run in family.runs
        for hit in run.hits
    ]
    if not rows:
        return None
    return Table(
        key="hits",
        title="Targets reached on the way",
        caption="Within one run, before its learning rate came down; the time lies between two evaluations. A run that "
        "never reached the target is censored: later than its last evaluation. Claims use whole families instead.",
        head=["run", f"target {metric.name}", "reached", "step", "seconds of training"],
        rows=rows,
    )


def role_words(speedup: Speedup, family: Family) -> str:
    """'candidate', 'baseline', 'control: smaller', or 'also compared'."""
    if family.label == speedup.candidate.label:
        return "candidate"
    if family.label == speedup.baseline.label:
        return "baseline"
    return family.role.replace(":", ": ") or "also compared"


def bound_words(level: AtQuality) -> str:
    """'at least 1.3', 'from 0.8 to 1.3', or a dash: what is known where some seeds have no cost."""
    low, high = (None if end is None else f"{end:.3f}" for end in (level.at_least, level.at_most))
    if low and high:
        return f"from {low} to {high}"
    return f"at least {low}" if low else f"at most {high}" if high else UNKNOWN


def _side(interval: Interval | None) -> str:
    if interval is None:
        return "no interval: not every pair has a cost"
    return "interval contains 1" if interval.contains(1.0) else "interval excludes 1"


def _claim(interval: Interval) -> str:
    if interval.contains(1.0):
        return "no difference can be claimed"
    return "candidate is cheaper" if interval.mean > 1 else "candidate is dearer"


def _ratio_cells(interval: Interval | None, *, bound: str = UNKNOWN) -> list[str]:
    if interval is None:
        return [bound, UNKNOWN, UNKNOWN]
    low_n = ", low-n" if interval.low_n else ""
    return [ratio(interval), minus(f"{100 * (1 - 1 / interval.mean):.1f} %"), f"{interval.n}{low_n}"]


def _runs(family: Family) -> str:
    failed = sum(run.status != "ok" for run in family.runs)
    return f"{len(family.runs)}" + (f", {failed} not finished" if failed else "")


def _fine(metric: Metric, value: float) -> str:
    """With one more digit than usual: neighbours on the curve are close."""
    return f"{100 * value:.2f} %" if metric.is_fraction else plain(value, digits=5, zeros=True)


def _sum(values: Sequence[float]) -> str:
    total = sum(values)
    return plain(total) if total else UNKNOWN


def _median(values: Sequence[Any], *, factor: float = 1.0) -> str:
    known = sorted(value * factor for value in values if isinstance(value, int | float))
    return plain(known[len(known) // 2]) if known else UNKNOWN


def _number(value: Any) -> str:
    if not isinstance(value, int | float):
        return UNKNOWN
    return grouped(value) if isinstance(value, int) else plain(value)


def upper(text: str) -> str:
    """With a capital first letter."""
    return text[:1].upper() + text[1:]


def subtitle(speedup: Speedup, families: Sequence[Family]) -> str:
    """'digits · ALLR against FT · 5 paired seeds · 5 durations · 50 runs'."""
    parts = [
        families[0].runs[0].workload,
        f"{speedup.candidate.label} against {speedup.baseline.label}",
        plural(len(speedup.seeds), "paired seed"),
        plural(speedup.points, "duration"),
        plural(sum(len(family.runs) for family in families), "run"),
    ]
    return " · ".join(parts)
