"""The plotly figures of a report: one scatter per cost axis with its front, and the curves of the runs.

Figures are returned as JSON-ready dicts without plotly's default template, in light colours (see `style`).
"""

import html
import json
import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from paretorch.evidence.arms import Arm
from paretorch.evidence.front import Front, Point
from paretorch.evidence.quantities import sparsity
from paretorch.evidence.report.axes import Axis
from paretorch.evidence.report.curves import arms_shown_first, traces
from paretorch.evidence.report.style import DASHES, DENSE_MARKS, GRID, MUTED, TEXT, Marks, marks, short
from paretorch.evidence.statistics import Interval
from paretorch.evidence.verdict import name_of
from paretorch.evidence.words import Metric, grouped, percent

MAX_DECADE = 12  # a terabyte, or a trillion parameters


def scatter(arms: Sequence[Arm], axis: Axis) -> dict[str, Any]:
    """Quality (mean over seeds, with its interval) against one cost; one series per recipe, swept over sparsity."""
    metric = arms[0].metric
    points: list[Point] = []
    figure = go.Figure()
    for name, members in series(arms).items():
        shown = [
            (arm, quality, axis.places[arm.label])
            for arm in members
            if (quality := arm.quality) is not None and arm.label in axis.places
        ]
        if not shown:
            continue
        drawn = marks_of(arms)[name]
        costs = [place.cost for _, _, place in shown]
        qualities = [quality.scaled(metric.factor) for _, quality, _ in shown]
        points += [Point(arm.label, c.mean, q.mean) for (arm, _, _), c, q in zip(shown, costs, qualities, strict=True)]
        symbols = [drawn.symbol if place.certified else f"{drawn.symbol}-open" for _, _, place in shown]
        figure.add_scatter(
            x=[short(cost.mean) for cost in costs],
            y=[short(quality.mean) for quality in qualities],
            mode="markers" if len(shown) == 1 or axis.key.startswith("latency") else "lines+markers",
            name=html.escape(name),
            marker={"color": drawn.colour, "symbol": symbols, "size": 15 if drawn is DENSE_MARKS else 10},
            line={"color": drawn.colour, "width": 1},
            error_y=_bars(qualities, drawn),
            error_x=_bars(costs, drawn),
            text=[html.escape(arm.label) for arm, _, _ in shown],
            customdata=[
                [quality.scaled(metric.factor).text(), "" if place.certified else "time not certified"]
                for _, quality, place in shown
            ],
            hovertemplate="%{text}<br>" + html.escape(metric.axis) + ": %{customdata[0]}<br>"
            f"{html.escape(axis.label)}: %{{x}}<br>%{{customdata[1]}}<extra></extra>",
        )
    if axis.can_rank and len(points) > 1:
        _add_front(figure, points, higher_is_better=metric.higher_is_better)
    figure.update_xaxes(title=axis.label, **_scale(axis, [place.cost for place in axis.places.values()]))
    figure.update_yaxes(title=f"test {html.escape(metric.axis)}", **_bounds(metric))
    return _finished(figure, height=360, per_row=1)


def curves(arms: Sequence[Arm]) -> dict[str, Any] | None:
    """Validation quality and learning rate over the steps of each run; None when no run holds a curve."""
    if not any(run.curves for arm in arms for run in arm.runs):
        return None
    metric = arms[0].metric
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.62, 0.38])
    first = arms_shown_first(arms)
    levels = sorted({_level(arm) for arm in arms}, reverse=True)
    for name, members in series(arms).items():
        drawn = marks_of(arms)[name]
        for arm in members:
            line = {"color": drawn.colour, "width": 1.5, "dash": DASHES[levels.index(_level(arm)) % len(DASHES)]}
            shared = {
                "mode": "lines",
                "line": line,
                "name": html.escape(arm.label),
                "legendgroup": html.escape(arm.label),
            }
            visible = True if arm.label in first else "legendonly"
            legend = True
            for run in arm.runs:
                for row, (x, y) in enumerate(traces(run, factor=metric.factor), start=1):
                    if not x:
                        continue
                    hover = f"{html.escape(run.run_id)}<br>step %{{x}}: %{{y}}<extra></extra>"
                    figure.add_scatter(
                        x=x, y=y, row=row, col=1, visible=visible, showlegend=legend, hovertemplate=hover, **shared
                    )
                    legend = False
    figure.update_xaxes(title="optimizer step, counted over all phases of the run", row=2, col=1)
    figure.update_yaxes(title=f"validation {html.escape(metric.axis)}", row=1, col=1, **_bounds(metric))
    figure.update_yaxes(title="learning rate", row=2, col=1)
    return _finished(figure, height=500, per_row=3)


