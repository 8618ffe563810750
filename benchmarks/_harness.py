"""Measure for a benchmark, and write its figures as a small JSON file with all that is needed to repeat and judge them.

    timings = interleaved({"dense": f, "pruned": g}, rounds=9)          # paretorch.measurement.interleaved
    write_result(
        "pruned_latency",
        {
            "dense_s": figure(timings["dense"]),
            "speedup": figure(ratio(timings["dense"], timings["pruned"])),
            "accuracy": over_seeds([0.91, 0.92, 0.915], unit="accuracy"),
            "peak_bytes": figure(memory_in_subprocess(prepare, sparsity=0.9), unit="bytes"),
        },
        tier="minutes",
        seeds=[0, 1, 2],
    )

`memory_in_subprocess` is in `_memory`, grids that run in pieces are in `_grid`, the file's schema is in `_result`. A
time that was not taken on a quiet machine (`paretorch.measurement.noise`) is refused, or marked when asked for.
"""

import math
import re
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from _peers import versions
from _result import check, is_figure

from paretorch.artefacts.files import write_json
from paretorch.errors import InputError, RunError
from paretorch.evidence.statistics import mean_interval, paired_interval
from paretorch.measurement.environment import environment, installed_versions
from paretorch.measurement.interleaved import Ratio, median_interval
from paretorch.measurement.timing import Timing

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
MIN_SEEDS = 3  # below which an interval says nothing
PATH_OPTIONS = ("--data", "--work")  # their values name a machine


def figure(values: Ratio | Timing | float | Sequence[float] | np.ndarray, *, unit: str | None = None) -> dict[str, Any]:
    """One number with its spread, ready for `write_result`.

    Args:
        values: a `Ratio`, a `Timing` (its rounds' 10th percentiles), one exact number, or repeated measurements.
        unit: "s", "bytes", "accuracy" ...; a `Ratio` is "x" and a `Timing` "s" by itself, anything else must say.

    Returns:
        median, low, high, n, unit and coverage: [low, high] is the distribution-free interval of the median at 95 %, or
        the full range with the smaller `coverage` it has when there are fewer than 6 values. A `Ratio` and a `Timing`
        also give quiet and reason.

    Raises:
        InputError: no unit, no values, or a value that is not finite.
    """
    if isinstance(values, Ratio):
        spread = {"median": values.value, "low": values.low, "high": values.high, "n": values.n}
        judged = {"coverage": values.coverage, "quiet": values.quiet, "reason": values.reason}
        return {**spread, "unit": unit or "x", **judged}
    if isinstance(values, Timing):
        return {**figure(values.round_p10_s, unit=unit or "s"), "quiet": values.quiet, "reason": values.reason}
    if unit is None:
        raise InputError("figure needs unit=..., for example 's', 'bytes' or 'accuracy'; only a time has its own.")
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    low, high, coverage = median_interval(array)
    spread = {"median": float(np.median(array)), "low": low, "high": high, "n": array.size}
    return {**spread, "unit": unit, "coverage": coverage}


def over_seeds(
    values: Sequence[float], *, unit: str, minus: Sequence[float] | None = None, factor: float = 1.0
) -> dict[str, Any]:
    """Mean over seeds with Student's 95 % interval, and the values themselves.

    Args:
        values: one per seed.
        unit: "percentage points", "accuracy", ...
        minus: values of another arm for the same seeds in the same order; the figure is then the paired difference.
        factor: multiplies everything, e.g. 100 from fractions to percentage points.

    Raises:
        InputError, NotComparableError: no values, one that is not finite, or another number of them in `minus`.
    """
    interval = mean_interval(values) if minus is None else paired_interval(values, minus)
    interval = interval.scaled(factor)
    kept = values if minus is None else [a - b for a, b in zip(values, minus, strict=True)]
    spread = {"mean": interval.mean, "low": interval.low, "high": interval.high, "n": interval.n}
    return {**spread, "unit": unit, "values": [factor * value for value in kept]}


def add_accuracy(
    figures: dict[str, Any], name: str, found: Mapping[int, float], minus: Mapping[int, float] | None = None
) -> None:
    """Enter the accuracy in % over seeds, or a paired difference in points; nothing below `MIN_SEEDS` seeds.

    Args:
        figures: to add to.
        name: of the figure.
        found: accuracy in [0, 1] by seed.
        minus: of another arm; only seeds that both have count.
    """
    seeds = sorted(found if minus is None else found.keys() & minus.keys())
    if len(seeds) < MIN_SEEDS:
        return
    values = [found[seed] for seed in seeds]
    other = None if minus is None else [minus[seed] for seed in seeds]
    figures[name] = over_seeds(values, minus=other, unit="%" if minus is None else "percentage points", factor=100)


def add_equal(figures: dict[str, Any], name: str, found: Mapping[int, Mapping[str, Any]], key: str) -> None:
    """Enter what must be the same in every cell: a count, or a number that no seed has a part in.

    Args:
        figures: to add to; what is there under this name must be the same too.
        name: of the figure.
        found: by seed what a cell found.
        key: of the value in a cell.

    Raises:
        RunError: naming the seed that differs; numbers that are no counts may differ in their last digits.
    """
    for seed, one in found.items():
        known = figures.setdefault(name, one[key])
        if one[key] != known and not (isinstance(known, float) and math.isclose(one[key], known, rel_tol=1e-6)):
            raise RunError(
                f"{name}: {one[key]} with seed {seed}, and {known} elsewhere, so that these cells are not the same "
                "experiment; delete those that are not of this one from the work folder, and run it again."
            )


