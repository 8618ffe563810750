"""The key of a figure: one entry per named series, with a sample of its mark and line drawn as SVG.

The page shows entries as buttons that show and hide their series: unlike plotly's own legend they wrap, can be reached
by keyboard, and say their state to a screen reader.
"""

import html
import math
from dataclasses import dataclass, field
from typing import Any

_STROKES = {
    "solid": "",
    "dash": "7 4",
    "dot": "2 3",
    "dashdot": "7 3 2 3",
    "longdash": "10 4",
    "longdashdot": "10 3 2 3",
}


@dataclass(kw_only=True)
class Entry:
    """One button.

    Args:
        name: as plain text.
        colour: of the light scheme; the page exchanges it in the dark one.
        path: SVG path of the symbol in a box of 32 x 14; "" for none.
        strokes: SVG dash pattern of the line, "" for an unbroken one; None when no line is drawn.
        shown: whether the series is visible at first.
        traces: positions of the traces it switches.
    """

    name: str
    colour: str
    path: str
    strokes: str | None
    shown: bool
    traces: list[int] = field(default_factory=list)


def entries(figure: dict[str, Any]) -> list[Entry]:
    """The key of a figure: traces of one `legendgroup` share an entry; those that no legend would list get none.

    Where one trace of a group draws the line and another the symbols, the entry shows both.
    """
    found: dict[str, Entry] = {}
    for position, trace in enumerate(figure["data"]):
        group = trace.get("legendgroup", trace.get("name", ""))
        if group not in found and trace.get("showlegend", True) and trace.get("name"):
            found[group] = _entry(trace)
        elif group in found and not found[group].path:
            found[group].path = _entry(trace).path
        if group in found:
            found[group].traces.append(position)
    return list(found.values())


def _entry(trace: dict[str, Any]) -> Entry:
    marker, line = trace.get("marker", {}), trace.get("line", {})
    symbol = marker.get("symbol", "circle")
    first = symbol[0] if isinstance(symbol, list) else symbol
    mode = trace.get("mode", "")
    return Entry(
        name=html.unescape(trace["name"]),
        colour=line.get("color") or marker.get("color"),
        path=_symbol_path(first.removesuffix("-open")) if "markers" in mode else "",
        strokes=_STROKES[line.get("dash", "solid")] if "lines" in mode else None,
        shown=trace.get("visible", True) is True,
    )


def _symbol_path(symbol: str) -> str:
    """The outline of a plotly symbol around (16, 7)."""
    if symbol == "circle":
        return "M11.5 7a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z"
    return "M" + "L".join(f"{16 + 5 * x:.4g} {7 + 5 * y:.4g}" for x, y in _OUTLINES[symbol]) + "z"


def _regular(corners: int, *, start: float, inner: float | None = None) -> list[tuple[float, float]]:
    """Corners of a regular polygon, or of a star when `inner` gives the radius of the corners between."""
    radii = [1.1] if inner is None else [1.3, inner]
    angles = [start + i * 2 * math.pi / (corners * len(radii)) for i in range(corners * len(radii))]
    return [(radii[i % len(radii)] * math.cos(a), radii[i % len(radii)] * math.sin(a)) for i, a in enumerate(angles)]


_PLUS = [
    *[(-0.35, -1.0), (0.35, -1.0), (0.35, -0.35), (1.0, -0.35), (1.0, 0.35), (0.35, 0.35)],
    *[(0.35, 1.0), (-0.35, 1.0), (-0.35, 0.35), (-1.0, 0.35), (-1.0, -0.35), (-0.35, -0.35)],
]
_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "diamond": [(0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)],
    "triangle-up": _regular(3, start=-math.pi / 2),
    "triangle-down": _regular(3, start=math.pi / 2),
    "triangle-left": _regular(3, start=math.pi),
    "triangle-right": _regular(3, start=0.0),
    "cross": _PLUS,
    "x": [((x - y) / math.sqrt(2), (x + y) / math.sqrt(2)) for x, y in _PLUS],
    "pentagon": _regular(5, start=-math.pi / 2),
    "hourglass": [(-0.9, -1), (0.9, -1), (-0.9, 1), (0.9, 1)],
    "bowtie": [(-1, -0.9), (1, 0.9), (1, -0.9), (-1, 0.9)],
    "hexagon": _regular(6, start=-math.pi / 2),
    "octagon": _regular(8, start=math.pi / 8),
    "hexagram": _regular(6, start=-math.pi / 2, inner=0.75),
    "star-diamond": _regular(4, start=-math.pi / 2, inner=0.65),
    "star": _regular(5, start=-math.pi / 2, inner=0.5),
}
