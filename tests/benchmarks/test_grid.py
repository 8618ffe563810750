"""The grid runs each cell once, whatever interrupts it, and knows when to stop."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from filelock import FileLock

from paretorch.errors import InputError, NotFiniteError, RunError


@pytest.fixture
def grid(load: Any) -> ModuleType:
    return load("_grid")


class World:
    """A clock that only the cells move, and a list of what they were called with."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.calls: list[dict[str, Any]] = []

    def clock(self) -> float:
        return self.now

    def work(self, *, minutes: float, **parameters: Any) -> dict[str, Any]:
        self.calls.append(parameters)
        self.now += 60 * minutes
        if parameters.get("diverges"):
            raise NotFiniteError("the loss became NaN in step 7")
        return {"doubled": [2 * parameters.get("x", 0)]}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def cells(grid: ModuleType, world: World) -> Callable[..., list[Any]]:
    """`cells(3)` are three cells of two minutes each; other parameters go to all."""

    def make(num: int, *, minutes: float = 2.0, **parameters: Any) -> list[Any]:
        return [
            grid.Cell(name=f"cell-{x}", run=partial(world.work, minutes=minutes), parameters={"x": x, **parameters})
            for x in range(num)
        ]

    return make


def test_finished_cells_are_not_run_again(grid: ModuleType, world: World, cells: Any, tmp_path: Path) -> None:
    first = grid.run_grid(cells(3), tmp_path / "new", version=1, clock=world.clock)
    assert first.results == {f"cell-{x}": {"doubled": [2 * x]} for x in range(3)}
    assert (first.failed, first.left) == ({}, [])
    again = grid.run_grid(cells(4), tmp_path / "new", version=1, clock=world.clock)
    assert again.results["cell-3"] == {"doubled": [6]}
    assert [call["x"] for call in world.calls] == [0, 1, 2, 3]


def test_what_is_finished_can_be_read_without_running_anything(
    grid: ModuleType, world: World, cells: Any, tmp_path: Path
) -> None:
    grid.run_grid(cells(1), tmp_path, version=1, clock=world.clock)
    progress = grid.finished(cells(2), tmp_path, version=1)
    assert progress.results == {"cell-0": {"doubled": [0]}}
    assert (progress.left, len(world.calls)) == (["cell-1"], 1)


