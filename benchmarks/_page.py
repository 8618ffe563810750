"""docs/results.md from the result files: a summary of headlines, then one section per file, by tier.

The last line carries the SHA-256 of what stands above it, so that a page edited by hand is told from one that is merely
older than the result files.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from _numbers import low_n, shown
from _result import TIERS, Result, is_figure

HEAD = """# Results

Generated from `benchmarks/results/` by `make results`; never edited by hand. Each section names the command that
repeats it. Intervals are 95 % unless a coverage is given; what they are over is in the notes. A tier says what a
command needs:
"""
LOW_N = "† low-n: fewer than five seeds or rounds; read the direction and little more."
NOT_QUIET = "machine not quiet"
SEAL = re.compile(r"<!-- sha256 of the text above: ([0-9a-f]{64}) -->\n\Z")


def page(results: Mapping[str, Result]) -> str:
    """The whole page."""
    lines = [HEAD, *(f"- {tier}: {meaning}" for tier, meaning in TIERS.items()), "", *_summary(results.values())]
    for tier, meaning in TIERS.items():
        sections = [_section(result) for result in results.values() if result.tier == tier]
        if sections:
            lines += [
                f"## Tier: {tier}",
                "",
                f"Needs {meaning}.",
                "",
                *(line for section in sections for line in section),
            ]
    text = "\n".join(lines) + "\n"
    return f"{text}<!-- sha256 of the text above: {_digest(text)} -->\n"


def edited_by_hand(text: str) -> bool:
    """Whether the page is not what the generator once wrote."""
    seal = SEAL.search(text)
    return seal is None or seal[1] != _digest(text[: seal.start()])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _summary(results: Iterable[Result]) -> list[str]:
    """One row per headline."""
    rows = []
    for result in results:
        for headline in result.headlines:
            figure, words = result.figure(headline["figure"]), headline.get("format", "")
            value, interval, n = _columns(figure, words)
            link = f"[{_title(result)}](#{_anchor(result)})"
            rows.append([headline["claim"], value, interval, n, result.tier, result.device, link])
    if not rows:
        return []
    return [
        "## Summary",
        "",
        *_table(["claim", "value", "interval", "n", "tier", "device", "section"], rows, "lrrrlll"),
    ]


def _section(result: Result) -> list[str]:
    """One result file: facts, notes, its tables, and a table of the figures that are in none of them."""
    lines = [f"### {_title(result)}", "", f"`{result.command}`", ""]
    lines += [f"Tier {result.tier}. Seeds: {', '.join(map(str, result.seeds)) or 'none (counts)'}."]
    lines += [f"Measured {result.date} with {_described(result.environment)}.", ""]
    lines += [*(f"- {note}" for note in result.notes), ""] if result.notes else []
    placed = set()
    for table in result.tables:
        cells = [cell for row in table["rows"] for cell in row if isinstance(cell, dict)]
        placed |= {cell["figure"] for cell in cells}
        rows = [[_cell(result, cell) for cell in row] + [result.tier] for row in table["rows"]]
        aligned = "".join(
            "r" if any(isinstance(row[i], dict) for row in table["rows"]) else "l" for i in range(len(rows[0]) - 1)
        )
        counts = {figure["n"] for cell in cells if is_figure(figure := result.figure(cell["figure"]))}
        each = f" (n = {counts.pop()} each)" if len(counts) == 1 else ""
        lines += [f"**{table['title']}**{each}", "", *_table([*table["columns"], "tier"], rows, aligned + "l")]
    rows = [[name, *_columns(figure), result.tier] for name, figure in _flat(result.figures) if name not in placed]
    if rows:
        lines += ["**Other figures**", ""] if placed else []
        lines += _table(["figure", "value", "interval", "n", "tier"], rows, "lrrrl")
    return lines


def _columns(figure: Any, words: str = "") -> tuple[str, str, str]:
    """Value, interval with its coverage where that is not 95 %, and number of seeds or rounds."""
    words = words or _readable_unit(figure)
    if not is_figure(figure):
        return shown(figure, words), "", ""
    value = shown(figure, words) + (f" ({NOT_QUIET})" if figure.get("quiet") is False else "")
    exact = figure["n"] == 1 and figure["low"] == figure["high"]
    interval = "" if figure["low"] is None or exact else shown(figure, f"{words} interval")
    coverage = figure.get("coverage")
    if interval and coverage is not None and abs(coverage - 0.95) > 0.005:
        interval += f" ({100 * coverage:.1f} %)"
    return value, interval, str(figure["n"]) + (" †" if low_n(figure) else "")


def _cell(result: Result, cell: Any) -> str:
    """A label, or a figure with its spread."""
    if not isinstance(cell, dict):
        return "" if cell is None else str(cell)
    figure = result.figure(cell["figure"])
    words = cell.get("format") or _readable_unit(figure)
    if not is_figure(figure):
        return shown(figure, words)
    spread = "" if figure["low"] is None or figure["n"] == 1 else " spread" if _is_even(figure) else " full"
    flags = (" †" if low_n(figure) else "") + (f" ({NOT_QUIET})" if figure.get("quiet") is False else "")
    return shown(figure, words + spread) + flags


def _is_even(figure: Any) -> bool:
    """Whether the interval reaches as far to both sides of a mean, so that one number says it."""
    if "mean" not in figure:
        return False
    low, high = figure["low"], figure["high"]
    return abs((low + high) / 2 - figure["mean"]) <= 1e-6 * (high - low)


def _readable_unit(figure: Any) -> str:
    """Short times in ms or µs."""
    if not is_figure(figure) or figure["unit"] != "s":
        return ""
    centre = abs(figure.get("median", figure.get("mean")))
    return "us" if centre < 1e-4 else "ms" if centre < 0.1 else ""


def _flat(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Figures by their full key."""
    found = []
    for name, value in figures.items():
        key = prefix + name
        group = isinstance(value, Mapping) and not is_figure(value)
        found += _flat(value, f"{key}/") if group else [(key, value)]
    return found


def _table(columns: list[str], rows: list[list[str]], aligned: str) -> list[str]:
    """A Markdown table, and the legend of its low-n mark where it is used. aligned: "l" or "r" per column."""
    rule = "|".join({"l": "---", "r": "---:"}[side] for side in aligned)
    lines = [f"| {' | '.join(columns)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in rows), ""]
    return [*lines, LOW_N, ""] if any("†" in cell for row in rows for cell in row) else lines


def _title(result: Result) -> str:
    return f"{result.name.replace('_', ' ')} ({result.device})"


def _anchor(result: Result) -> str:
    """As GitHub and Sphinx make it from the title."""
    return re.sub(r"[^\w -]", "", _title(result).lower()).replace(" ", "-")


def _described(environment: Mapping[str, Any]) -> str:
    """The parts of the environment that a reader compares first."""
    known = {**environment, "torch": environment["packages"].get("torch")}
    known["GPU"] = ", ".join(str(each) for each in environment.get("accelerators") or []) or None
    parts = ("python", "torch", "cpu", "GPU", "cores", "threads")
    return ", ".join(f"{key} {known[key]}" for key in parts if known.get(key) is not None)
