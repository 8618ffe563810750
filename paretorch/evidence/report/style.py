"""Colours, symbols and dashes of the figures: one series keeps its three marks in every figure.

The colours follow Okabe and Ito's colour-blind safe set ("Color universal design", 2008), darkened for a white and
lightened for a dark page. Symbol and dash repeat the distinction for readers who see no colours. Figures are written in
the light colours; the page exchanges them by `DARK` when the reader prefers a dark scheme.
"""

from dataclasses import dataclass

TEXT, GRID, MUTED = "#1b2229", "#dde2e7", "#6b7681"
DENSE = "#2f3a45"
_LIGHT = ("#0072b2", "#c44e00", "#00795a", "#a8417d", "#946800", "#3b83b0", "#6a4c93", "#8a5a44")
_DARK = ("#56b4e9", "#ff8f52", "#2cc69b", "#e79ac4", "#e6b422", "#a3d4f7", "#b79ce8", "#d3a68e")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "hexagon", "cross")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")

DARK = dict(zip(_LIGHT, _DARK, strict=True)) | {TEXT: "#e6eaee", GRID: "#333c45", MUTED: "#98a3ad", DENSE: "#dfe5ea"}


@dataclass(frozen=True)
class Marks:
    """How one series is drawn."""

    colour: str
    symbol: str


DENSE_MARKS = Marks(DENSE, "star")


def short(value: float) -> float:
    """Six digits, and whole numbers as such: pages stay small and a screen shows no more."""
    rounded = float(f"{value:.6g}")
    return int(rounded) if rounded.is_integer() else rounded


def marks(index: int) -> Marks:
    """Marks of series number `index` (from 0): 64 combinations before the first repeats."""
    turn, place = divmod(index, len(_LIGHT))
    return Marks(_LIGHT[place], _SYMBOLS[(place + turn) % len(_SYMBOLS)])
