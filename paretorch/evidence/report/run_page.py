"""The page of one run: what was trained, how good and how large it is, its curves, phases and costs."""

from pathlib import Path

from paretorch.evidence.arms import Arm
from paretorch.evidence.names import name_of
from paretorch.evidence.quantities import (
    cost_field,
    have_parallel_phases,
    last_pruning,
    longest_path,
    sparsity,
    total_bytes,
    training_epochs,
    training_seconds,
)
from paretorch.evidence.records import RunRecord
from paretorch.evidence.report.curve_figures import run_curves
from paretorch.evidence.report.facts import facts
from paretorch.evidence.report.glossary import terms
from paretorch.evidence.report.page import write_page
from paretorch.evidence.report.run_tables import cost_table, layer_table, phase_table, quality_table, speed_table
from paretorch.evidence.report.side_effect_tables import side_effect_tables
from paretorch.evidence.report.similarity import similarity_figures, similarity_places, similarity_tables
from paretorch.evidence.report.table import without_empty_columns
from paretorch.evidence.report.widths import CAPTION, widths_figure, widths_table
from paretorch.evidence.side_effect_words import side_effect_sentences
from paretorch.evidence.speed_words import macs_sentence, speed_sentences
from paretorch.evidence.words import grouped, percent, plain, plural


def write_run(run: RunRecord, path: Path, *, title: str | None, command: str) -> Path:
    """Write the page; see `write_report`."""
    arm = Arm(label=run.arm, runs=(run,))
    curves, widths = run_curves(run), widths_figure([arm])
    tables = [quality_table(run, arm.metric), phase_table(run, arm.metric), cost_table(run), speed_table(run)]
    broken = [without_empty_columns(table) for table in side_effect_tables({run.arm: [run]})]
    return write_page(
        "run.html",
        path,
        figures={key: drawn for key, drawn in {"curves": curves, "widths": widths}.items() if drawn}
        | similarity_figures(run),
        title=title or f"{run.workload}: {run.run_id}",
        command=command,
        subtitle=" · ".join([run.workload, run.arm, f"seed {run.seed}", run.status.replace("_", " ")]),
        sentences=sentences(arm),
        tiles=_tiles(arm),
        recipe=_recipe(run),
        has_curves=curves is not None,
        widths=widths and {"key": "widths", "title": "Widths by layer", "caption": CAPTION},
        profiles=widths_table([arm]),
        similarities=list(zip(similarity_places(run), similarity_tables(run), strict=True)),
        tables=[*[table for table in tables if table], *broken],
        layers=layer_table(run),
        terms=terms([arm]),
        **facts([run]),
    )


def sentences(arm: Arm) -> list[str]:
    """What one run says; differences between arms need several."""
    (run,), metric = arm.runs, arm.metric
    name = "the dense model" if arm.is_baseline else name_of(arm)
    if run.status != "ok":
        found = [f"On {run.workload}, {name} did not finish: {run.status.replace('_', ' ')}."]
    elif run.quality is None:
        found = [f"On {run.workload}, {name} finished without a test result."]
    else:
        found = [
            f"On {run.workload}, {name} reaches {metric.value(run.quality)} test {metric.name} with seed {run.seed}."
        ]
        found.append("One run shows no spread over seeds: compare arms only in the report of a sweep.")
        if run.train_quality is not None:
            gap = metric.difference(run.train_quality - run.quality)
            reached = metric.value(run.train_quality)
            found.append(f"On a sample of the training examples it reaches {reached}, {gap} than on test data.")
        for reference, value in run.references.items():
            gap = metric.difference(run.quality - value)
            found.append(
                f"On test data it is {gap} than {reference} ({metric.value(value)}), which needs no model of ours."
            )
    if (pruned := last_pruning(run)) and (level := sparsity(run)) is not None:
        kept, zeros = (float(str(pruned[key])) for key in ("kept", "pruned"))
        found.append(
            f"{percent(round(level, 6))} of the prunable weights are exactly zero: {grouped(zeros)} of "
            f"{grouped(zeros + kept)}."
        )
    found += side_effect_sentences({name: [run]})
    if not arm.is_baseline and run.status == "ok":
        found += [*speed_sentences([arm], None), *macs_sentence([arm])]
    return found


def _tiles(arm: Arm) -> list[tuple[str, str]]:
    """The few numbers that a reader looks for first; what is not known is left out."""
    (run,), metric = arm.runs, arm.metric
    counts = {"non-zero parameters": cost_field(run, "nonzeros"), "stored bytes": total_bytes(run)}
    level, epochs, seconds, path = sparsity(run), training_epochs(run), training_seconds(run), longest_path(run)
    return [
        *([] if run.quality is None else [(f"test {metric.name}", metric.value(run.quality))]),
        *([] if run.validation is None else [(f"validation {metric.name}", metric.value(run.validation))]),
        *([] if level is None else [("sparsity", percent(round(level, 4)))]),
        *[(name, grouped(value)) for name, value in counts.items() if value is not None],
        *([] if epochs is None else [("training, all phases", plural(round(epochs, 2), "epoch"))]),
        *([] if seconds is None else [("training time", f"{plain(seconds, digits=3)} s")]),
        *([("longest path", f"{plain(path, digits=3)} s")] if path is not None and have_parallel_phases([run]) else []),
    ]


def _recipe(run: RunRecord) -> list[tuple[str, str]]:
    """Factor -> value: what was trained."""
    rows = [("arm", run.arm), ("workload", run.workload), ("seed", str(run.seed)), ("status", run.status)]
    for name, value in run.group.items():
        retraining = name == "epochs" and not run.is_baseline
        rows.append(("retraining epochs" if retraining else name.replace("_", " "), _factor(name, value)))
    return [*rows, ("recipe hash", run.recipe_hash[:12] or "not recorded")]


def _factor(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return percent(value) if name == "sparsity" else f"{value:g}"
    return str(value)
