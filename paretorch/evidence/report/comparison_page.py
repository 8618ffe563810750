"""The page that puts sweeps side by side: a section per workload, a panel per folder, all panels on the same axes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paretorch.evidence.arms import Arm, baseline_of, compressed_of, difference
from paretorch.evidence.comparison import Workload, between_folders, findings
from paretorch.evidence.difference_words import claim
from paretorch.evidence.grids import best_of, grids_of, leading
from paretorch.evidence.quantities import sparsity
from paretorch.evidence.reference_words import references_of
from paretorch.evidence.report.axes import Axis, axes_of
from paretorch.evidence.report.facts import facts
from paretorch.evidence.report.fronts import far_words, front_of, scatter
from paretorch.evidence.report.glossary import terms
from paretorch.evidence.report.layout import align
from paretorch.evidence.report.page import write_page
from paretorch.evidence.report.series import marks_of
from paretorch.evidence.report.sweep_page import MANY, figure_of, verdict_parts
from paretorch.evidence.report.sweep_tables import CLAIMS, cost_table, quality_table, speed_table
from paretorch.evidence.report.table import UNKNOWN, Table, count, exact, mean, stacked, without_empty_columns
from paretorch.evidence.verdict import headline_arm
from paretorch.evidence.words import listing, percent, plural


def write_comparison(workloads: Sequence[Workload], path: Path, *, title: str | None, command: str) -> Path:
    """Write the page; see `write_report`."""
    arms = [arm for workload in workloads for found in workload.folders.values() for arm in found]
    runs = [run for arm in arms for run in arm.runs]
    folders = list(dict.fromkeys(folder for workload in workloads for folder in workload.folders))
    figures: dict[str, dict[str, Any]] = {}
    names = listing(list(dict.fromkeys(workload.name for workload in workloads)))
    counts = [
        plural(len(workloads), "workload"),
        plural(len(folders), "folder"),
        plural(len(arms), "arm"),
        plural(len(runs), "run"),
    ]
    return write_page(
        "comparison.html",
        path,
        sections=[_section(workload, f"w{i}", figures) for i, workload in enumerate(workloads)],
        figures=figures,
        title=title or f"{names}: a comparison",
        command=command,
        subtitle=" · ".join(counts),
        glance=_glance(workloads),
        terms=terms(arms),
        **facts(runs),
    )


def _section(workload: Workload, key: str, figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the template shows of a workload; its figures are added to `figures`."""
    if len(workload.folders) == 1:
        sentences, folded = verdict_parts(next(iter(workload.folders.values())))
    else:
        sentences, folded = findings(workload), between_folders(workload)
    folders = {folder: leading(arms) for folder, arms in workload.folders.items()}
    every = [arm for arms in folders.values() for arm in arms]
    tables = [
        _stacked({folder: quality_table(arms, baseline_of(arms)) for folder, arms in folders.items()}),
        _stacked({folder: cost_table(arms, among=every) for folder, arms in folders.items()}),
        _stacked({folder: speed_table(arms, baseline_of(arms)) for folder, arms in folders.items()}),
        _between_table(workload),
    ]
    return {
        "key": key,
        "name": workload.name,
        "metric": f"{workload.metric.name}, {workload.metric.direction}",
        "sentences": sentences,
        "folded": folded,
        "open": len(folded) <= MANY,
        "left_out": workload.left_out,
        "rows": _panels(folders, key, figures),
        "tables": [table for table in tables if table],
    }


