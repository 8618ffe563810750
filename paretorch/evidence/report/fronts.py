"""The fronts of a report: one scatter per cost axis, with the points that no other point beats joined by a line."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from paretorch.evidence.arms import Arm
from paretorch.evidence.front import Front, Point
from paretorch.evidence.report.axes import Axis, Place
from paretorch.evidence.report.layout import bounds, finished, log_axis
from paretorch.evidence.report.series import marks_of, series
from paretorch.evidence.report.style import DENSE_MARKS, MUTED, TEXT, Marks, short
from paretorch.evidence.statistics import Interval

APART = 0.014  # of the axis, between series of equal cost
REFERENCE_DASHES = ("longdashdot", "dashdot", "longdash")
REACH = 1.0  # references further from the points than this multiple of their span are named, not drawn


def scatter(
    arms: Sequence[Arm],
    axis: Axis,
    *,
    references: Mapping[str, float],
    marks: Mapping[str, Marks] | None = None,
    others: Mapping[str, Sequence[Point]] | None = None,
) -> dict[str, Any]:
    """Quality (mean over seeds, with its interval) against one cost; one series per recipe, swept over sparsity.

    Args:
        arms: what is drawn.
        axis: the cost.
        references: values of the metric that need no model, drawn as horizontal lines where they are near.
        marks: by name of series; by default those of `arms`.
        others: fronts to draw behind the points for comparison, by name.
    """
    metric = arms[0].metric
    marks = marks or marks_of(arms)
    figure = go.Figure()
    for name, points in (others or {}).items():
        _add_front(figure, points, name=f"front of {name}", colour=MUTED, dash="dash")
    named = series(arms)
    shifts = _shifts(named, axis)
    for name, members in named.items():
        shown = [(arm, axis.places[arm.label]) for arm in members if arm.quality and arm.label in axis.places]
        if shown:
            _add_series(figure, name, shown, axis=axis, drawn=marks[name], shift=shifts[name])
    front = front_of(arms, axis)
    if axis.can_rank and len(front) > 1:  # one point that beats all others is no line
        _add_front(figure, front, name="front (of the means)", colour=TEXT, dash="dot")
    for i, (name, value) in enumerate(near(arms, references).items()):
        line = {"color": MUTED, "width": 1.5, "dash": REFERENCE_DASHES[i % len(REFERENCE_DASHES)]}
        y = short(value * metric.factor)
        label = html.escape(f"{name} {metric.value(value)}")
        figure.add_scatter(x=_ends(axis), y=[y, y], mode="lines", name=label, line=line, hoverinfo="name")
    figure.update_xaxes(title=axis.label, **_scale(axis, [place.cost for place in axis.places.values()]))
    direction = "" if metric.higher_is_better else f", {metric.direction}"
    figure.update_yaxes(title=f"test {html.escape(metric.axis)}{direction}", **bounds(metric))
    return finished(figure, height=380)


def front_of(arms: Sequence[Arm], axis: Axis) -> list[Point]:
    """The arms that no other arm beats by its means, cheapest first, with the quality in the unit of the figure."""
    points = [
        Point(arm.label, axis.places[arm.label].cost.mean, quality.scaled(arm.metric.factor).mean)
        for arm in arms
        if (quality := arm.quality) is not None and arm.label in axis.places
    ]
    return list(Front(points, higher_is_better=arms[0].metric.higher_is_better).optimal) if points else []


def near(arms: Sequence[Arm], references: Mapping[str, float]) -> dict[str, float]:
    """The references that can be drawn without pressing the points together."""
    means = [quality.mean for arm in arms if (quality := arm.quality) is not None]
    if not means:
        return {}
    span = (max(means) - min(means)) or abs(max(means))
    low, high = min(means) - REACH * span, max(means) + REACH * span
    return {name: value for name, value in references.items() if low <= value <= high}


def far_words(arms: Sequence[Arm], references: Mapping[str, float]) -> str:
    """' Outside the drawn range: majority class 10.2 %.', or nothing."""
    metric, drawn = arms[0].metric, near(arms, references)
    named = [f"{name} {metric.value(value)}" for name, value in references.items() if name not in drawn]
    return f" Too far off to be drawn: {', '.join(named)}." if named else ""


def _add_series(
    figure: go.Figure, name: str, shown: Sequence[tuple[Arm, Place]], *, axis: Axis, drawn: Marks, shift: float
) -> None:
    metric = shown[0][0].metric
    intervals = [arm.quality for arm, _ in shown if arm.quality is not None]
    costs = [place.cost for _, place in shown]
    qualities = [quality.scaled(metric.factor) for quality in intervals]
    symbols = [drawn.symbol if place.certified else f"{drawn.symbol}-open" for _, place in shown]
    figure.add_scatter(
        x=[short(_moved(axis, cost.mean, shift)) for cost in costs],
        y=[short(quality.mean) for quality in qualities],
        mode="markers" if len(shown) == 1 or axis.key.startswith("latency") else "lines+markers",
        name=html.escape(name),
        marker={"color": drawn.colour, "symbol": symbols, "size": 15 if drawn is DENSE_MARKS else 10},
        line={"color": drawn.colour, "width": 1.5, "dash": drawn.dash},
        error_y=bars(qualities, drawn),
        error_x=bars(costs, drawn),
        text=[html.escape(arm.label) for arm, _ in shown],
        customdata=[
            [metric.mean(interval), f"{place.cost.mean:,.6g}", "" if place.certified else "<br>time not certified"]
            for interval, (_, place) in zip(intervals, shown, strict=True)
        ],
        hovertemplate=f"%{{text}}<br>test {html.escape(metric.name)}: %{{customdata[0]}}<br>"
        f"{html.escape(axis.label)}: %{{customdata[1]}}%{{customdata[2]}}<extra></extra>",
    )


def _add_front(figure: go.Figure, points: Sequence[Point], *, name: str, colour: str, dash: str) -> None:
    figure.add_scatter(
        x=[short(point.cost) for point in points],
        y=[short(point.quality) for point in points],
        mode="lines",
        name=html.escape(name),
        line={"color": colour, "width": 1.5, "dash": dash, "shape": "hv"},
        hoverinfo="skip",
    )


def _shifts(named: Mapping[str, Sequence[Arm]], axis: Axis) -> dict[str, float]:
    """How far each series is moved along the axis, in shares of its length, so that equal counts do not hide marks.

    Measured time is never moved.
    """
    if axis.key.startswith("latency"):
        return dict.fromkeys(named, 0.0)
    costs = {
        name: {axis.places[arm.label].cost.mean for arm in arms if arm.label in axis.places}
        for name, arms in named.items()
    }
    crowded = [name for name in named if any(costs[name] & costs[other] for other in named if other != name)]
    middle = (len(crowded) - 1) / 2
    return dict.fromkeys(named, 0.0) | {name: APART * (i - middle) for i, name in enumerate(crowded)}


def _moved(axis: Axis, cost: float, shift: float) -> float:
    """The cost as drawn."""
    low, high = _ends(axis)
    return cost * (high / low) ** shift if axis.log else cost + shift * (high - low)


def _ends(axis: Axis) -> list[float]:
    """Where horizontal lines begin and end: a little beyond the costs, or at zero for totals."""
    costs = [place.cost.mean for place in axis.places.values()]
    low, high = min(costs), max(costs)
    if axis.log:
        return [short(low / 1.1), short(high * 1.1)]
    return [short(0.98 * low) if axis.key.startswith("latency") else 0, short(1.02 * high)]


def _scale(axis: Axis, costs: Sequence[Interval]) -> dict[str, Any]:
    """Axis settings: 1-2-5 or decimal ticks on a logarithm, zero for totals, at least 0.9 to 1.1 for time ratios."""
    if axis.log:
        return log_axis(max(1.0, min(c.mean for c in costs)), max(c.mean for c in costs))
    if axis.key.startswith("latency"):
        ends = [end for c in costs for end in (c.low, c.mean, c.high) if end is not None]
        return {"range": [min(0.9, 0.98 * min(ends)), max(1.1, 1.02 * max(ends))]}
    return {"rangemode": "tozero"}


def bars(intervals: Sequence[Interval], drawn: Marks) -> dict[str, Any] | None:
    """The ends of intervals as plotly's error bars; None when none has any."""
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
