"""The curves of a sensitivity page: quality against the sparsity of one layer, a line per layer.

The axis is logarithmic in the weights that are left, 1 / (1 - sparsity), so that 90, 95 and 98 % stand apart.
"""

import html
import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from paretorch.evidence.report.layout import bounds, finished
from paretorch.evidence.report.style import DENSE, DISTINCT, marks, short
from paretorch.evidence.sensitivity import PrunedLayer, SensitivityRecord
from paretorch.evidence.words import Metric, grouped, percent

SHOWN = 8  # layers that are visible at first
DRAWN = DISTINCT  # beyond it, marks would repeat
APART = 0.09  # of the axis, between two labels


def sensitivity_figure(found: SensitivityRecord, metric: Metric) -> dict[str, Any]:
    """A line per layer from the dense value at 0 %, the most sensitive first, and the dense value as a dotted line."""
    levels = [0.0, *(level for level in found.sparsities if level > 0)]
    figure = go.Figure()
    for index, layer in enumerate(found.ordered()[:DRAWN]):
        drawn, name = marks(index), html.escape(layer.name)
        values = _from_dense(found, layer)
        figure.add_scatter(
            x=[_left(level) for level in levels],
            y=[short(value * metric.factor) for value in values],
            mode="lines+markers",
            name=name,
            line={"color": drawn.colour, "width": 1.5, "dash": drawn.dash},
            marker={"color": drawn.colour, "symbol": drawn.symbol, "size": 8},
            visible=True if index < SHOWN else "legendonly",
            text=[_text(layer, level, found) for level in levels],
            hovertemplate=f"{name}<br>%{{text}}: %{{y}}<extra></extra>",
        )
    dense = short(found.dense * metric.factor)
    figure.add_scatter(
        x=[_left(levels[0]), _left(levels[-1])],
        y=[dense, dense],
        mode="lines",
        name=html.escape(f"dense model, {metric.value(found.dense)}"),
        line={"color": DENSE, "width": 1.5, "dash": "dot"},
        hoverinfo="name",
    )
    shown = labelled(levels)
    figure.update_xaxes(
        type="log",
        title="removed from the layer (%)",
        tickvals=[_left(level) for level in shown],
        ticktext=[f"{100 * level:.4g}" for level in shown],
        tickangle=0,
    )
    direction = "" if metric.higher_is_better else f", {metric.direction}"
    figure.update_yaxes(title=f"{html.escape(metric.axis)}{direction}", **bounds(metric))
    return finished(figure, height=420)


def labelled(levels: Sequence[float]) -> list[float]:
    """The sparsities whose labels have room beside each other, from the largest down."""
    span = math.log(1 / (1 - max(levels)))
    kept: list[float] = []
    for level in sorted(levels, reverse=True):
        if not kept or math.log((1 - level) / (1 - kept[-1])) >= APART * span:
            kept.append(level)
    return kept[::-1]


def _left(level: float) -> float:
    return short(1 / (1 - level))


def _from_dense(found: SensitivityRecord, layer: PrunedLayer) -> list[float]:
    measured = zip(found.sparsities, layer.quality, strict=True)
    return [found.dense, *(value for level, value in measured if level > 0)]


def _text(layer: PrunedLayer, level: float, found: SensitivityRecord) -> str:
    """'90 %, 900 of 1 000 weights removed'."""
    count = layer.pruned[found.sparsities.index(level)] if level in found.sparsities else 0
    return f"{percent(level)}, {grouped(count)} of {grouped(layer.weights)} weights removed"
