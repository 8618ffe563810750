"""Run a grid of experiments in pieces: every finished cell is one small file, and what is missing is run next time.

A cell is one function call with parameters and a result that JSON can hold. A script names its cells and ends with

    cells = [Cell(name=f"{model}-s{seed}", run=one, parameters={"model": model, "seed": seed}) for ...]
    progress = run_grid(cells, args.work, version=1, minutes=args.minutes, retry_failed=args.retry_failed)
    if not progress.left:
        write_result(...)  # from progress.results and progress.failed

Run it again and again with `--minutes 9` until nothing is left, or in several processes on the same folder: each cell
is locked while it runs. A file is used again only for the same function name, parameters and `version`; raise `version`
when the script computes something else from the same parameters. What is computed but is no parameter (a loaded data
set, say) goes in by `functools.partial` and belongs into `version`; the device belongs into the parameters.
"""

import argparse
import contextlib
import functools
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from paretorch.artefacts.files import write_json
from paretorch.errors import InputError, ParetorchError, RunError

MARGIN = 1.15  # cells of a kind differ; an estimate is the slowest so far with this on top


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One call `run(**parameters)`.

    name: unique in the grid; letters, digits, `_`, `-`, `.`. parameters: what JSON can hold. kind: cells of one kind
    take about the same time; default: the function's name. seconds: an estimate for as long as none of its kind is
    finished.
    """

    name: str
    run: Callable[..., Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""
    seconds: float | None = None

    @property
    def function(self) -> str:
        """The name of the function, below any `partial`."""
        function = self.run
        while isinstance(function, functools.partial):
            function = function.func
        return getattr(function, "__qualname__", type(function).__qualname__)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """results: by name, in the grid's order. failed: reasons by name. left: names not run yet, or running elsewhere."""

    results: dict[str, Any]
    failed: dict[str, str]
    left: list[str]


def add_arguments(parser: argparse.ArgumentParser, *, work: str) -> None:
    """The options `--work`, `--minutes` and `--retry-failed` of every script with a grid."""
    parser.add_argument("--work", type=Path, default=Path(work), help="folder of the finished cells")
    parser.add_argument("--minutes", type=float, help="start no cell that would end after so many minutes")
    parser.add_argument("--retry-failed", action="store_true", help="run again the cells that failed")


