"""What all figures of a report share: colours, axes, margins, and ranges that make figures comparable by eye.

Figures leave here as JSON-ready dicts without plotly's default template, in light colours (see `style`). The legend is
not plotly's but a row of buttons below the figure (see `legend`), which wraps on narrow screens and works by keyboard.
"""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import plotly.graph_objects as go

from paretorch.evidence.report.style import CARD, GRID, MUTED, TEXT, short
from paretorch.evidence.words import Metric

MAX_DECADE = 21
SINGLE, NARROW, WIDE, CROWDED = 1.25, 4.0, 12.0, 300.0  # ratios of the ends where ticks become too few or would touch
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"


def bounds(metric: Metric) -> dict[str, float]:
    """A percentage cannot leave 0 to 100, though its t-interval can; a little room keeps the marks whole."""
    return {"minallowed": -2, "maxallowed": 102} if metric.is_fraction else {}


def log_axis(low: float, high: float) -> dict[str, Any]:
    """Settings of a logarithmic axis for values from `low` to `high`, with as many round ticks as have room."""
    if high / low < SINGLE:  # else the axis would span two decades around one point
        return {"type": "log", "range": [short(math.log10(low) - 0.1), short(math.log10(high) + 0.1)]}
    if high / low < NARROW:
        return {"type": "log"}
    digits = (1, 2, 3, 5, 7) if high / low < WIDE else (1, 2, 5) if high / low < CROWDED else (1,)
    values = [digit * 10.0**decade for decade in range(math.floor(math.log10(low)), 1 + MAX_DECADE) for digit in digits]
    return {"type": "log", "tickvals": values, "ticktext": [_tick(value) for value in values], "tickangle": 0}


def _tick(value: float) -> str:
    """'0.5', '500', '2k', '50M', '1G', '10T': short enough for a narrow screen."""
    group = min(max(0, math.floor(math.log10(value) + 1e-9) // 3), 7)
    return f"{value / 1000**group:.6g}{('', 'k', 'M', 'G', 'T', 'P', 'E', 'Z')[group]}"


def finished(figure: go.Figure, *, height: int) -> dict[str, Any]:
    """The figure in the common look, `height` pixels high, as plain values."""
    figure.update_layout(
        template=go.layout.Template(),
        height=height,
        margin={"l": 62, "r": 14, "t": 30, "b": 52},
        paper_bgcolor=CARD,
        plot_bgcolor=CARD,
        font={"family": FONT, "size": 13, "color": TEXT},
        showlegend=False,
        modebar={"bgcolor": CARD, "color": MUTED, "activecolor": TEXT},
        hoverlabel={"bgcolor": CARD, "bordercolor": MUTED, "font": {"color": TEXT}},
        hovermode="closest",
    )
    figure.update_xaxes(gridcolor=GRID, linecolor=MUTED, zeroline=False, ticks="outside", tickcolor=GRID)
    figure.update_yaxes(gridcolor=GRID, linecolor=MUTED, zeroline=False, automargin=True)
    content: dict[str, Any] = json.loads(figure.to_json())
    return content


def align(figures: Sequence[dict[str, Any]]) -> None:
    """Give figures of the same axes the same ranges, in place: all points, and all error bars in y, fit into each."""
    for axis, error in (("xaxis", "error_x"), ("yaxis", "error_y")):
        logarithmic = figures[0]["layout"][axis].get("type") == "log"
        values = [end for figure in figures for end in _ends(figure, axis[0], error)]
        if logarithmic:
            values = [math.log10(value) for value in values if value > 0]
        if not values:
            continue
        low, high = min(values), max(values)
        room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        start = 0.0 if figures[0]["layout"][axis].get("rangemode") == "tozero" and low >= 0 else low - room
        limits = figures[0]["layout"][axis]
        start, stop = max(start, limits.get("minallowed", start)), min(high + room, limits.get("maxallowed", math.inf))
        for figure in figures:
            figure["layout"][axis]["range"] = [short(start), short(stop)]


def _ends(figure: dict[str, Any], coordinate: str, error: str) -> Iterator[float]:
    """Every coordinate of every trace, and the ends of its error bars."""
    for trace in figure["data"]:
        values = trace.get(coordinate, [])
        bars = trace.get(error) or {}
        above, below = (bars.get(name, [0] * len(values)) for name in ("array", "arrayminus"))
        for value, up, down in zip(values, above, below, strict=True):
            if value is not None:
                yield from (value - down, value, value + up)
