"""The figures of a comparison: trade-off curves, the ratio at equal quality, the gain at equal cost.

Lines through families are means over seeds of each seed's envelope (the best quality at most that cost), interpolated
as in `paretorch.evidence.curves`; small marks are single runs, those below the envelope included.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from paretorch.evidence.curves import quality_gain
from paretorch.evidence.families import Axis, Family, Scope
from paretorch.evidence.report.bands import add_band
from paretorch.evidence.report.cost_words import axis_label, ratio_label
from paretorch.evidence.report.fronts import bars
from paretorch.evidence.report.layout import bounds, finished, log_axis
from paretorch.evidence.report.style import DENSE_MARKS, MUTED, Marks, marks, short
from paretorch.evidence.speedup import Speedup
from paretorch.evidence.statistics import Interval, mean_interval
from paretorch.evidence.words import Metric, ratio

HEIGHT = 400
LEVELS = 40  # positions along a mean curve
TARGET = {"color": MUTED, "width": 1, "dash": "dot"}


def marks_of(speedup: Speedup, families: Sequence[Family]) -> dict[str, Marks]:
    """Marks by family: the baseline is a dark star, the candidate comes first of the others."""
    names = [speedup.candidate.label, *(family.label for family in families)]
    others = [name for name in dict.fromkeys(names) if name != speedup.baseline.label]
    return {name: marks(index) for index, name in enumerate(others)} | {speedup.baseline.label: DENSE_MARKS}


def is_control(family: Family) -> bool:
    """Whether the family is there to rule out a simpler explanation."""
    return family.role.startswith("control")


def mean_curve(family: Family, *, axis: Axis, scope: Scope) -> list[tuple[float, Interval]]:
    """(cost, quality) over the costs that every seed covers, seeds without a finished run left out; [] for none."""
    curves = [curve for seed in family.seeds if (curve := family.curve(seed, axis=axis, scope=scope)).points]
    low = max((curve.points[0][0] for curve in curves), default=0.0)
    high = min((curve.points[-1][0] for curve in curves), default=0.0)
    if not low < high:
        return []
    return [(cost, mean_interval([curve.quality_at(cost) for curve in curves])) for cost in _between(low, high)]


def tradeoff(speedup: Speedup, families: Sequence[Family]) -> dict[str, Any] | None:
    """Quality against cost on a logarithm: a mean curve with its band and every run, for each family.

    None when no run finished.
    """
    metric, drawn = speedup.baseline.metric, marks_of(speedup, families)
    axis, scope = speedup.axis, speedup.scope
    curves = {f.label: mean_curve(f, axis=axis, scope=scope) for f in families}
    figure = go.Figure()
    for family in families:
        if not is_control(family):
            band = [(cost, quality.scaled(metric.factor)) for cost, quality in curves[family.label]]
            add_band(figure, band, name=html.escape(family.label), colour=drawn[family.label].colour)
    costs: list[float] = []
    for family in families:
        points = {seed: family.curve(seed, axis=axis, scope=scope).points for seed in family.seeds}
        costs += [cost for found in points.values() for cost, _ in found]
        _add_mean(figure, family, curves[family.label], metric=metric, drawn=drawn[family.label])
        _add_runs(figure, family, points, metric=metric, drawn=drawn[family.label])
    if not costs:
        return None
    ends = [short(min(costs) / 1.1), short(max(costs) * 1.1)]
    for level in speedup.at:
        _add_line(figure, ends, level.quality * metric.factor, name="qualities compared", line=TARGET)
    figure.update_xaxes(title=axis_label(axis), **log_axis(*ends))
    direction = "" if metric.higher_is_better else f", {metric.direction}"
    frame = frame_of(families)
    near = {} if frame is None else {"range": [short(end * metric.factor) for end in frame]}
    figure.update_yaxes(title=f"{html.escape(metric.axis)}{direction}", **bounds(metric), **near)
    return finished(figure, height=HEIGHT + 60)


def frame_of(families: Sequence[Family]) -> tuple[float, float] | None:
    """The qualities to draw where a control lies so far off that the others would look flat; None: all of them."""
    found = [run.quality for family in families if not is_control(family) for run in family.runs]
    controls = [run.quality for family in families if is_control(family) for run in family.runs]
    compared = [quality for quality in found if quality is not None]
    if len(set(compared)) < 2:
        return None
    margin = 0.5 * (max(compared) - min(compared))
    low, high = min(compared) - margin, max(compared) + margin
    return (low, high) if any(quality is not None and not low <= quality <= high for quality in controls) else None


def ratio_curve(speedup: Speedup) -> dict[str, Any] | None:
    """Baseline cost over candidate cost against the quality that both reach; None without a common range."""
    metric, name = speedup.baseline.metric, ratio_label(speedup.axis)
    grid = [(level.quality * metric.factor, level.ratio) for level in speedup.grid]
    levels = [(level.quality * metric.factor, level.ratio) for level in speedup.at if level.ratio is not None]
    if not any(interval for _, interval in [*grid, *levels]):
        return None
    drawn = marks(0)
    figure = go.Figure()
    add_band(figure, grid, name=name, colour=drawn.colour)
    qualities = [quality for quality, _ in [*grid, *levels]]
    _add_line(figure, [short(min(qualities)), short(max(qualities))], 1.0, name="1: equal cost", line=_EQUAL)
    figure.add_scatter(
        x=[short(quality) for quality, _ in grid],
        y=[None if interval is None else short(interval.mean) for _, interval in grid],
        mode="lines",
        name=name,
        legendgroup=name,
        line={"color": drawn.colour, "width": 2},
        hoverinfo="skip",
    )
    known = [interval for _, interval in levels if interval is not None]
    figure.add_scatter(
        x=[short(quality) for quality, _ in levels],
        y=[short(interval.mean) for interval in known],
        error_y=bars(known, drawn),
        mode="markers",
        name=name,
        legendgroup=name,
        showlegend=False,
        marker={"color": drawn.colour, "symbol": drawn.symbol, "size": 10},
        customdata=[[metric.value(q / metric.factor), ratio(i)] for (q, _), i in zip(levels, known, strict=True)],
        hovertemplate=f"at {html.escape(metric.name)} %{{customdata[0]}}<br>{name} %{{customdata[1]}}<extra></extra>",
    )
    harder_right = True if metric.higher_is_better else "reversed"
    figure.update_xaxes(title=f"{html.escape(metric.axis)} that both reach", autorange=harder_right)
    figure.update_yaxes(title=name, type="log")
    return finished(figure, height=HEIGHT)


def gain_curve(speedup: Speedup) -> dict[str, Any] | None:
    """Candidate quality minus baseline quality at equal cost; None where the costs do not overlap."""
    metric, (axis, scope) = speedup.baseline.metric, (speedup.axis, speedup.scope)
    gains = [(gain.cost, gain.difference.scaled(metric.factor)) for gain in speedup.gains if gain.difference]
    if not gains:
        return None
    low, high = gains[0][0], gains[-1][0]
    pairs = [
        (speedup.candidate.curve(seed, axis=axis, scope=scope), speedup.baseline.curve(seed, axis=axis, scope=scope))
        for seed in speedup.seeds
    ]
    line = []
    for cost in _between(low, high):
        found = mean_interval([quality_gain(ours, theirs, cost=cost) for ours, theirs in pairs])
        line.append((cost, found.scaled(metric.factor)))
    drawn, name = marks(0), html.escape(f"{metric.name}, candidate minus baseline")
    figure = go.Figure()
    add_band(figure, line, name=name, colour=drawn.colour)
    _add_line(figure, [short(low / 1.05), short(high * 1.05)], 0.0, name="0: equal quality", line=_EQUAL)
    figure.add_scatter(
        x=[short(cost) for cost, _ in line],
        y=[short(gain.mean) for _, gain in line],
        mode="lines",
        name=name,
        legendgroup=name,
        line={"color": drawn.colour, "width": 2},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[short(cost) for cost, _ in gains],
        y=[short(gain.mean) for _, gain in gains],
        error_y=bars([gain for _, gain in gains], drawn),
        mode="markers",
        name=name,
        legendgroup=name,
        showlegend=False,
        marker={"color": drawn.colour, "symbol": drawn.symbol, "size": 10},
        customdata=[metric.signed(gain.difference) for gain in speedup.gains if gain.difference],
        hovertemplate=f"{name}: %{{customdata}}<br>at %{{x}}<extra></extra>",
    )
    unit = " (points)" if metric.is_fraction else ""
    figure.update_xaxes(title=axis_label(axis), **log_axis(low, high))
    figure.update_yaxes(title=f"{name}{unit}")
    return finished(figure, height=HEIGHT)


def _between(low: float, high: float) -> list[float]:
    """Costs evenly apart on a logarithm, both ends exact; one where the ends are equal."""
    if not low < high:
        return [low]
    return [low, *(low * (high / low) ** (i / (LEVELS - 1)) for i in range(1, LEVELS - 1)), high]


_EQUAL = {"color": MUTED, "width": 1.5, "dash": "dash"}


def _add_mean(
    figure: go.Figure, family: Family, curve: Iterable[tuple[float, Interval]], *, metric: Metric, drawn: Marks
) -> None:
    shown = list(curve)
    if not shown:
        return
    name = html.escape(family.label)
    figure.add_scatter(
        x=[short(cost) for cost, _ in shown],
        y=[short(quality.mean * metric.factor) for _, quality in shown],
        mode="lines",
        name=name,
        legendgroup=name,
        line={"color": drawn.colour, "width": 1 if is_control(family) else 2.5, "dash": drawn.dash},
        hoverinfo="skip",
    )


def _add_runs(
    figure: go.Figure,
    family: Family,
    points: Mapping[int, Sequence[tuple[float, float]]],
    *,
    metric: Metric,
    drawn: Marks,
) -> None:
    runs = [(seed, cost, quality) for seed, found in points.items() for cost, quality in found]
    if not runs:
        return
    name = html.escape(family.label)
    figure.add_scatter(
        x=[short(cost) for _, cost, _ in runs],
        y=[short(quality * metric.factor) for _, _, quality in runs],
        mode="markers",
        name=name,
        legendgroup=name,
        showlegend=not any(trace.legendgroup == name and trace.mode == "lines" for trace in figure.data),
        marker={
            "color": drawn.colour,
            "symbol": drawn.symbol,
            "size": 11 if drawn is DENSE_MARKS else 6 if is_control(family) else 8,
            "opacity": 0.7,
        },
        customdata=[[seed, metric.value(quality)] for seed, _, quality in runs],
        hovertemplate=f"{name}, seed %{{customdata[0]}}<br>%{{customdata[1]}} at %{{x}}<extra></extra>",
    )


def _add_line(figure: go.Figure, ends: Sequence[float], height: float, *, name: str, line: Mapping[str, Any]) -> None:
    """A horizontal line; lines of one name share a button."""
    figure.add_scatter(
        x=list(ends),
        y=[short(height)] * 2,
        mode="lines",
        name=name,
        legendgroup=name,
        showlegend=not any(trace.name == name for trace in figure.data),
        line=dict(line),
        hoverinfo="skip",
    )