def test_it_stops_before_the_budget_would_be_exceeded(
    grid: ModuleType, world: World, cells: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = world.now
    progress = grid.run_grid(cells(8), tmp_path, version=1, minutes=9, clock=world.clock)
    # after three cells 6 minutes are gone and 2 x 1.15 fit; after four, 8 + 2.3 > 9
    assert (world.now - began) / 60 == 8
    assert progress.left == ["cell-4", "cell-5", "cell-6", "cell-7"]
    assert "4 done, 0 failed, 4 left, at most about 8 minutes" in capsys.readouterr().out
    grid.run_grid(cells(8), tmp_path, version=1, minutes=9, clock=world.clock)
    assert [call["x"] for call in world.calls] == list(range(8))


def test_the_slowest_of_a_kind_is_the_estimate_and_a_shorter_kind_may_still_fit(
    grid: ModuleType, world: World, tmp_path: Path
) -> None:
    def cell(name: str, kind: str, minutes: float) -> Any:
        return grid.Cell(name=name, run=partial(world.work, minutes=minutes), parameters={"cell": name}, kind=kind)

    long = [cell(f"l{x}", "long", minutes) for x, minutes in enumerate((4, 1, 4, 4))]
    short = [cell(f"s{x}", "short", 0.5) for x in range(3)]
    grid.run_grid([*long[:2], short[0]], tmp_path, version=1, clock=world.clock)
    grid.run_grid(long[:3], tmp_path, version=1, minutes=4.7, clock=world.clock)  # 4 x 1.15 = 4.6 fits
    progress = grid.run_grid([*long, *short], tmp_path, version=1, minutes=4.5, clock=world.clock)
    assert [call["cell"] for call in world.calls] == ["l0", "l1", "s0", "l2", "s1", "s2"]
    assert progress.left == ["l3"]


def test_an_estimate_of_the_cell_itself_holds_until_one_of_its_kind_is_finished(
    grid: ModuleType, world: World, tmp_path: Path
) -> None:
    def cell(x: int) -> Any:
        return grid.Cell(name=f"c{x}", run=partial(world.work, minutes=1), parameters={"x": x}, seconds=300)

    with pytest.raises(RunError, match=r"fits into 5 minutes: c0 \(about 5.8 min\)"):
        grid.run_grid([cell(0)], tmp_path, version=1, minutes=5, clock=world.clock)
    assert world.calls == []
    progress = grid.run_grid([cell(x) for x in range(9)], tmp_path, version=1, minutes=6, clock=world.clock)
    assert len(progress.results) == 5  # 300 x 1.15 fits; from then on the minute that the first one took counts


def test_a_cell_that_diverges_is_recorded_and_retried_only_when_asked(
    grid: ModuleType, world: World, cells: Any, tmp_path: Path
) -> None:
    bad = cells(1, diverges=True)
    progress = grid.run_grid(bad, tmp_path, version=1, clock=world.clock)
    assert progress.failed == {"cell-0": "NotFiniteError: the loss became NaN in step 7"}
    assert (progress.results, progress.left) == ({}, [])
    grid.run_grid(bad, tmp_path, version=1, clock=world.clock)
    assert len(world.calls) == 1
    grid.run_grid(bad, tmp_path, version=1, retry_failed=True, clock=world.clock)
    assert len(world.calls) == 2


def test_an_error_of_the_script_stops_the_grid_and_leaves_no_cell(grid: ModuleType, tmp_path: Path) -> None:
    def broken() -> None:
        raise KeyError("typo")

    with pytest.raises(KeyError, match="typo"):
        grid.run_grid([grid.Cell(name="c", run=broken)], tmp_path, version=1)
    assert list(tmp_path.glob("*.json")) == []


@pytest.mark.parametrize("changed", [{"version": 2}, {"parameters": {"lr": 0.2}}])
def test_other_parameters_or_another_version_use_no_old_cell(
    grid: ModuleType, world: World, cells: Any, tmp_path: Path, changed: dict[str, Any]
) -> None:
    grid.run_grid(cells(1, lr=0.1), tmp_path, version=1, clock=world.clock)
    settings = changed.get("parameters", {"lr": 0.1})
    grid.run_grid(cells(1, **settings), tmp_path, version=changed.get("version", 1), clock=world.clock)
    assert len(world.calls) == 2


def test_a_cell_that_another_process_runs_is_left_to_it(
    grid: ModuleType, world: World, cells: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid.run_grid(cells(2), tmp_path, version=1, clock=world.clock)
    path = next(tmp_path.glob("cell-1-*.json"))
    path.unlink()
    with FileLock(path.with_name(f".{path.name}.lock")):
        progress = grid.run_grid(cells(2), tmp_path, version=1, clock=world.clock)
        assert progress.left == ["cell-1"]
        assert "cell-1: runs in another process" in capsys.readouterr().out
    assert grid.run_grid(cells(2), tmp_path, version=1, clock=world.clock).left == []


def test_a_cell_that_another_process_finishes_meanwhile_is_not_run_twice(
    grid: ModuleType, world: World, cells: Any, tmp_path: Path
) -> None:
    def first_runs_the_second_elsewhere() -> str:
        grid.run_grid(cells(1), tmp_path, version=1, clock=world.clock)
        return "done"

    meanwhile = grid.Cell(name="first", run=first_runs_the_second_elsewhere)
    progress = grid.run_grid([meanwhile, *cells(1)], tmp_path, version=1, clock=world.clock)
    assert (list(progress.results), len(world.calls)) == (["first", "cell-0"], 1)


def test_a_cell_file_says_what_it_was(grid: ModuleType, world: World, cells: Any, tmp_path: Path) -> None:
    grid.run_grid(cells(1, lr=0.5), tmp_path, version="a", clock=world.clock)
    record = json.loads(next(tmp_path.glob("cell-0-*.json")).read_text())
    assert record == {
        "name": "cell-0",
        "parameters": {"x": 0, "lr": 0.5},
        "status": "done",
        "seconds": 120.0,
        "result": {"doubled": [0]},
        "version": "a",
    }


@pytest.mark.parametrize("damage", ['{"status": "done"', '{"status": "done", "seconds": 1}', '{"status": "?"}', "[]"])
def test_a_damaged_cell_is_named(grid: ModuleType, world: World, cells: Any, tmp_path: Path, damage: str) -> None:
    grid.run_grid(cells(1), tmp_path, version=1, clock=world.clock)
    next(tmp_path.glob("cell-0-*.json")).write_text(damage)
    with pytest.raises(InputError, match=r"cell-0-[0-9a-f]{12}\.json is no finished cell .* delete it"):
        grid.run_grid(cells(1), tmp_path, version=1, clock=world.clock)


@pytest.mark.parametrize(
    ("names", "parameters", "minutes", "message"),
    [
        (["a", "a"], {}, None, "two cells are named 'a'"),
        (["a/b"], {}, None, "becomes a file name.*got 'a/b'"),
        (["a"], {"x": {1, 2}}, None, "parameters of cell 'a' have no JSON form"),
        (["a"], {"x": float("nan")}, None, "parameters of cell 'a' have no JSON form"),
        (["a"], {}, 0, "minutes must be positive; got 0"),
    ],
)
def test_a_grid_that_cannot_be_run_is_refused_before_work(
    grid: ModuleType,
    tmp_path: Path,
    names: list[str],
    parameters: dict[str, Any],
    minutes: float | None,
    message: str,
) -> None:
    def never(**_: Any) -> None:
        raise AssertionError("a cell was run")

    cells = [grid.Cell(name=name, run=never, parameters=parameters) for name in names]
    with pytest.raises(InputError, match=message):
        grid.run_grid(cells, tmp_path / "work", version=1, minutes=minutes)
    assert not (tmp_path / "work").exists()