def table(
    title: str,
    *,
    factors: Mapping[str, str],
    rows: Sequence[Sequence[Any]],
    columns: Mapping[str, str | tuple[str, str]],
    known: Collection[str] | None = None,
) -> dict[str, Any]:
    """How the results page lays out figures that differ in factors: one row per setting, one column per arm.

        table(
            "ResNet-20",
            factors={"cycles": "{}", "sparsity": "{:.0%}"},
            rows=[(1, 0.8), (1, 0.9)],
            columns={"FT": "FT-{0}-{1:g} accuracy", "ALLR - FT": ("ALLR minus FT, {0}-{1:g}", "signed")},
        )

    Args:
        title: heading of the table.
        factors: name of each factor and the format of its values.
        rows: values of the factors, in their order.
        columns: heading and the figure's key, a format that is given a row's values; with the words of `_numbers.shown`
            as the second of a pair where the usual text does not do.
        known: keys that exist, for a grid that is not finished: other cells stay empty. None: all must.
    """
    laid = []
    for row in rows:
        cells: list[Any] = [
            re.sub(r"(?<=\d)%", " %", shape.format(value)) for shape, value in zip(factors.values(), row, strict=True)
        ]
        for column in columns.values():
            key, words = (column, "") if isinstance(column, str) else column
            name = key.format(*row)
            cell = {"figure": name, **({"format": words} if words else {})}
            cells.append(cell if known is None or name in known else None)
        laid.append(cells)
    return {"title": title, "columns": [*factors, *columns], "rows": laid}


def write_result(
    name: str,
    figures: Mapping[str, Any],
    *,
    tier: str,
    seeds: Sequence[int],
    command: str | None = None,
    notes: Sequence[str] = (),
    device: str = "cpu",
    layout: Mapping[str, Sequence[Any]] | None = None,
    packages: Sequence[str] = (),
    keep_noisy: bool = False,
    root: Path | None = None,
) -> Path:
    """Write the result file in one piece and return its path; an older one is replaced.

    Args:
        name: file stem, letters, digits, `_` and `-`.
        figures: JSON values by name, normally from `figure` and `over_seeds`.
        tier: what repeating it takes: "minutes", "nightly" or "gpu".
        seeds: every seed the figures rest on; may be empty for exact counts.
        command: how to run it again, from the repository's root; default: the running script's own command line.
        notes: sentences a reader must know (what failed, what was left out).
        device: "cpu" or a short accelerator name such as "h100".
        layout: for the results page: `headlines`, a list of `{claim, figure, format?}`, and `tables` made by `table`.
        packages: import names of peers; the environment names their versions beside those that it always does.
        keep_noisy: write times that were not taken on a quiet machine, marked as such.
        root: folder to write to; default `benchmarks/results`.

    Raises:
        InputError: a name that is no plain file stem, or content that `_result` refuses. RunError: times that were not
            taken on a quiet machine. An older file stays as it was.
    """
    for what, word in (("name", name), ("device", device)):
        if not word or not word.replace("_", "").replace("-", "").isalnum():
            raise InputError(f"{what} becomes part of a file name: letters, digits, _ and - only; got {word!r}.")
    result = {
        "name": name,
        "device": device,
        "tier": tier,
        "figures": dict(figures),
        "seeds": list(seeds),
        "command": command or own_command(),
        "notes": list(notes),
        "date": datetime.now(UTC).date().isoformat(),
        "environment": environment() | {"packages": installed_versions() | versions(packages)},
        **{key: list(value) for key, value in (layout or {}).items()},
    }
    if problems := check(result):
        raise InputError(f"the result of {name} cannot be written: {'; '.join(problems)}.")
    noisy = _noisy(figures)
    if noisy and not keep_noisy:
        raise RunError(
            f"{name}: {len(noisy)} time(s) were not taken on a quiet machine: {'; '.join(noisy)}. Run it again with "
            "nothing beside it; --keep-noisy writes them with that mark."
        )
    folder = root or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.{device}.json"
    write_json(path, result)
    print(f"wrote {path.name}")
    return path


def _noisy(figures: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Names and reasons of the times that were not taken on a quiet machine."""
    found = []
    for name, value in figures.items():
        if is_figure(value) and value.get("quiet") is False:
            found.append(f"{prefix}{name} ({value['reason']})")
        elif isinstance(value, Mapping) and not is_figure(value):
            found += _noisy(value, f"{prefix}{name}/")
    return found


def own_command() -> str:
    """The running script's command line, its path relative to the repository's root; `--data DATA` for any folder."""
    script = Path(sys.argv[0]).resolve()
    inside = script.is_relative_to(HERE.parent)
    words = ["python", str(script.relative_to(HERE.parent) if inside else script.name)]
    for previous, word in zip([None, *sys.argv[1:]], sys.argv[1:], strict=False):
        option = word.split("=")[0]
        if previous in PATH_OPTIONS:
            words.append(previous.removeprefix("--").upper())
        elif option in PATH_OPTIONS and word != option:
            words.append(f"{option}={option.removeprefix('--').upper()}")
        else:
            words.append(word)
    return shlex.join(words)
