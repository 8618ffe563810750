"""The tables of what was run for a comparison: its families, every run, and targets met on the way."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from paretorch.errors import InputError
from paretorch.evidence.families import Axis, Family, Scope, charge, duration_of, trial_charge
from paretorch.evidence.records import RunRecord
from paretorch.evidence.report.cost_words import cost_label
from paretorch.evidence.report.table import UNKNOWN, Table, without_empty_columns
from paretorch.evidence.speedup import Speedup
from paretorch.evidence.words import grouped, plain, plural


def known_charge(run: RunRecord, axis: Axis, *, scope: Scope) -> float | None:
    """What a run cost; None for one that failed before it said so.

    Raises:
        InputError: a finished run does not say.
    """
    try:
        return charge(run, axis, scope=scope)
    except InputError:
        if run.status == "ok":
            raise
        return None


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
            UNKNOWN if family.batch is None else grouped(family.batch),
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
            *[
                "family",
                "role",
                "methods",
                "seeds",
                f"durations ({_unit(families)})",
                "runs",
                "examples of a step",
                "tuning trials",
            ],
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
            _number(known_charge(run, speedup.axis, scope=speedup.scope) if speedup.places(family) else None),
            *[UNKNOWN if value is None else metric.number(value) for value in (run.validation, run.quality)],
            *[_number(run.overhead.get(name)) for name in ("evaluation_s", "checkpoint_s")],
            _number(run.energy.get("joules")),
            run.recipe_hash[:12] or UNKNOWN,
            run.code_rev or UNKNOWN,
        ]
        for family in families
        for run in family.runs
    ]
    table = Table(
        key="runs",
        title="Every run",
        caption="The cost is what the figures use. Evaluation and checkpoints are not in it.",
        head=[
            *[
                "run",
                "family",
                "seed",
                f"duration ({_unit(families)})",
                "status",
                cost_label(speedup.axis, speedup.scope),
            ],
            *[f"{kind} {metric.axis}" for kind in ("validation", "test")],
            *["evaluation, s", "checkpoints, s", "energy, J (measured)", "recipe hash", "code"],
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
            hit.get("name", UNKNOWN),
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
        head=["run", "target", f"{metric.name} to reach", "reached", "step", "seconds of training"],
        rows=rows,
    )


def role_words(speedup: Speedup, family: Family) -> str:
    """'candidate', 'baseline', 'control: smaller', or 'also compared'."""
    if family.label == speedup.candidate.label:
        return "candidate"
    if family.label == speedup.baseline.label:
        return "baseline"
    return family.role.replace(":", ": ") or "also compared"


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


def _unit(families: Sequence[Family]) -> str:
    """What `duration_of` counts in."""
    return "epochs" if all("epochs" in run.duration for family in families for run in family.runs) else "steps"


def _runs(family: Family) -> str:
    failed = sum(run.status != "ok" for run in family.runs)
    return f"{len(family.runs)}" + (f", {failed} not finished" if failed else "")


def _sum(values: Sequence[float]) -> str:
    total = sum(values)
    return plain(total) if total else UNKNOWN


def _median(values: Sequence[Any], *, factor: float = 1.0) -> str:
    known = [value * factor for value in values if isinstance(value, int | float)]
    return plain(median(known)) if known else UNKNOWN


def _number(value: Any) -> str:
    if not isinstance(value, int | float):
        return UNKNOWN
    return grouped(value) if isinstance(value, int) else plain(value)
