"""The benchmark of shared networks: figures and conclusions follow from the cells, and all of it runs at toy size."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretorch.errors import RunError

ROW = {"layer1": {"layers": ["layer1.1.conv1", "layer1.1.conv2"], "matrix": [[1.0, 0.4], [0.4, 1.0]]}}


@pytest.fixture
def words(load: Any) -> Any:
    return load("_shared_words")


def cells(arms: Any, levels: dict[str, float], *, folded: float = 0.0, seeds: int = 3) -> dict[Any, Any]:
    """Arms at the given accuracies, others at 0.8; folding adds `folded`."""
    found: dict[Any, Any] = {}
    for arm in arms:
        for seed in range(seeds):
            accuracy = levels.get(arm.name, 0.8) + 0.01 * seed
            one: dict[str, Any] = {"accuracy": accuracy, "parameters": 100, "samples": 42, "similarity": ROW}
            one["folded"] = {
                "accuracy": accuracy + 0.02 + folded, "accuracy_raw": accuracy - 0.1, "unfolded": accuracy + 0.02,
                "parameters": 60, "weights": 3, "layers": 18, "change": 0.01,
            }  # fmt: skip
            found.setdefault(arm.name, {})[seed] = one
    return found


def test_every_arm_is_compared_with_the_unshared_network_in_both_directions(load: Any, words: Any) -> None:
    arms = load("_shared_arms").FULL.arms
    figures = words.figures_of(arms, cells(arms, {"k = 1": 0.7, "k = 6": 0.85}))
    said = " ".join(words.conclusions(arms, figures))
    assert "above 0 at k = 6, below 0 at k = 1, not told apart from 0 at k = 2, k = 3" in said
    assert "of 8 paired differences" in said
    assert figures["k = 1 minus unshared"]["mean"] == pytest.approx(-10)
    assert figures["k = 3, similarity"]["mean"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("folded", "word"), [(0.002, "0.20 points on any seed, within"), (-0.004, "0.40 points on any seed, not within")]
)
def test_whether_folding_stays_within_the_bound_is_read_off_the_seeds(
    load: Any, words: Any, folded: float, word: str
) -> None:
    arms = load("_shared_arms").FULL.arms
    figures = words.figures_of(arms, cells(arms, {}, folded=folded))
    said = " ".join(words.conclusions(arms, figures))
    assert f"k = 2, recurrence: folding changes test accuracy by at most {word} 0.3 points." in said
    assert figures["k = 2, recurrence, folded minus unfolded"]["mean"] == pytest.approx(100 * folded)
    assert figures["k = 2, recurrence, folded minus unfolded, old statistics"]["mean"] == pytest.approx(-10)
    assert "k = 3, folded" not in figures, "nothing draws its layers together"


def test_counts_that_differ_between_seeds_are_refused(load: Any, words: Any) -> None:
    arms = load("_shared_arms").FULL.arms
    for key, where in (("parameters", "k = 4, parameters"), ("samples", "training samples of an arm")):
        found = cells(arms, {})
        found["k = 4"][2][key] += 1
        with pytest.raises(RunError, match=f"{where}: .* with seed 2"):
            words.figures_of(arms, found)


def test_arms_with_fewer_than_three_seeds_are_left_out(load: Any, words: Any) -> None:
    arms = load("_shared_arms").FULL.arms
    found = cells(arms, {})
    found["k = 4"] = {0: found["k = 4"][0]}
    figures = words.figures_of(arms, found)
    assert "k = 4" not in figures
    assert "k = 5" in figures
    assert ["k = 4"] not in [row[:1] for row in words.tables(arms, figures)[0]["rows"]]


def test_similarities_are_found_by_layer_and_place_in_the_stage(words: Any) -> None:
    assert words.matrix_of(ROW) == {
        "layer1.1.conv1": {"1.conv1": 1.0, "1.conv2": 0.4},
        "layer1.1.conv2": {"1.conv1": 0.4, "1.conv2": 1.0},
    }


@pytest.mark.slow
def test_shared_networks_are_trained_as_long_as_the_unshared_one_and_folded(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, arms = load("shared_networks"), load("_shared_arms")
    monkeypatch.setattr(script, "QUICK", replace(arms.QUICK, seeds=(0,), epochs=0.5))
    monkeypatch.setattr(script, "STEPS", 1)
    for module in ("_harness", "_shared_words"):
        monkeypatch.setattr(load(module), "MIN_SEEDS", 1)
    monkeypatch.setattr(load("_harness"), "RESULTS", tmp_path)
    arguments = ["--data", str(tmp_path), "--work", str(tmp_path / "work"), "--quick", "--keep-noisy"]
    monkeypatch.setattr(sys, "argv", ["shared_networks.py", *arguments])
    script.main()
    results = load("_result").load_all(tmp_path)
    result = results["shared_networks.cpu"]
    assert result.figure("training samples of an arm") == 12 * 50
    plain, shared = result.figure("unshared, parameters"), result.figure("k = 1, parameters")
    assert plain - shared == sum((2 - 1) * 9 * width**2 - 2 for width in (16, 32, 64))
    assert result.figure("k = 1, folded, weights") == 3
    assert abs(result.figure("k = 1, folded minus unfolded, old statistics")["mean"]) < 0.3
    assert result.figure("k = 1, folded minus unfolded")["mean"] == pytest.approx(0, abs=0.3)  # the same function
    assert result.figure("similarity/layer3.1.conv2/1.conv2") == 1
    assert result.figure("steps/k = 2 over unshared")["median"] > 0
    page = load("_page").page(results)
    assert "| k = 2, recurrence |" in page
    assert "**Similarity of layers within a stage: k = 2, seed 0**" in page