def series(arms: Sequence[Arm]) -> dict[str, list[Arm]]:
    """Arms by name without sparsity, so that one series is one recipe swept over sparsity, sparsest last."""
    named: dict[str, list[Arm]] = {}
    for arm in arms:
        named.setdefault("dense" if arm.is_baseline else name_of(arm, without=("sparsity",)), []).append(arm)
    return {name: sorted(members, key=_level) for name, members in named.items()}


def marks_of(arms: Sequence[Arm]) -> dict[str, Marks]:
    """Marks of every series, the same in all figures."""
    names = [name for name, members in series(arms).items() if not members[0].is_baseline]
    return {name: marks(index) for index, name in enumerate(names)} | {"dense": DENSE_MARKS}


def dash_words(arms: Sequence[Arm]) -> str:
    """'solid 90 %, dash 0 %': which line belongs to which sparsity, the sparsest first."""
    levels = sorted({_level(arm) for arm in arms}, reverse=True)
    return ", ".join(f"{DASHES[i % len(DASHES)]} {percent(round(level, 4))}" for i, level in enumerate(levels))


def _level(arm: Arm) -> float:
    wanted = arm.group.get("sparsity")
    if isinstance(wanted, int | float):
        return float(wanted)
    measured = arm.interval(sparsity)
    return 0.0 if measured is None else measured.mean


def _scale(axis: Axis, costs: Sequence[Interval]) -> dict[str, Any]:
    """Axis settings: labelled 1-2-5 ticks on a logarithm, zero for totals, at least 0.9 to 1.1 for time ratios."""
    if axis.log:
        decades = range(math.floor(math.log10(max(1.0, min(c.mean for c in costs)))), 1 + MAX_DECADE)
        values = [digit * 10**decade for decade in decades for digit in (1, 2, 5)]
        return {"type": "log", "tickvals": values, "ticktext": [grouped(value) for value in values]}
    if axis.key.startswith("latency"):
        ends = [end for c in costs for end in (c.low, c.mean, c.high) if end is not None]
        return {"range": [min(0.9, 0.98 * min(ends)), max(1.1, 1.02 * max(ends))]}
    return {"rangemode": "tozero"}


def _bounds(metric: Metric) -> dict[str, float]:
    """A percentage cannot leave 0 to 100, though its t-interval can; a little room keeps the marks whole."""
    return {"minallowed": -2, "maxallowed": 102} if metric.is_fraction else {}


def _bars(intervals: Sequence[Interval], drawn: Marks) -> dict[str, Any] | None:
    if all(interval.low is None for interval in intervals):
        return None
    above = [0.0 if i.high is None else i.high - i.mean for i in intervals]
    below = [0.0 if i.low is None else i.mean - i.low for i in intervals]
    return {
        "type": "data",
        "symmetric": False,
        "array": [short(v) for v in above],
        "arrayminus": [short(v) for v in below],
        "color": drawn.colour,
        "thickness": 1,
        "width": 3,
    }


def _add_front(figure: go.Figure, points: Sequence[Point], *, higher_is_better: bool) -> None:
    best = Front(points, higher_is_better=higher_is_better).optimal
    if len(best) == 1:
        return  # one point beats all others: there is no line to draw
    figure.add_scatter(
        x=[short(point.cost) for point in best],
        y=[short(point.quality) for point in best],
        mode="lines",
        name="front (of the means)",
        line={"color": MUTED, "width": 2, "dash": "dot", "shape": "hv"},
        hoverinfo="skip",
    )


def _finished(figure: go.Figure, *, height: int, per_row: int) -> dict[str, Any]:
    """Common look; transparent, so that the page's own background shows. `height` in pixels, without the legend."""
    entries = sum(trace.showlegend is not False for trace in figure.data)
    legend_height = 22 * (-(-entries // per_row)) + 8
    figure.update_layout(
        template=go.layout.Template(),
        height=height + legend_height,
        margin={"l": 64, "r": 16, "t": 30, "b": 56 + legend_height},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": TEXT},
        legend={"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0, "font": {"size": 12}},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": MUTED, "activecolor": TEXT},
        hovermode="closest",
    )
    figure.update_xaxes(gridcolor=GRID, linecolor=MUTED, zeroline=False, ticks="outside", tickcolor=GRID)
    figure.update_yaxes(gridcolor=GRID, linecolor=MUTED, zeroline=False, automargin=True)
    content: dict[str, Any] = json.loads(figure.to_json())
    return content
