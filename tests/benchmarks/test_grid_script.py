"""Scripts with a grid run or read it, and say what is missing."""

from functools import partial
from pathlib import Path
from typing import Any

from paretorch.errors import RunError


def square(number: int, *, fails: bool = False) -> int:
    if fails:
        raise RunError("no square")
    return number * number


def test_write_only_reads_what_a_run_has_left_and_runs_nothing(load: Any, tmp_path: Path) -> None:
    script, grid = load("_script"), load("_grid")
    cells = [grid.Cell(name=f"n{n}", run=partial(square, fails=n == 2), parameters={"number": n}) for n in (1, 2, 3)]
    parser = script.grid_parser("what it does", work=str(tmp_path / "work"), quick="less")
    script.progress_of(cells[:2], parser.parse_args([]), version=1)
    progress = script.progress_of(cells, parser.parse_args(["--write-only"]), version=1)
    assert (progress.results, progress.left) == ({"n1": 1}, ["n3"])
    assert script.unfinished(progress) == [
        "1 of the grid's cells are not run yet.",
        "n2 failed: RunError: no square",
    ]
    assert script.unfinished(progress, progress)[0] == "2 of the grid's cells are not run yet."
    assert not parser.parse_args([]).quick
    assert parser.parse_args(["--retry-failed"]).retry_failed
    again = script.progress_of(cells, parser.parse_args(["--retry-failed"]), version=1)
    assert again.results == {"n1": 1, "n3": 9}
