"""Colours, symbols and dashes of the page and its figures: one series keeps its marks in every figure.

The series' colours follow Okabe and Ito's colour-blind safe set ("Color universal design", 2008), darkened for a light
page and lightened for a dark one. Symbol and dash repeat the distinction for readers who see no colours. Figures are
in the light colours; the page exchanges them by `DARK` when the reader prefers a dark scheme.
"""

from dataclasses import dataclass

CARD, TEXT, GRID, MUTED, DENSE = "#ffffff", "#1b2229", "#dde2e7", "#57626c", "#2f3a45"
_LIGHT = ("#0072b2", "#c44e00", "#00795a", "#a8417d", "#946800", "#3b83b0", "#6a4c93", "#8a5a44")
_DARK = ("#56b4e9", "#ff8f52", "#2cc69b", "#e79ac4", "#e6b422", "#a3d4f7", "#b79ce8", "#d3a68e")
SYMBOLS = (
    *("circle", "square", "diamond", "triangle-up", "triangle-down", "cross"),
    *("x", "pentagon", "hourglass", "bowtie", "triangle-left", "triangle-right"),
)
CUT_SYMBOLS = ("hexagon", "octagon", "hexagram", "star-diamond")  # of models with smaller tensors, and of no others
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")

DARK = dict(zip(_LIGHT, _DARK, strict=True)) | {
    CARD: "#1a2128",
    TEXT: "#e6eaee",
    GRID: "#333c45",
    MUTED: "#a3adb6",
    DENSE: "#dfe5ea",
}

# The page's custom properties, by scheme; the figures' colours are among them.
PAGE_LIGHT = {
    "page": "#f6f8fa",
    "card": CARD,
    "text": TEXT,
    "muted": MUTED,
    "line": GRID,
    "accent": _LIGHT[0],
    "warn": "#fff4dc",
    "warn-text": "#5c3d00",
}
PAGE_DARK = {
    "page": "#12171c",
    "card": DARK[CARD],
    "text": DARK[TEXT],
    "muted": DARK[MUTED],
    "line": DARK[GRID],
    "accent": _DARK[0],
    "warn": "#3a2d12",
    "warn-text": "#f3dca6",
}


@dataclass(frozen=True)
class Marks:
    """How one series is drawn; without colours, (symbol, dash) tells series apart."""

    colour: str
    symbol: str
    dash: str


DENSE_MARKS = Marks(DENSE, "star", "solid")
DISTINCT = len(SYMBOLS) * len(DASHES)  # series before (symbol, dash) repeats


def short(value: float) -> float:
    """Six digits, and whole numbers as such: pages stay small and a screen shows no more."""
    rounded = float(f"{value:.6g}")
    return int(rounded) if rounded.is_integer() else rounded


def marks(index: int) -> Marks:
    """Marks of series number `index` (from 0): `DISTINCT` pairs of symbol and dash before the first repeats."""
    turn, place = divmod(index, len(SYMBOLS))
    return Marks(_LIGHT[index % len(_LIGHT)], SYMBOLS[place], DASHES[turn % len(DASHES)])


def cut_marks(index: int, *, after: int) -> Marks:
    """Marks of series number `index` among those of cut models, which stand `after` other series."""
    turn, place = divmod(index, len(CUT_SYMBOLS))
    return Marks(_LIGHT[(after + index) % len(_LIGHT)], CUT_SYMBOLS[place], DASHES[turn % len(DASHES)])
