"""The page of one sweep: arms over seeds of one workload."""

from collections.abc import Sequence
from pathlib import Path

from paretorch.evidence.arms import Arm, arms_of, baseline_of, compressed_of
from paretorch.evidence.grids import grids_of, leading
from paretorch.evidence.names import ordered
from paretorch.evidence.records import RunRecord
from paretorch.evidence.reference_words import references_of
from paretorch.evidence.report.axes import axes_of
from paretorch.evidence.report.curve_figures import arm_curves
from paretorch.evidence.report.facts import facts
from paretorch.evidence.report.fronts import far_words, scatter
from paretorch.evidence.report.glossary import terms
from paretorch.evidence.report.grid_figures import TUNING_CAPTION, drawable, grid_figures, grid_places
from paretorch.evidence.report.grid_tables import best_rates_table, tuning_table
from paretorch.evidence.report.page import write_page
from paretorch.evidence.report.series import dash_words, marks_of
from paretorch.evidence.report.side_effect_tables import side_effect_tables
from paretorch.evidence.report.similarity_by_arm import (
    similarity_by_arm,
    similarity_by_arm_places,
    similarity_by_arm_table,
)
from paretorch.evidence.report.sweep_tables import (
    comparison_table,
    cost_table,
    quality_table,
    runs_table,
    speed_table,
)
from paretorch.evidence.report.table import Table, without_empty_columns
from paretorch.evidence.report.widths import widths_caption, widths_figure, widths_table
from paretorch.evidence.verdict import comparisons, headline_arm, verdict
from paretorch.evidence.words import plural

MANY = 4  # comparisons beyond this number fold away under their summary


def write_sweep(records: Sequence[RunRecord], path: Path, *, title: str | None, command: str) -> Path:
    """Write the page; see `write_report`."""
    arms = ordered(arms_of(records))
    baseline = baseline_of(arms)
    references, grids = references_of(arms), drawable(grids_of(arms))
    sized = [arm for arm in arms if not arm.is_whole]  # the others differ from the dense model in no cost but training
    axes = axes_of(sized, baseline) if len(sized) > 1 or len(sized) == len(arms) else []
    shown = leading(arms)
    marks = marks_of(shown)
    fronts = {axis.key: scatter(sized, axis, references=references, marks=marks) for axis in axes}
    figures = fronts | grid_figures(grids)
    curves, widths = arm_curves(shown), widths_figure(shown)
    tables = [quality_table(shown, baseline), cost_table(shown), speed_table(sized, baseline), comparison_table(arms)]
    sentences, folded = verdict_parts(arms)
    overview = side_effect_tables({arm.label: arm.runs for arm in arms})[:1]
    return write_page(
        "sweep.html",
        path,
        figures=figures
        | {key: drawn for key, drawn in {"curves": curves, "widths": widths}.items() if drawn}
        | similarity_by_arm(arms),
        title=title or f"{records[0].workload}: a sweep",
        command=command,
        subtitle=subtitle(arms),
        sentences=sentences,
        folded=folded,
        fronts=[figure_of(axis.key, axis.title, axis.caption + far_words(sized, references)) for axis in axes],
        grids=grid_places(grids),
        tuning="tuning" in figures and figure_of("tuning", "What tuning reaches for its cost", TUNING_CAPTION),
        grid_tables=[without_empty_columns(make(grids)) for make in (best_rates_table, tuning_table) if grids],
        has_curves=curves is not None,
        widths=widths and figure_of("widths", "Widths by layer", widths_caption(shown)),
        profiles=widths_table(shown),
        similarities=similarity_by_arm_places(arms),
        alike=similarity_by_arm_table(arms),
        dashes=dash_words(shown),
        tables=[without_empty_columns(table) for table in (*tables, *overview) if table],
        details=[without_empty_columns(table) for table in _side_effects_of_the_finding(arms, baseline)],
        runs=without_empty_columns(runs_table(arms)),
        terms=terms(arms),
        **facts(records),
    )


def _side_effects_of_the_finding(arms: Sequence[Arm], baseline: Arm | None) -> list[Table]:
    """Class by class and so on, of the arm that the verdict speaks of; those of all arms would be most of the page."""
    compressed = compressed_of(arms)
    if baseline is None or baseline.quality is None or not compressed:
        return []
    arm, _ = headline_arm(compressed, baseline)
    return side_effect_tables({arm.label: arm.runs})[1:]


def verdict_parts(arms: Sequence[Arm]) -> tuple[list[str], list[str]]:
    """The sentences to show, and those that fold away because there are many."""
    folded = comparisons(arms)
    folded = folded if len(folded) > MANY else []
    found = verdict(run for arm in arms for run in arm.runs)
    return [sentence for sentence in found if sentence not in folded], folded


def figure_of(key: str, title: str, caption: str) -> dict[str, str]:
    """What the template needs to place a figure."""
    return {"key": key, "title": title, "caption": caption}


def subtitle(arms: Sequence[Arm]) -> str:
    """'digits · 5 arms · 3 seeds · 15 runs'."""
    runs = [run for arm in arms for run in arm.runs]
    num_seeds = len({run.seed for run in runs})
    counts = [plural(len(arms), "arm"), plural(num_seeds, "seed"), plural(len(runs), "run")]
    return " · ".join([runs[0].workload, *counts])
