import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from paretorch.errors import InputError, RunError
from paretorch.measurement.interleaved import ratio
from paretorch.measurement.timing import Timing

ROOT = Path(__file__).parents[2]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("_harness")


def test_a_result_file_holds_everything_needed_to_repeat_it(harness: ModuleType, tmp_path: Path) -> None:
    figures = {"accuracy": harness.figure([0.5, 0.75, 0.625], unit="accuracy")}
    headline = {"claim": "it is accurate", "figure": "accuracy"}
    path = harness.write_result(
        "demo",
        figures,
        tier="minutes",
        seeds=(0, 1, 2),
        command="make x",
        notes=["n"],
        layout={"headlines": [headline]},
        root=tmp_path / "new",
    )
    assert path.name == "demo.cpu.json"
    written = json.loads(path.read_text())
    assert written["figures"]["accuracy"]["median"] == 0.625
    assert (written["seeds"], written["command"], written["notes"]) == ([0, 1, 2], "make x", ["n"])
    assert (written["tier"], written["headlines"]) == ("minutes", [headline])
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


def test_the_command_names_no_folder_of_this_machine(
    harness: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = str(ROOT / "benchmarks" / "masks.py")
    monkeypatch.setattr(sys, "argv", [script, "--data", str(tmp_path), f"--work={tmp_path}", "--rounds", "3"])
    assert harness.own_command() == "python benchmarks/masks.py --data DATA --work=WORK --rounds 3"


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
    path = harness.write_result("demo", {"x": 1}, tier="minutes", seeds=[], root=tmp_path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"demo cannot be written: figure 'x/deep\[1\]': .*got (nan|inf)"):
        harness.write_result("demo", {"x": {"deep": [1.0, bad]}}, tier="minutes", seeds=[], root=tmp_path)
    with pytest.raises(ValueError, match="finite values"):
        harness.figure([1.0, bad], unit="s")
    assert path.read_bytes() == before


def test_a_write_that_is_cut_off_leaves_the_old_file_and_no_litter(
    harness: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = harness.write_result("demo", {"x": 1}, tier="minutes", seeds=[], root=tmp_path)
    before = path.read_bytes()

    def cut_off(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", cut_off)
    with pytest.raises(KeyboardInterrupt):
        harness.write_result("demo", {"x": 2}, tier="minutes", seeds=[], root=tmp_path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["demo.cpu.json"]


@pytest.mark.parametrize("arguments", [{"name": "a/b"}, {"name": ""}, {"device": "../x"}])
def test_names_that_would_leave_the_folder_are_refused(
    harness: ModuleType, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    values = {"name": "ok", "tier": "minutes", **arguments}
    with pytest.raises(ValueError, match="becomes part of a file name"):
        harness.write_result(values.pop("name"), {}, seeds=[], root=tmp_path, **values)


def test_a_figure_without_a_unit_is_refused(harness: ModuleType) -> None:
    with pytest.raises(ValueError, match="needs unit"):
        harness.figure([1.0])


def test_a_timing_is_a_figure_in_seconds_with_its_verdict(harness: ModuleType) -> None:
    timing = Timing(rounds=((1.0,), (3.0,), (2.0,)), wall_s=6.0, cpu_s=6.0, threads=1)
    figure = harness.figure(timing)
    assert (figure["median"], figure["n"], figure["unit"]) == (2.0, 3, "s")
    assert (figure["quiet"], figure["reason"]) == (True, None)


def test_a_mean_over_seeds_has_students_interval_and_keeps_its_values(harness: ModuleType) -> None:
    figure = harness.over_seeds([0.90, 0.92, 0.94], unit="percentage points", factor=100)
    half = 4.302653 * 2 / 3**0.5  # t quantile of two degrees of freedom, standard deviation 2
    assert figure["values"] == pytest.approx([90, 92, 94])
    assert [figure[key] for key in ("mean", "low", "high")] == pytest.approx([92, 92 - half, 92 + half])
    paired = harness.over_seeds([0.9, 0.8], minus=[0.5, 0.2], unit="accuracy")
    assert paired["values"] == pytest.approx([0.4, 0.6])
    assert paired["mean"] == pytest.approx(0.5)


def test_a_time_of_a_busy_machine_is_refused_unless_it_is_to_be_marked(harness: ModuleType, tmp_path: Path) -> None:
    busy = harness.figure(Timing(rounds=((1.0,),), wall_s=2.0, cpu_s=1.0, threads=1))
    figures = {"count": 1, "group": {"time": busy}}
    with pytest.raises(RunError, match=r"1 time\(s\) were not taken on a quiet machine: group/time \(not certified"):
        harness.write_result("demo", figures, tier="minutes", seeds=[], root=tmp_path)
    assert list(tmp_path.iterdir()) == []
    path = harness.write_result("demo", figures, tier="minutes", seeds=[], keep_noisy=True, root=tmp_path)
    assert json.loads(path.read_text())["figures"]["group"]["time"]["quiet"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tier": "weekly"}, "tier must be one of"),
        ({"layout": {"headlines": [{"claim": "c", "figure": "lost"}]}}, "names figure 'lost'"),
        ({"layout": {"footers": []}}, "'footers' is unknown"),
    ],
)
def test_a_result_that_could_not_be_read_is_not_written(
    harness: ModuleType, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        harness.write_result("demo", {"x": 1}, **{"tier": "gpu", "seeds": [], "root": tmp_path, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_an_unfinished_grid_has_empty_cells(harness: ModuleType) -> None:
    table = harness.table("t", factors={"x": "{}"}, rows=[(1,), (2,)], columns={"A": "a-{0}"}, known={"a-2": 1.0})
    assert table["rows"] == [["1", None], ["2", {"figure": "a-2"}]]


def test_a_table_has_one_row_per_setting_and_one_column_per_arm(harness: ModuleType) -> None:
    table = harness.table(
        "ResNet-20",
        factors={"cycles": "{}", "sparsity": "{:.0%}"},
        rows=[(1, 0.8), (3, 0.95)],
        columns={"FT": "FT-{0}-{1:g}", "gap": ("LLR minus FT, {0}-{1:g}", "signed")},
    )
    assert table["columns"] == ["cycles", "sparsity", "FT", "gap"]
    assert table["rows"] == [
        ["1", "80 %", {"figure": "FT-1-0.8"}, {"figure": "LLR minus FT, 1-0.8", "format": "signed"}],
        ["3", "95 %", {"figure": "FT-3-0.95"}, {"figure": "LLR minus FT, 3-0.95", "format": "signed"}],
    ]
