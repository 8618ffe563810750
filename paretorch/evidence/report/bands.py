"""Bands: an interval along a line, drawn as a pale area of the line's colour behind it."""

from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from paretorch.evidence.report.style import short
from paretorch.evidence.statistics import Interval

OPACITY = 0.2  # light enough for two bands to be told apart where they overlap


def add_band(figure: go.Figure, points: Iterable[tuple[float, Interval | None]], *, name: str, colour: str) -> None:
    """Draw the intervals of a line; where one is missing or has no ends, the band has a gap.

    Args:
        figure: what is drawn into; draw bands before their lines, so that lines stay on top.
        points: position on the x axis and the interval there, from left to right.
        name: of the series, escaped; the band follows its button.
        colour: of the light scheme.
    """
    x: list[float | None] = []
    y: list[float | None] = []
    for piece in _pieces(points):
        if x:
            x.append(None)
            y.append(None)
        x += [short(at) for at, _, _ in piece] + [short(at) for at, _, _ in reversed(piece)]
        y += [short(high) for _, _, high in piece] + [short(low) for _, low, _ in reversed(piece)]
    if x:
        figure.add_scatter(
            x=x,
            y=y,
            mode="none",
            fill="toself",
            fillcolor=colour,
            opacity=OPACITY,
            name=name,
            legendgroup=name,
            showlegend=False,
            hoverinfo="skip",
        )


def _pieces(points: Iterable[tuple[float, Interval | None]]) -> Sequence[list[tuple[float, float, float]]]:
    """Stretches of at least two neighbours whose ends are known, as (x, low, high)."""
    pieces: list[list[tuple[float, float, float]]] = [[]]
    for at, interval in points:
        if interval is None or interval.low is None or interval.high is None:
            pieces.append([])
        else:
            pieces[-1].append((at, interval.low, interval.high))
    return [piece for piece in pieces if len(piece) > 1]
