"""The widths of cut models, layer by layer: a figure with one line per arm, and the same numbers as a table.

    share of a group = mean over seeds of units that are left / units of the dense model

Groups of channels that are cut together stand in the order of execution, under the name of the layer that makes them.
"""

import html
from collections.abc import Sequence
from statistics import mean
from typing import Any

import plotly.graph_objects as go

from paretorch.evidence.arms import Arm
from paretorch.evidence.quantities import widths_of
from paretorch.evidence.report.layout import finished
from paretorch.evidence.report.series import marks_of, series
from paretorch.evidence.report.style import DASHES, short
from paretorch.evidence.report.table import UNKNOWN, Table
from paretorch.evidence.words import percent

SHOWN = 6  # arms that are visible at first
DRAWN = 20  # arms of the figure, so that a page stays small; records hold all
COLUMNS = 8  # arms of the table
CAPTION = (
    "Units that are left of each group of channels that are cut together, over those of the dense model: channels, "
    "attention heads, hidden units. Groups are in the order of execution."
)


def widths_figure(arms: Sequence[Arm]) -> dict[str, Any] | None:
    """Width over full width by group, a line per arm that was cut; None without one."""
    cut = cut_arms(arms)[:DRAWN]
    if not cut:
        return None
    figure = go.Figure()
    drawn = marks_of(arms)
    names = groups_of(cut)
    for members in series(cut).values():
        for position, arm in enumerate(members):
            marks = drawn[next(name for name, found in series(arms).items() if arm in found)]
            shares = _shares(arm)
            shown = [name for name in names if name in shares]
            figure.add_scatter(
                x=[html.escape(name) for name in shown],
                y=[short(100 * shares[name]) for name in shown],
                mode="lines+markers",
                name=html.escape(arm.label),
                marker={"color": marks.colour, "symbol": marks.symbol, "size": 9},
                line={"color": marks.colour, "width": 1.5, "dash": DASHES[position % len(DASHES)]},
                visible=True if len(figure.data) < SHOWN else "legendonly",
                text=[_text(arm, name) for name in shown],
                hovertemplate=f"{html.escape(arm.label)}<br>%{{x}}: %{{text}}, %{{y}} %<extra></extra>",
            )
    figure.update_xaxes(
        type="category",
        title="group of channels, in the order of execution",
        categoryorder="array",
        categoryarray=[html.escape(name) for name in names],
        showticklabels=len(names) <= 24,
    )
    figure.update_yaxes(title="width / full width (%)", range=[0, 105])
    return finished(figure, height=380)


def widths_caption(arms: Sequence[Arm]) -> str:
    """How to read the figure, and how many arms it leaves out."""
    count = len(cut_arms(arms))
    return f"{CAPTION} The first {DRAWN} of {count} cut arms." if count > DRAWN else CAPTION


def widths_table(arms: Sequence[Arm]) -> Table | None:
    """One row per group, one column per arm that was cut; None without one."""
    cut = cut_arms(arms)
    if not cut:
        return None
    shown = cut[:COLUMNS]
    full = {one["group"]: one["full"] for arm in cut for run in arm.finished for one in widths_of(run)}
    rows = [[name, str(full[name]), *[_text(arm, name) for arm in shown]] for name in groups_of(cut)]
    left = [
        f"{percent(round(mean(shares), 3))}" if (shares := list(_shares(arm).values())) else UNKNOWN for arm in shown
    ]
    rows.append(["mean share of all groups", UNKNOWN, *left])
    more = f" The first {COLUMNS} of {len(cut)} cut arms." if len(cut) > COLUMNS else ""
    return Table(
        key="widths",
        title="Widths by layer",
        caption=f"{CAPTION} Where seeds differ, the least and the most.{more}",
        head=["group", "full", *[arm.label for arm in shown]],
        rows=rows,
    )


def cut_arms(arms: Sequence[Arm]) -> list[Arm]:
    """The arms with a finished run whose widths are known."""
    return [arm for arm in arms if any(widths_of(run) for run in arm.finished)]


def groups_of(arms: Sequence[Arm]) -> list[str]:
    """All groups, in the order of the first run that has them."""
    return list(dict.fromkeys(one["group"] for arm in arms for run in arm.finished for one in widths_of(run)))


def _shares(arm: Arm) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for run in arm.finished:
        for one in widths_of(run):
            found.setdefault(one["group"], []).append(one["width"] / one["full"])
    return {name: mean(values) for name, values in found.items()}


def _text(arm: Arm, group: str) -> str:
    """'96', '90 to 96'."""
    widths = sorted({one["width"] for run in arm.finished for one in widths_of(run) if one["group"] == group})
    if not widths:
        return UNKNOWN
    return str(widths[0]) if len(widths) == 1 else f"{widths[0]} to {widths[-1]}"
