"""Figures and conclusions about sharing on grid paths follow from the results of the cells, whichever way."""

import math
import sys
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from paretorch.errors import RunError


@pytest.fixture
def words(load: Any) -> Any:
    return load("_recurrence_words")


def cell(larger: float, *, folded: float = 0.0) -> dict[str, Any]:
    return {
        "larger": larger,
        "small": 0.9,
        "solved": 0.1,
        "parameters": 1000,
        "samples": 4000,
        "similarity": 0.5,
        "weights": 2,
        "folded": larger + folded,
        "folded_parameters": 800,
    }


def cells(words: Any, *, seeds: int = 5, folded: float = 0.0) -> dict[str, dict[int, Any]]:
    """Soft sharing with a penalty at 0.8, the others at 0.7; noise that pairs remove."""
    level = {arm: 0.8 if arm == words.PENALTY else 0.7 for arm in words.ARMS}
    return {arm: {seed: cell(level[arm] + 0.01 * seed, folded=folded) for seed in range(seeds)} for arm in words.ARMS}


PATTERNS = [{"larger": value, "samples": 4000} for value in (0.6, 0.9, 0.7, 0.75)]


def test_an_arm_is_said_to_lie_above_or_below_where_it_does(words: Any) -> None:
    figures = words.figures_of(cells(words), PATTERNS)
    assert figures["soft with penalty minus unshared, larger"]["mean"] == pytest.approx(10)
    said = words.conclusions(figures)
    assert said[0] == (
        "soft with penalty minus unshared: above 0 at larger grids, "
        "not told apart from 0 at grids of the size of training."
    )
    found = cells(words)
    for own in found.values():
        for one in own.values():
            one["larger"] = -one["larger"]
    assert "unshared: below 0 at larger grids" in words.conclusions(words.figures_of(found, PATTERNS))[0]


@pytest.mark.parametrize("key", ["parameters", "samples"])
def test_counts_that_differ_between_seeds_are_refused(words: Any, key: str) -> None:
    found = cells(words)
    found[words.HARD][4][key] += 1
    with pytest.raises(RunError, match=f"{found[words.HARD][4][key]} with seed 4, and "):
        words.figures_of(found, PATTERNS)


def test_a_pattern_that_was_trained_longer_than_the_arms_is_refused(words: Any) -> None:
    with pytest.raises(RunError, match="training samples of one training: 4001"):
        words.figures_of(cells(words), [*PATTERNS, {"larger": 0.9, "samples": 4001}])


def test_trainings_that_a_search_needs_are_those_of_an_enumeration(words: Any) -> None:
    values = [one["larger"] for one in PATTERNS]
    best = {n: fmean(max(chosen) for chosen in combinations(values, n)) for n in range(1, 5)}
    for wanted in (0.5, 0.7, 0.8, 0.85, 0.9):
        assert words.needed(values, wanted) == min(n for n in best if best[n] >= wanted - 1e-12)
    assert words.needed(values, 0.91) == "more than 4"
    figures = words.figures_of(cells(words), PATTERNS)
    assert figures["random search, best of 2"]["mean"] == pytest.approx(100 * best[2])
    assert figures["random search, trainings to reach soft with penalty"] == words.needed(values, 0.82)
    assert "what the best of 3 random patterns is expected to reach" in " ".join(words.conclusions(figures))


def test_folding_is_said_to_be_near_only_if_every_seed_is(words: Any) -> None:
    said = words.conclusions(words.figures_of(cells(words, folded=-0.002), PATTERNS))
    assert "Folding, soft: within 0.3 points of the unfolded model with every seed." in said
    found = cells(words, folded=-0.002)
    found["soft"][3]["folded"] -= 0.002
    said = words.conclusions(words.figures_of(found, PATTERNS))
    assert "Folding, soft: not within 0.3 points of the unfolded model with every seed." in said


def test_arms_with_fewer_than_three_seeds_are_left_out(words: Any) -> None:
    found = cells(words)
    found["one weight"] = {seed: found["one weight"][seed] for seed in (0, 1)}
    figures = words.figures_of(found, PATTERNS[:2])
    assert "one weight, larger" not in figures
    assert "soft with penalty minus one weight, larger" not in figures
    assert not [name for name in figures if name.startswith("random search")]
    assert words.tables(figures)[0]["rows"][1][0] == "soft"


def test_numbers_of_trainings_are_powers_of_two_and_all(words: Any) -> None:
    assert words.tried(16) == [1, 2, 4, 8, 16]
    assert words.tried(12) == [1, 2, 4, 8, 12]
    assert words.tried(1) == [1]


def test_patterns_have_as_many_weights_as_a_uniform_draw_and_then_cells_of_it_would(load: Any) -> None:
    """P(one weight) = mean over k = 1..L of k^(1 - L)."""
    draw, layers = load("_recurrence_arms").random_pattern, 4
    stream = torch.Generator().manual_seed(0)
    drawn = [draw(layers, generator=stream) for _ in range(4000)]
    assert all(len(labels) == layers and max(labels) < layers for labels in drawn)
    expected = fmean(k ** (1 - layers) for k in range(1, layers + 1))
    found = fmean(len(set(labels)) == 1 for labels in drawn)
    assert abs(found - expected) < 4 * math.sqrt(expected * (1 - expected) / 4000)


@pytest.mark.slow
def test_the_benchmark_runs_at_toy_size_and_charges_every_training_alike(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load("_harness"), "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["implicit_recurrence.py", "--quick", "--work", str(tmp_path / "work")])
    load("implicit_recurrence").main()
    result = load("_result").load_all(tmp_path)["implicit_recurrence.cpu"]
    assert result.figure("training samples of one training") == 2 * 80
    shared = result.figure("one weight, parameters")
    assert result.figure("unshared, parameters") - shared == 2 * 4 * 4 * 9  # two of three convolutions
    assert result.figure("soft, parameters") == shared + 4 * 4 * 9 + 3 * 2  # one template more, and coefficients
    assert result.figure("random search, patterns") == 3
    page = load("_page").page(load("_result").load_all(tmp_path))
    assert "| soft with penalty | unshared | " in page
    assert "Which layers became one" in page
