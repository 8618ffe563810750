import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from paretorch.measurement.interleaved import ratio
from paretorch.measurement.timing import Timing

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def harness() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_harness", ROOT / "benchmarks" / "_harness.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_result_file_holds_everything_needed_to_repeat_it(harness: ModuleType, tmp_path: Path) -> None:
    figures = {"accuracy": harness.figure([0.5, 0.75, 0.625], unit="accuracy")}
    path = harness.write_result("demo", figures, seeds=(0, 1, 2), command="make x", notes=["n"], root=tmp_path / "new")
    assert path.name == "demo.cpu.json"
    written = json.loads(path.read_text())
    assert written["figures"]["accuracy"]["median"] == 0.625
    assert (written["seeds"], written["command"], written["notes"]) == ([0, 1, 2], "make x", ["n"])
    assert written["environment"]["packages"]["torch"]
    assert len(written["date"]) == 10
    assert [p.name for p in path.parent.iterdir()] == ["demo.cpu.json"]  # no temporary file stays


def test_the_command_is_relative_to_the_repository(
    harness: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(ROOT / "benchmarks" / "masks.py"), "--seeds", "3 4"])
    assert harness.own_command() == "python benchmarks/masks.py --seeds '3 4'"
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "elsewhere.py")])
    assert harness.own_command() == "python elsewhere.py"


@pytest.mark.parametrize(("n", "low", "high"), [(5, 0.0, 4.0), (6, 0.0, 5.0), (9, 1.0, 7.0)])
def test_a_figure_is_a_median_with_its_interval(harness: ModuleType, n: int, low: float, high: float) -> None:
    values = np.random.default_rng(0).permutation(np.arange(float(n)))
    figure = harness.figure(values, unit="s")
    assert (figure["median"], figure["low"], figure["high"], figure["n"]) == ((n - 1) / 2, low, high, n)
    assert (figure["coverage"] >= 0.95) == (n >= 6)


def test_an_exact_number_is_its_own_interval(harness: ModuleType) -> None:
    assert harness.figure(17, unit="bytes") == {
        "median": 17.0,
        "low": 17.0,
        "high": 17.0,
        "n": 1,
        "unit": "bytes",
        "coverage": 0.0,
    }


def test_a_ratio_keeps_its_verdict(harness: ModuleType) -> None:
    slow = Timing(rounds=((2.0,), (2.0,)), wall_s=4.0, cpu_s=4.0, threads=1)
    busy = Timing(rounds=((1.0,), (1.0,)), wall_s=2.0, cpu_s=1.0, threads=1)
    figure = harness.figure(ratio(slow, busy))
    assert (figure["median"], figure["unit"], figure["quiet"]) == (2.0, "x", False)
    assert "CPU time was 0.50" in figure["reason"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused_and_the_old_file_stays(
    harness: ModuleType, tmp_path: Path, bad: float
) -> None:
    path = harness.write_result("demo", {"x": 1}, seeds=[], root=tmp_path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"figures\['x'\]\['values'\]\[1\] is (nan|inf)"):
        harness.write_result("demo", {"x": {"values": [1.0, bad]}}, seeds=[], root=tmp_path)
    with pytest.raises(ValueError, match="finite values"):
        harness.figure([1.0, bad], unit="s")
    assert path.read_bytes() == before


def test_a_write_that_is_cut_off_leaves_the_old_file_and_no_litter(
    harness: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = harness.write_result("demo", {"x": 1}, seeds=[], root=tmp_path)
    before = path.read_bytes()

    def cut_off(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", cut_off)
    with pytest.raises(KeyboardInterrupt):
        harness.write_result("demo", {"x": 2}, seeds=[], root=tmp_path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["demo.cpu.json"]


@pytest.mark.parametrize("arguments", [{"name": "a/b"}, {"name": ""}, {"device": "../x"}])
def test_names_that_would_leave_the_folder_are_refused(
    harness: ModuleType, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    values = {"name": "ok", **arguments}
    with pytest.raises(ValueError, match="becomes part of a file name"):
        harness.write_result(values.pop("name"), {}, seeds=[], root=tmp_path, **values)


def test_a_figure_without_a_unit_is_refused(harness: ModuleType) -> None:
    with pytest.raises(ValueError, match="needs unit"):
        harness.figure([1.0])
