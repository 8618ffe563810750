"""The benchmarks of soups and of gradual pruning run at toy size: equal costs are equal, the page shows the figures."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest


def page_of(load: Any, name: str, arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The results page with what the script measured."""
    monkeypatch.setattr(load("_harness"), "RESULTS", folder)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    load(name).main()
    return load("_page").page(load("_result").load_all(folder))


def test_the_longest_path_holds_the_longest_of_phases_that_run_beside_each_other(load: Any) -> None:
    entries = [
        {"phase": "prune"},
        {"phase": "a", "samples": 100, "teacher_samples": 100, "beside": "cycle-0"},
        {"phase": "b", "samples": 130, "beside": "cycle-0"},
        {"phase": "c", "samples": 120, "teacher_samples": 7, "beside": "cycle-1"},
        {"phase": "alone", "samples": 1000},
    ]
    assert load("_soup_arms").costs(entries) == {
        "samples": 1350,
        "teacher_samples": 107,
        "path_samples": 1250,
        "path_teacher_samples": 7,
    }


@pytest.mark.slow
def test_sparse_soups_cost_as_much_as_the_arms_they_are_compared_with(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, problem, words = load("sparse_soups"), load("_soup_problem"), load("_soup_words")
    dense = partial(problem.trained, epochs=0.5)
    tiny = replace(problem.DIGITS, sparsities=(0.5,), seeds=(0,), dense=dense, epochs=0.5)
    monkeypatch.setattr(script, "problems", lambda _data, quick: {"digits": tiny})
    monkeypatch.setattr(load("_harness"), "MIN_SEEDS", 1)
    arguments = ["--data", str(tmp_path), "--work", str(tmp_path / "work"), "--quick"]
    page = page_of(load, "sparse_soups", arguments, tmp_path, monkeypatch)
    figures = load("_result").load_all(tmp_path)["sparse_soups.cpu"].figures["digits"]
    samples = {arm: figures[f"{arm}, 2, samples"] for arm in words.COSTLY}
    assert samples["SMS"] == samples["IMP-RePrune"] == 3 * samples["IMP"]
    step = tiny.batch_size
    assert abs(samples["IMP 3x"] - samples["SMS"]) <= 3 * step
    assert samples["IMP 3x with SWA"] == samples["IMP 3x"]
    assert figures["SMS, 2, longest path"] == samples["IMP"]
    assert figures["SMS, 2-distilled, teacher samples"] == figures["SMS, 2-distilled, samples"] > 0
    assert abs(figures["SMS, 2-distilled, cost"] - samples["SMS"]) <= 2 * 3 * step
    assert figures["0.5, zeros"] == round(0.5 * figures["weights"])
    assert figures["SMS, greedy, 0.5-2"]["n"] == 1
    assert "| IMP-RePrune |" in page
    before = page
    assert page_of(load, "sparse_soups", [*arguments, "--write-only"], tmp_path, monkeypatch) == before


@pytest.mark.slow
def test_gradual_pruning_gives_every_method_the_same_examples(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, arms, words = load("gradual_pruning"), load("_gradual_arms"), load("_gradual_words")
    monkeypatch.setattr(script, "QUICK", replace(arms.QUICK, seeds=(0,), epochs=3))
    monkeypatch.setitem(arms.MADE, "RigL", partial(arms.MADE["RigL"], interval=10))  # else it exchanges nothing
    monkeypatch.setattr(load("_harness"), "MIN_SEEDS", 1)
    arguments = ["--data", str(tmp_path), "--work", str(tmp_path / "work"), "--quick", "--keep-noisy"]
    page = page_of(load, "gradual_pruning", arguments, tmp_path, monkeypatch)
    result = load("_result").load_all(tmp_path)["gradual_pruning.cpu"]
    assert result.figure("training samples of an arm") == [3 * 23 * 50]
    for method in words.METHODS:
        assert result.figure(f"{method}, 0.98, sparsity")["mean"] >= 100 * round(0.98 * 1184) / 1184
    assert "| RigL |" in page
    assert result.figure("steps/DNW over plain")["median"] > 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a system with CPU times of child processes")
def test_a_soup_by_workers_is_timed_against_the_same_soup_by_one_process(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--data", str(tmp_path), "--quick", "--keep-noisy"]
    page = page_of(load, "soup_parallel", arguments, tmp_path, monkeypatch)
    assert "A soup of 4 copies, whole time" in page
    result = load("_result").load_all(tmp_path)["soup_parallel.cpu"]
    ratio = result.figure("1 epochs/time with workers over time without")
    assert ratio["unit"] == "x"
    many, one = (result.figure(f"1 epochs/{name}, seconds")["median"] for name in ("2 workers", "one after another"))
    assert ratio["median"] == pytest.approx(many / one)
