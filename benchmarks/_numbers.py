"""How a figure of a result file is written in words: `shown(figure, "interval")`.

Digits follow the spread: the half width of the interval keeps two significant digits, and the centre as many decimals
as that; without an interval the number keeps four. Integers are grouped by thousands.
"""

import math
from collections.abc import Mapping
from typing import Any

from paretorch.errors import InputError
from paretorch.evidence.statistics import LOW_N

VIEWS = ("value", "interval", "full", "spread", "n")
POINTS = ("percentage points", "points")
# word of the format: units it may stand for, factor, what is written behind the number
CONVERSIONS: dict[str, tuple[dict[str, float], str]] = {
    "percent": ({"fraction": 100.0, "accuracy": 100.0, "%": 1.0, "percent": 1.0, **dict.fromkeys(POINTS, 1.0)}, " %"),
    "ms": ({"s": 1e3}, " ms"),
    "us": ({"s": 1e6}, " µs"),
    "minutes": ({"s": 1 / 60}, " minutes"),
    "kB": ({"bytes": 1e-3}, " kB"),
    "MB": ({"bytes": 1e-6}, " MB"),
    "GB": ({"bytes": 1e-9}, " GB"),
}
SUFFIXES = {"x": "x", "fraction": " %", "percentage points": " points", "%": " %", "percent": " %"}


def shown(figure: Any, words: str = "") -> str:
    """The text of a figure.

    Args:
        figure: a plain value, a list of them, or a number with its spread, as result files hold them.
        words: none or several of: `value` (default), `interval` ("17.6 to 19.7x"), `full` ("19.4x (17.6 to 19.7x)"),
            `spread` ("89.22 ± 0.13", half the interval behind the sign), `n`; one of `percent`, `ms`, `us`,
            `minutes`, `kB`, `MB`, `GB`, or `bare` for no unit; `signed` for a "+"; `.2` for two decimals.

    Raises:
        InputError: an unknown word, or one that this figure cannot be written with.
    """
    view, unit_word, signed, decimals = _parse(words)
    if not isinstance(figure, Mapping):
        if view != "value":
            raise InputError(f"format {view!r} needs a figure with a spread, and this one is a plain value: {figure!r}")
        if isinstance(figure, list | tuple):
            return ", ".join(shown(item, words) for item in figure)
        if isinstance(figure, str):
            return figure
        figure = {"median": figure, "unit": "" if unit_word in (None, "bare") else _only_unit(unit_word)}
    centre = figure["median"] if "median" in figure else figure["mean"]
    if view == "n":
        return str(figure["n"])
    unit = figure.get("unit", "")
    factor, suffix = _unit(unit, unit_word)
    low, high = (None if figure.get(end) is None else factor * figure[end] for end in ("low", "high"))
    places = digits(factor * centre, low, high) if decimals is None else decimals
    value = number(factor * centre, places, signed=signed)
    if view == "value":
        return value + suffix
    if low is None or high is None:
        raise InputError(f"format {view!r} needs an interval, and this figure has none (n = {figure.get('n')})")
    if view == "spread":
        return f"{value} ± {number((high - low) / 2, places)}{suffix}"
    interval = f"{number(low, places, signed=signed)} to {number(high, places, signed=signed)}{suffix}"
    return interval if view == "interval" else f"{value}{suffix} ({interval})"


def low_n(figure: Mapping[str, Any]) -> bool:
    """Whether it rests on too few seeds or rounds to trust more than its direction; an exact count does not."""
    exact = figure["n"] == 1 and "median" in figure and "quiet" not in figure
    return figure["n"] < LOW_N and not exact


def digits(value: float, low: float | None, high: float | None) -> int:
    """Decimals to write: two significant digits of the half width, or four of the value without zeros at its end."""
    half = (high - low) / 2 if low is not None and high is not None else 0.0
    if half > 0:
        return min(9, max(0, 1 - math.floor(math.log10(half))))
    if value == 0:
        return 0
    most = min(9, max(0, 3 - math.floor(math.log10(abs(value)))))
    return next(places for places in range(most + 1) if round(value, places) == round(value, most))


def number(value: float, decimals: int, *, signed: bool = False) -> str:
    """1234567.8 as "1,234,568"; never "-0.00"."""
    value = round(value, decimals) + 0.0
    return f"{value:{'+' if signed else ''},.{decimals}f}"


def _parse(words: str) -> tuple[str, str | None, bool, int | None]:
    view, unit, signed, decimals = "value", None, False, None
    for word in words.split():
        if word in VIEWS:
            view = word
        elif word in CONVERSIONS or word == "bare":
            unit = word
        elif word == "signed":
            signed = True
        elif word[0] == "." and word[1:].isdigit():
            decimals = int(word[1:])
        else:
            known = ", ".join([*VIEWS, *CONVERSIONS, "bare", "signed", ".2"])
            raise InputError(f"unknown format word {word!r}; there are: {known}")
    return view, unit, signed, decimals


def _unit(unit: str, word: str | None) -> tuple[float, str]:
    """Factor and suffix of a unit as the format asks for it."""
    if word == "bare":
        return 1.0, ""
    if word is None:
        return (100.0 if unit == "fraction" else 1.0), SUFFIXES.get(unit, f" {unit}" if unit else "")
    factors, suffix = CONVERSIONS[word]
    if unit not in factors:
        raise InputError(f"format {word!r} is for {', '.join(factors)}; this figure is in {unit!r}")
    return factors[unit], suffix


def _only_unit(word: str) -> str:
    """The unit that a plain number has when the format names one: the base unit, or a fraction."""
    return next(iter(CONVERSIONS[word][0]))