def _panels(folders: Mapping[str, Sequence[Arm]], key: str, figures: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One row of panels per cost axis: a panel per folder, on equal axes, with the other folders' fronts behind."""
    axes: dict[tuple[str, str], dict[str, Axis]] = {}
    for folder, arms in folders.items():
        for axis in axes_of(arms, baseline_of(arms)):
            axes.setdefault((axis.key, axis.label), {})[folder] = axis
    marks = marks_of([arm for arms in folders.values() for arm in arms])
    rows = []
    for number, found in enumerate(axes.values()):
        fronts = {folder: front_of(folders[folder], axis) for folder, axis in found.items() if axis.can_rank}
        shared = len({axis.caption for axis in found.values()}) == 1
        panels = []
        for position, (folder, axis) in enumerate(found.items()):
            arms = folders[folder]
            references = references_of(arms)
            name = f"{key}-{number}-{axis.key}-{position}"
            others = {other: points for other, points in fronts.items() if other != folder and len(points) > 1}
            figures[name] = scatter(arms, axis, references=references, marks=marks, others=others)
            caption = ("" if shared else axis.caption) + far_words(arms, references)
            panels.append(figure_of(name, folder if len(found) > 1 else axis.title, caption))
        align([figures[panel["key"]] for panel in panels])
        first = next(iter(found.values()))
        rows.append({"title": first.title, "caption": first.caption if shared else "", "panels": panels})
    return rows


def _glance(workloads: Sequence[Workload]) -> Table:
    """One row per workload and folder: the dense model beside the arm that validation would choose."""
    rows = []
    for workload in workloads:
        metric = workload.metric
        for folder, arms in workload.folders.items():
            baseline = baseline_of(arms)
            compressed = compressed_of(arms)
            grid = None if compressed else best_of(grids_of(arms))
            chosen = grid.best if grid else headline_arm(compressed, baseline)[0] if compressed and baseline else None
            gap = difference(chosen, baseline) if chosen and baseline else None
            rows.append(
                [
                    workload.name,
                    folder,
                    f"{metric.axis}, {metric.direction}",
                    UNKNOWN if baseline is None else mean(metric, baseline.quality),
                    UNKNOWN if chosen is None else chosen.label,
                    UNKNOWN if chosen is None else exact(chosen, sparsity, lambda value: percent(round(value, 4))),
                    UNKNOWN if chosen is None else mean(metric, chosen.quality),
                    UNKNOWN if gap is None else f"{metric.signed(gap)}, n={gap.n}",
                    count(baseline or arms[0]),
                ]
            )
    table = Table(
        key="glance",
        title="At a glance",
        caption="Per workload and folder, the dense model and the arm that validation chooses: the sparsest that keeps "
        "validation quality within 1 % of dense, else the closest; of arms that only train, each with an optimizer of "
        "its own, the best of all. Every difference is to the dense model of the same folder.",
        head=[
            *["workload", "folder", "test metric", "dense", "chosen arm", "sparsity", "chosen arm, test"],
            *["minus dense, 95 % interval", "runs"],
        ],
        rows=rows,
    )
    return without_empty_columns(table)


def _between_table(workload: Workload) -> Table | None:
    """Paired differences between arms of equal name in two folders; None without any."""
    metric = workload.metric
    rows = []
    for arm, reference, folder, other in workload.pairs():
        gap = difference(arm, reference)
        rows.append(
            [
                arm.label,
                folder,
                other,
                "no shared seed" if gap is None else metric.signed(gap),
                UNKNOWN if gap is None else str(gap.n),
                CLAIMS[metric.higher_is_better][claim(gap)],
            ]
        )
    unit = " (points)" if metric.is_fraction else ""
    return (
        None
        if not rows
        else Table(
            key="between",
            title="Between folders",
            caption="Arms of equal name, paired over the seeds that both folders finished. One 95 % interval per row, "
            "not adjusted for the number of rows.",
            head=["arm", "folder", "compared with", f"test difference{unit}, 95 % interval", "seeds", "claim"],
            rows=rows,
        )
    )


def _stacked(tables: dict[str, Table | None]) -> Table | None:
    """Tables of the folders that have one; with a column for the folder where there are several."""
    known = {folder: table for folder, table in tables.items() if table}
    if not known:
        return None
    return without_empty_columns(stacked(known) if len(tables) > 1 else next(iter(known.values())))
