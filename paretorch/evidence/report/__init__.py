"""A report: one HTML file that says what was found, shows the fronts and curves, and lists every number.

The file works offline and in any current browser: plotly.js travels inside (compressed), nothing is loaded from
elsewhere, and a content-security policy in the page forbids it. All numbers are also in tables that need no script.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from paretorch.artefacts.files import write_text
from paretorch.evidence.arms import Arm, arms_of, baseline_of
from paretorch.evidence.records import RunRecord
from paretorch.evidence.report.axes import axes_of
from paretorch.evidence.report.bundle import ALPHABET, plotly_text
from paretorch.evidence.report.figures import curves, dash_words, scatter
from paretorch.evidence.report.glossary import terms
from paretorch.evidence.report.style import DARK
from paretorch.evidence.report.tables import runs_table, tables_of
from paretorch.evidence.verdict import comparisons, verdict
from paretorch.evidence.words import plural

__all__ = ["write_report"]

MANY = 4  # comparisons beyond this number fold away under their summary


def write_report(records: Iterable[RunRecord], path: str | Path, *, title: str, command: str) -> Path:
    """Write the report of a sweep.

    Args:
        records: runs of one workload, all arms and seeds.
        path: the HTML file to write; an existing one is replaced atomically.
        title: heading of the page.
        command: the command that repeats everything, shown as it is.

    Returns:
        The path. The file is under 2 MB plus its data.

    Raises:
        InputError: there are no records.
        NotComparableError: the runs cannot be compared (see `arms_of`).
    """
    records = list(records)
    arms = arms_of(records)
    baseline = baseline_of(arms)
    axes = axes_of(arms, baseline)
    curve_figure = curves(arms)
    figures = {axis.key: scatter(arms, axis) for axis in axes} | ({"curves": curve_figure} if curve_figure else {})
    by_setting = comparisons(arms)
    by_setting = by_setting if len(by_setting) > MANY else []
    page = _environment().get_template("report.html")
    text = page.render(
        title=title,
        command=command,
        sentences=[sentence for sentence in verdict(records) if sentence not in by_setting],
        by_setting=by_setting,
        subtitle=_subtitle(arms),
        axes=axes,
        has_curves=curve_figure is not None,
        dashes=dash_words(arms),
        figures=figures,
        dark=DARK,
        tables=tables_of(arms, baseline),
        runs=runs_table(arms),
        environment=_environments(records),
        commands=list(dict.fromkeys(record.command for record in records if record.command)),
        notes=_notes(records),
        terms=terms(arms),
        plotly=Markup(plotly_text()),  # the alphabet has no "<", "&" or quote
        alphabet=ALPHABET,
    )
    write_text(Path(path), text)
    return Path(path)


def _environment() -> Environment:
    loader = PackageLoader("paretorch.evidence.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment


def _subtitle(arms: Sequence[Arm]) -> str:
    runs = [run for arm in arms for run in arm.runs]
    num_seeds = len({run.seed for run in runs})
    counts = [plural(len(arms), "arm"), plural(num_seeds, "seed"), plural(len(runs), "run")]
    return " · ".join([runs[0].workload, *counts])


def _environments(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Name -> value over all runs; where runs differ, every value, separated by " | "."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for name, value in _flat(record.env):
            found.setdefault(name, {})[value] = None
    return [(name, " | ".join(values)) for name, values in found.items()]


def _flat(env: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for name, value in env.items():
        if isinstance(value, Mapping):
            rows += [(inner if name == "packages" else f"{name}: {inner}", str(item)) for inner, item in value.items()]
        elif isinstance(value, list | tuple):
            rows.append((name, ", ".join(map(str, value)) or "none"))
        else:
            rows.append((name, "not set" if value is None else str(value)))
    return rows


def _notes(records: Sequence[RunRecord]) -> list[str]:
    """Notes of the runs, each once, with the number of runs that carry it."""
    counts: dict[str, int] = {}
    for record in records:
        for note in dict.fromkeys(record.notes):
            counts[note] = counts.get(note, 0) + 1
    return [f"{note} ({plural(count, 'run')})" for note, count in counts.items()]