def run_grid(
    cells: Sequence[Cell],
    work: Path,
    *,
    version: int | str,
    minutes: float | None = None,
    retry_failed: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Progress:
    """Run the missing cells in order; a cell that raises a `ParetorchError` is recorded with its reason.

    Args:
        cells: the whole grid, the cells that are done included.
        work: folder of the cells' files; made if it is missing.
        version: of the script's meaning; another one uses none of the old files.
        minutes: budget from this call on; None: no limit. A cell is started only when its estimate fits: the slowest
            finished cell of its kind, else its own `seconds`, else the slowest finished cell of any kind.
        retry_failed: run again what is recorded as failed.
        clock: seconds; monotonic.

    Raises:
        InputError: cells without or with repeated or impossible names, parameters that JSON cannot hold, a budget
            that is not positive, a damaged file. RunError: cells are left, and each is longer than the whole budget.
    """
    if minutes is not None and not minutes > 0:
        raise InputError(f"minutes must be positive; got {minutes}. Leave it out to run everything.")
    started = clock()
    budget = None if minutes is None else 60 * minutes
    paths = _paths(cells, work, version)
    work.mkdir(parents=True, exist_ok=True)
    slowest: dict[str, float] = {}  # seconds by kind
    for cell in cells:
        if record := _read(paths[cell.name]):
            if retry_failed and record["status"] == "failed":
                with contextlib.suppress(Timeout), _lock(paths[cell.name]):  # or another process runs it again
                    paths[cell.name].unlink(missing_ok=True)
            _note(slowest, cell, record)
    ran, too_long = 0, []
    for index, cell in enumerate(cells, start=1):
        path = paths[cell.name]
        if path.exists():
            continue
        estimate = MARGIN * slowest.get(cell.kind or cell.function, cell.seconds or max(slowest.values(), default=0.0))
        if budget is not None and clock() - started + estimate > budget:
            too_long += [f"{cell.name} (about {estimate / 60:.1f} min)"] if estimate > budget else []
            continue  # a shorter one behind it may fit
        try:
            with _lock(path):
                if path.exists():
                    continue  # another process has just finished it
                record = {**_run(cell, clock), "version": version}
                write_json(path, record)
        except Timeout:
            print(f"[{index}/{len(cells)}] {cell.name}: runs in another process", flush=True)
            continue
        ran += 1
        _note(slowest, cell, record)
        word = f"FAILED, {record['reason']}" if record["status"] == "failed" else "done"
        print(f"[{index}/{len(cells)}] {cell.name}: {record['seconds']:.1f} s, {word}", flush=True)
    progress = _progress(cells, paths)
    if too_long and not ran and len(too_long) == len(progress.left):
        raise RunError(
            f"none of the cells that are left fits into {minutes:g} minutes: {', '.join(too_long[:5])}. Finished cells "
            f"are kept in {work}; give more minutes or make the cells smaller."
        )
    _print_summary(progress, cells, slowest, work)
    return progress


def finished(cells: Sequence[Cell], work: Path, *, version: int | str) -> Progress:
    """What is finished, without running anything; see `run_grid`."""
    return _progress(cells, _paths(cells, work, version))


def _run(cell: Cell, clock: Callable[[], float]) -> dict[str, Any]:
    """What the cell's file says: its result, or why there is none."""
    record = {"name": cell.name, "parameters": dict(cell.parameters)}
    began = clock()
    try:
        result = cell.run(**cell.parameters)
    except ParetorchError as error:
        reason = f"{type(error).__name__}: {error}"
        return {**record, "status": "failed", "seconds": clock() - began, "reason": reason}
    return {**record, "status": "done", "seconds": clock() - began, "result": result}


def _paths(cells: Sequence[Cell], work: Path, version: int | str) -> dict[str, Path]:
    return {name: work / f"{name}-{identity}.json" for name, identity in _identities(cells, version).items()}


def _identities(cells: Sequence[Cell], version: int | str) -> dict[str, str]:
    """The first digits of SHA-256 over function, parameters and version, by name of the cell."""
    identities: dict[str, str] = {}
    for cell in cells:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", cell.name):
            raise InputError(f"a cell's name becomes a file name: letters, digits, '_', '-', '.'; got {cell.name!r}.")
        if cell.name in identities:
            raise InputError(f"two cells are named {cell.name!r}; each needs a name of its own.")
        try:
            text = json.dumps([cell.function, dict(cell.parameters), version], sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"the parameters of cell {cell.name!r} have no JSON form: {error}.") from error
        identities[cell.name] = hashlib.sha256(text.encode()).hexdigest()[:12]
    return identities


def _note(slowest: dict[str, float], cell: Cell, record: Mapping[str, Any]) -> None:
    """Failed cells say nothing about the time: they ended early."""
    if record["status"] == "done":
        slowest[cell.kind or cell.function] = max(slowest.get(cell.kind or cell.function, 0.0), record["seconds"])


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        _ = record[{"done": "result", "failed": "reason"}[record["status"]]], record["seconds"] + 0.0
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no finished cell ({error!r}); delete it, and it is run again.") from error
    return record


def _lock(path: Path) -> FileLock:
    """Entering it raises Timeout at once when another process runs this cell."""
    return FileLock(path.with_name(f".{path.name}.lock"), timeout=0)


def _progress(cells: Sequence[Cell], paths: Mapping[str, Path]) -> Progress:
    records = {cell.name: _read(paths[cell.name]) for cell in cells}
    return Progress(
        results={name: record["result"] for name, record in records.items() if record and "result" in record},
        failed={name: record["reason"] for name, record in records.items() if record and "reason" in record},
        left=[name for name, record in records.items() if record is None],
    )


def _print_summary(progress: Progress, cells: Sequence[Cell], slowest: Mapping[str, float], work: Path) -> None:
    left = [cell for cell in cells if cell.name in set(progress.left)]
    seconds = [slowest.get(cell.kind or cell.function, cell.seconds) for cell in left]
    about = f", at most about {sum(filter(None, seconds)) / 60:.0f} minutes" if left and None not in seconds else ""
    print(
        f"{len(cells)} cells in {work}: {len(progress.results)} done, {len(progress.failed)} failed, "
        f"{len(left)} left{about}",
        flush=True,
    )
