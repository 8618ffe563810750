"""One benchmark's result file: what must be in it, and how a figure in it is found.

`benchmarks/results/<name>.<device>.json` holds name, device, tier, figures, seeds, command, notes, date, environment,
and, for the results page, headlines and tables. A figure is a plain value; or `{mean or median, low, high, n, unit}`
with, if known, values (one per seed), coverage, quiet and reason; or a group of figures. Reading checks the whole file,
and that means and intervals follow from the values beside them, so that a number changed by hand does not pass.
"""

import json
import math
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paretorch.errors import InputError
from paretorch.evidence.statistics import mean_interval
from paretorch.measurement.interleaved import median_interval

TIERS = {
    "minutes": "minutes, at most about an hour, on two cores: pretrained weights, digits, Fashion-MNIST",
    "nightly": "hours on two cores",
    "gpu": "a GPU",
}
CENTRES = ("mean", "median")
KNOWN = {*CENTRES, "low", "high", "n", "unit", "values", "coverage", "quiet", "reason"}
KEYS: dict[str, type] = {
    "name": str,
    "device": str,
    "tier": str,
    "figures": dict,
    "seeds": list,
    "command": str,
    "notes": list,
    "date": str,
    "environment": dict,
}
LAYOUT = {"headlines": list, "tables": list}


@dataclass(frozen=True, kw_only=True)
class Result:
    """A checked result file; `stem` is `<name>.<device>`. See this module for the meaning of the rest."""

    name: str
    device: str
    tier: str
    figures: dict[str, Any]
    seeds: list[int]
    command: str
    notes: list[str]
    date: str
    environment: dict[str, Any]
    headlines: list[dict[str, str]] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)

    @property
    def stem(self) -> str:
        return f"{self.name}.{self.device}"

    def figure(self, key: str) -> Any:
        """The figure named `key`; `group/name` reaches into a group. KeyError: there is none."""
        return find(self.figures, key)


def is_figure(value: Any) -> bool:
    """Whether it is a number with its spread, not a group or a plain value."""
    return isinstance(value, Mapping) and any(centre in value for centre in CENTRES)


def find(figures: Mapping[str, Any], key: str) -> Any:
    """The figure below a key with `/` between the names of groups. KeyError: there is none, or it is a group."""
    value: Any = figures
    for part in key.split("/"):
        if not isinstance(value, Mapping) or is_figure(value) or part not in value:
            raise KeyError(key)
        value = value[part]
    if isinstance(value, Mapping) and not is_figure(value):
        raise KeyError(key)
    return value


def load(path: Path) -> Result:
    """Read and check one file.

    Raises:
        InputError: it is not JSON, or anything in it is missing, unknown or contradicts the rest; all problems at once.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except ValueError as error:
        raise InputError(f"{path.name} is no result file: not JSON ({error}). Run its benchmark again.") from error
    problems = check(content) if isinstance(content, dict) else ["it must be an object"]
    if not problems and path.name != f"{content['name']}.{content['device']}.json":
        problems = [f"its name and device belong to {content['name']}.{content['device']}.json"]
    if problems:
        raise InputError(f"{path.name} is no result file: {'; '.join(problems)}. Run its benchmark again.")
    return Result(**content)


def load_all(folder: Path) -> dict[str, Result]:
    """Every result file of the folder by stem, in alphabetical order. InputError: see `load`; no folder."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder.name} with result files; run a benchmark first: make bench")
    results = [load(path) for path in sorted(folder.glob("*.json"))]
    return {result.stem: result for result in results}


