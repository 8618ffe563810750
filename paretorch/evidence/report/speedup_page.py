"""The page of a comparison: its verdict first, then the curves it rests on, then every number as a table."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from paretorch.evidence.claims import Verdict
from paretorch.evidence.families import Family
from paretorch.evidence.report.cost_words import ratio_label, scope_words
from paretorch.evidence.report.facts import facts
from paretorch.evidence.report.family_tables import family_table, hit_table, run_table, subtitle
from paretorch.evidence.report.glossary import comparison_terms
from paretorch.evidence.report.interaction import interaction_figure, interaction_table, pairs
from paretorch.evidence.report.page import write_page
from paretorch.evidence.report.side_effect_tables import side_effect_tables
from paretorch.evidence.report.speedup_figures import frame_of, gain_curve, ratio_curve, tradeoff
from paretorch.evidence.report.speedup_tables import (
    NOT_CLAIMED,
    axes_table,
    gain_table,
    grid_table,
    ratio_table,
    split_table,
    upper,
)
from paretorch.evidence.report.sweep_page import figure_of
from paretorch.evidence.report.table import Table, without_empty_columns
from paretorch.evidence.report.taxonomy import method_table, taxonomy_grid
from paretorch.evidence.report.time_to_target import censored_words, target_figure, target_table
from paretorch.evidence.side_effect_quantities import affected
from paretorch.evidence.side_effect_words import side_effect_sentences
from paretorch.evidence.speedup import Speedup
from paretorch.evidence.words import listing


@dataclass(kw_only=True)
class Part:
    """One section of the page; what is None is left out."""

    key: str
    title: str
    hint: str = ""
    sentences: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    figures: list[dict[str, str]] = field(default_factory=list)
    tables: Sequence[Table | None] = ()
    folded: Sequence[Table | None] = ()

    def __post_init__(self) -> None:
        self.tables = [table for table in self.tables if table]
        self.folded = [table for table in self.folded if table]


def write_speedup_page(
    speedup: Speedup,
    verdict: Verdict,
    path: str | Path,
    *,
    families: Sequence[Family],
    title: str,
    command: str,
) -> Path:
    """Write the report of a comparison of two families of durations, with the other families around them.

    Args:
        speedup: the comparison, from `compare_families`.
        verdict: what may be said of it, from `claim`; shown first, its refusals and warnings as prominently.
        path: the HTML file to write; an existing one is replaced atomically.
        families: all families that were run: candidate, baseline, controls, and those with one method or both where
            two methods were combined. Candidate and baseline are added where they are missing.
        title: heading of the page.
        command: the command that repeats everything, shown as it is.

    Returns:
        The path. The file is under 2 MB plus its data.

    Raises:
        InputError: as `Family.curve`, e.g. another family was not measured on the axis of the comparison.
    """
    shown = list({f.label: f for f in (speedup.candidate, speedup.baseline, *families)}.values())
    figures: dict[str, dict[str, Any]] = {}
    runs = [run for family in shown for run in family.runs]
    placed = [family for family in shown if speedup.places(family)]
    parts = [
        _tradeoff(speedup, placed, shown, figures),
        _ratios(speedup, verdict, figures),
        _targets(speedup, placed, figures),
        _interaction(speedup, placed, figures),
        _side_effects(shown),
        Part(
            key="runs",
            title="What was run",
            tables=[family_table(speedup, shown)],
            folded=[run_table(speedup, shown), hit_table(shown)],
        ),
    ]
    return write_page(
        "speedup.html",
        Path(path),
        figures=figures,
        title=title,
        command=command,
        subtitle=subtitle(speedup, shown),
        verdict=verdict,
        parts=[part for part in parts if part],
        grid=taxonomy_grid(runs),
        methods=method_table(runs),
        terms=comparison_terms(speedup.axis),
        **facts(runs),
    )


def _tradeoff(
    speedup: Speedup, placed: Sequence[Family], every: Sequence[Family], figures: dict[str, dict[str, Any]]
) -> Part:
    """The curves of the families that have a cost in the scope of the comparison, and those of all in the total."""
    drawn = tradeoff(speedup, placed)
    if drawn is None:
        return Part(key="tradeoff", title="Quality against cost", warnings=["No run finished, so there is no curve."])
    figures["tradeoff"] = drawn
    caption = (
        f"Cost: {scope_words(speedup.scope)}. Small marks are single runs. A line is the mean over seeds of the best "
        "quality at most that cost, as far as all seeds go, its band the 95 % interval of that mean; controls are thin "
        "and have no band."
    )
    if frame_of(every) is not None:
        caption += " A double click brings controls into sight that lie outside the frame."
    shown, sentences = [figure_of("tradeoff", "Trade-off curves", caption)], []
    if apart := [family.label for family in every if family not in placed]:
        one = len(apart) == 1
        sentences.append(
            f"{listing(apart)} {'is' if one else 'are'} trained from scratch and {'has' if one else 'have'} no cost "
            "after a dense training; the second figure has the cost of all phases, dense training included."
        )
        others = [family for family in every if family not in placed]
        if whole := tradeoff(replace(speedup, scope="total"), [*placed, *others]):  # marks as in the first figure
            figures["total"] = whole
            shown.append(figure_of("total", "The same with the dense training", f"Cost: {scope_words('total')}."))
    return Part(key="tradeoff", title="Quality against cost", sentences=sentences, figures=shown)


def _ratios(speedup: Speedup, verdict: Verdict, figures: dict[str, dict[str, Any]]) -> Part:
    name = ratio_label(speedup.axis)
    placed = []
    unclaimed = "" if verdict.claimed else f" {NOT_CLAIMED}"
    if drawn := ratio_curve(speedup):
        figures["ratio"] = drawn
        caption = f"Above the dashed line the candidate costs less. Band and bars: 95 % intervals.{unclaimed}"
        placed.append(figure_of("ratio", f"{upper(name)} at equal quality", caption))
    if drawn := gain_curve(speedup):
        figures["gain"] = drawn
        caption = f"Above the dashed line the candidate is {_better(speedup)}. Paired over seeds.{unclaimed}"
        placed.append(figure_of("gain", "Quality at equal cost", caption))
    missing = [] if speedup.range else ["No quality is reached by every seed of both families, so nothing is averaged."]
    return Part(
        key="ratios",
        title="Equal quality and equal cost",
        warnings=missing,
        figures=placed,
        tables=[
            ratio_table(speedup, claimed=verdict.claimed),
            split_table(speedup),
            axes_table(speedup),
            gain_table(speedup),
        ],
        folded=[grid_table(speedup)],
    )


def _better(speedup: Speedup) -> str:
    return "better" if speedup.baseline.metric.higher_is_better else "worse"


def _targets(speedup: Speedup, families: Sequence[Family], figures: dict[str, dict[str, Any]]) -> Part | None:
    drawn = target_figure(speedup, families)
    if drawn is None:
        return None
    figures["targets"] = drawn
    caption = (
        "One mark per seed; dotted lines join the seeds of candidate and baseline. Hollow, pointing up: censored, the "
        "seed did not reach the quality within its budget, where the mark stands. Hollow, pointing down: already its "
        "shortest run reaches it."
    )
    return Part(
        key="targets",
        title="How soon a quality is reached",
        warnings=censored_words(speedup, families),
        figures=[figure_of("targets", "Cost to reach a quality, seed by seed", caption)],
        tables=[target_table(speedup, families)],
    )


def _interaction(speedup: Speedup, families: Sequence[Family], figures: dict[str, dict[str, Any]]) -> Part | None:
    found = pairs(speedup, families)
    if not found:
        return None
    placed = []
    if drawn := interaction_figure(speedup, found):
        figures["interaction"] = drawn
        placed.append(figure_of("interaction", "Two methods alone and together", "Bars are 95 % intervals over seeds."))
    return Part(
        key="interaction",
        title="Do the methods multiply?",
        figures=placed,
        tables=[interaction_table(speedup, found)],
    )


def _side_effects(families: Sequence[Family]) -> Part | None:
    """Of the longest run of each seed: a table holds one run per seed."""
    groups = {
        family.label: [found[-1] for seed in family.seeds if (found := affected(family.records[seed]))]
        for family in families
    }
    tables = [without_empty_columns(table) for table in side_effect_tables(groups)]
    if not tables:
        return None
    sentences = side_effect_sentences(groups)
    warnings = [sentence for sentence in sentences if sentence.startswith("Warning")]
    return Part(
        key="side-effects",
        title="Side effects",
        hint="Of the longest finished run of each seed.",
        sentences=[sentence for sentence in sentences if sentence not in warnings],
        warnings=warnings,
        tables=tables[:1],
        folded=tables[1:],
    )
