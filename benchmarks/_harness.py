"""Write one benchmark's figures as a small JSON file, with everything a reader needs to repeat and judge them.

File: `benchmarks/results/<name>.<device>.json` with the keys name, device, figures, seeds, command, notes, date and
environment. A benchmark script times with `paretorch.measurement.interleaved` and ends with

    write_result("masks", {"multiply_speedup": figure(ratio(timings["bool"], timings["int8"]))}, seeds=[0])
"""

import json
import math
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from paretorch.measurement.environment import environment
from paretorch.measurement.interleaved import Ratio, median_interval

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"


def figure(values: Ratio | float | Sequence[float] | np.ndarray, *, unit: str | None = None) -> dict[str, Any]:
    """One number with its spread, ready for `write_result`.

    Args:
        values: a `Ratio`, one exact number, or repeated measurements (one per seed or round).
        unit: "s", "bytes", "accuracy" ...; a `Ratio` is "x" by itself, anything else must say.

    Returns:
        median, low, high, n, unit and coverage: [low, high] is the distribution-free interval of the median at 95 %, or
        the full range with the smaller `coverage` it has when there are fewer than 6 values. A `Ratio` also gives quiet
        and reason.

    Raises:
        ValueError: no unit, no values, or a value that is not finite.
    """
    if isinstance(values, Ratio):
        return {
            "median": values.value,
            "low": values.low,
            "high": values.high,
            "n": values.n,
            "unit": unit or "x",
            "coverage": values.coverage,
            "quiet": values.quiet,
            "reason": values.reason,
        }
    if unit is None:
        raise ValueError("figure needs unit=..., for example 's', 'bytes' or 'accuracy'; only a Ratio has its own.")
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    low, high, coverage = median_interval(array)
    return {
        "median": float(np.median(array)),
        "low": low,
        "high": high,
        "n": array.size,
        "unit": unit,
        "coverage": coverage,
    }


def write_result(
    name: str,
    figures: Mapping[str, Any],
    *,
    seeds: Sequence[int],
    command: str | None = None,
    notes: Sequence[str] = (),
    device: str = "cpu",
    root: Path | None = None,
) -> Path:
    """Write the result file in one piece and return its path; an older one is replaced.

    Args:
        name: file stem, letters, digits, `_` and `-`.
        figures: JSON values by name, normally from `figure`.
        seeds: every seed the figures rest on; may be empty for exact counts.
        command: how to run it again, from the repository's root; default: the running script's own command line.
        notes: sentences a reader must know (what failed, what was left out).
        device: "cpu" or a short accelerator name such as "h100".
        root: folder to write to; default `benchmarks/results`.

    Raises:
        ValueError: a name that is no plain file stem, or a figure that is NaN, infinite or not JSON.
    """
    for what, word in (("name", name), ("device", device)):
        if not word or not word.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"{what} becomes part of a file name: letters, digits, _ and - only; got {word!r}.")
    _refuse_non_finite(figures, "figures")
    result = {
        "name": name,
        "device": device,
        "figures": dict(figures),
        "seeds": list(seeds),
        "command": command or own_command(),
        "notes": list(notes),
        "date": datetime.now(UTC).date().isoformat(),
        "environment": environment(),
    }
    text = json.dumps(result, indent=1, allow_nan=False) + "\n"
    folder = root or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.{device}.json"
    _write_in_one_piece(path, text)
    print(f"wrote {path.name}")
    return path


def own_command() -> str:
    """The running script's command line with the script's path relative to the repository's root."""
    script = Path(sys.argv[0]).resolve()
    inside = script.is_relative_to(HERE.parent)
    shown = script.relative_to(HERE.parent) if inside else script.name  # an absolute path would name a machine
    return shlex.join(["python", str(shown), *sys.argv[1:]])


def _refuse_non_finite(value: object, where: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}; record why there is no number in notes instead.")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _refuse_non_finite(inner, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _refuse_non_finite(inner, f"{where}[{index}]")


def _write_in_one_piece(path: Path, text: str) -> None:
    """Temporary file in the same folder, fsync, rename: a reader sees the old file or the new one, never a part."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # mkstemp makes it private to its writer
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