def check(content: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with the content of a result file, in words; empty when nothing is."""
    problems = [f"{key!r} is missing" for key in KEYS if key not in content]
    problems += [f"{key!r} is unknown" for key in content if key not in KEYS and key not in LAYOUT]
    for key, kind in {**KEYS, **LAYOUT}.items():
        if key in content and not isinstance(content[key], kind):
            problems.append(f"{key!r} must be a {kind.__name__}, got {content[key]!r}")
    if problems:
        return problems
    if content["tier"] not in TIERS:
        problems.append(f"tier must be one of {', '.join(TIERS)}, got {content['tier']!r}")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", content["date"]):
        problems.append(f"date must be YYYY-MM-DD, got {content['date']!r}")
    if not content["command"].strip():
        problems.append("command is empty")
    if not all(isinstance(seed, int) for seed in content["seeds"]):
        problems.append(f"seeds must be integers, got {content['seeds']}")
    if not all(isinstance(note, str) for note in content["notes"]):
        problems.append("notes must be sentences")
    if not isinstance(content["environment"].get("packages"), dict):
        problems.append("environment has no 'packages' with their versions")
    if not content["figures"]:
        problems.append("there are no figures")
    return problems + _figure_problems(content["figures"], "") + _layout_problems(content)


def _figure_problems(value: Any, where: str) -> list[str]:
    if is_figure(value):
        return [f"figure {where!r}: {problem}" for problem in _spread_problems(value)]
    if isinstance(value, Mapping):
        names = [str(key) for key in value]
        problems = [f"figure name {name!r} has a character of '/\"|' or a line break" for name in names if _odd(name)]
        inner = [_figure_problems(item, f"{where}/{key}" if where else str(key)) for key, item in value.items()]
        return problems + [problem for found in inner for problem in found]
    if isinstance(value, list):
        return [problem for index, item in enumerate(value) for problem in _figure_problems(item, f"{where}[{index}]")]
    if isinstance(value, int | float | str) and (not isinstance(value, float) or math.isfinite(value)):
        return []
    return [f"figure {where!r}: a number, text, list or group is expected, got {value!r}"]


def _odd(name: str) -> bool:
    return not name or bool(set(name) & set('/"|\n'))


def _spread_problems(figure: Mapping[str, Any]) -> list[str]:
    """What is wrong with one number and its spread."""
    unknown = sorted(set(figure) - KNOWN)
    centres = [name for name in CENTRES if name in figure]
    n, low, high = figure.get("n"), figure.get("low"), figure.get("high")
    if unknown or len(centres) > 1:
        return [f"unknown or contradicting keys {unknown or centres}"]
    centre = figure[centres[0]]
    if not isinstance(figure.get("unit"), str) or not isinstance(n, int) or isinstance(n, bool) or n < 1:
        return [f"needs a unit and n of at least 1, got unit {figure.get('unit')!r} and n {n!r}"]
    if not {"low", "high"} <= set(figure):
        return ["needs low and high; null when one value says nothing about the spread"]
    if not _finite(centre) or not ((low is None and high is None) or (_finite(low) and _finite(high))):
        return [f"{centres[0]}, low and high must be finite numbers, low and high perhaps null"]
    problems = []
    if low is not None and not low <= centre <= high:
        problems.append(f"{centres[0]} {centre} lies outside its interval [{low}, {high}]")
    if figure.get("quiet") is False and not figure.get("reason"):
        problems.append("a timing that is not quiet needs its reason")
    if "values" in figure:
        problems += _values_problems(figure, centres[0])
    return problems


def _values_problems(figure: Mapping[str, Any], name: str) -> list[str]:
    """Where a mean or median and its interval do not follow from the values of the seeds."""
    values = figure["values"]
    if not isinstance(values, list) or len(values) != figure["n"] or not all(map(_finite, values)):
        return [f"values must be n = {figure['n']} finite numbers, got {values!r}"]
    if name == "mean":
        interval = mean_interval(values)
        expected = {"mean": interval.mean, "low": interval.low, "high": interval.high}
    else:
        low, high, _ = median_interval(values)
        expected = {"median": statistics.median(values), "low": low, "high": high}
    return [
        f"{key} is {figure.get(key)}, but its values give {value}"
        for key, value in expected.items()
        if not _agrees(figure.get(key), value)
    ]


def _agrees(found: float | None, expected: float | None) -> bool:
    if found is None or expected is None:
        return found is expected
    return math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-9)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _layout_problems(content: Mapping[str, Any]) -> list[str]:
    """Headlines `{claim, figure, format?}` and tables `{title, columns, rows}` must point at figures that exist."""
    problems = []
    for headline in content.get("headlines", []):
        if not isinstance(headline, dict) or not {"claim", "figure"} <= set(headline) <= {"claim", "figure", "format"}:
            problems.append(f"a headline is {{claim, figure, format?}}, got {headline!r}")
        else:
            problems += _missing(content["figures"], headline["figure"])
    for table in content.get("tables", []):
        if not isinstance(table, dict) or set(table) != {"title", "columns", "rows"}:
            problems.append(f"a table is {{title, columns, rows}}, got {table!r:.80}")
            continue
        for row in table["rows"]:
            if len(row) != len(table["columns"]):
                problems.append(f"table {table['title']!r} has a row of {len(row)} cells: {row!r:.80}")
            for cell in row:
                if isinstance(cell, dict):
                    problems += _missing(content["figures"], cell.get("figure"))
    return problems


def _missing(figures: Mapping[str, Any], key: Any) -> list[str]:
    try:
        find(figures, str(key))
    except KeyError:
        return [f"a headline or table names figure {key!r}, which is not there"]
    return []


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not a number")
