"""Figures and conclusions about gradual pruning follow from the results of the cells."""

from typing import Any

import pytest


@pytest.fixture
def words(load: Any) -> Any:
    return load("_gradual_words")


def cells(words: Any, levels: dict[str, float], *, seeds: int = 5) -> dict[Any, Any]:
    """Methods at the given accuracies, others at 0.8; STR left fewer zeros than were wanted before the last pruning."""
    return {
        (method, sparsity): {
            seed: {
                "accuracy": levels.get(method, 0.8) + 0.01 * seed,
                "zeros": round(1000 * sparsity),
                "before": 500 if method == "STR" else round(1000 * sparsity),
                "weights": 1000,
                "samples": 42,
            }
            for seed in range(seeds)
        }
        for method in words.METHODS
        for sparsity in words.SPARSITIES
    }


def test_every_method_is_compared_with_bimp_in_both_directions(words: Any) -> None:
    figures = words.figures_of(cells(words, {"DPF": 0.85, "GSM": 0.7}))
    said = " ".join(words.conclusions(figures))
    assert "BIMP minus DPF: below 0 at 90 %, 95 % and 98 %." in said
    assert "BIMP minus GSM: above 0 at 90 %, 95 % and 98 %." in said
    assert "BIMP minus GMP: not told apart from 0 at" in said
    assert "Means at 98 %, highest first: DPF, BIMP," in said
    assert "of 24 paired differences" in said


def test_the_sparsity_that_a_method_left_stands_beside_the_one_it_has_in_the_end(words: Any) -> None:
    figures = words.figures_of(cells(words, {}))
    assert figures["STR, 0.98, sparsity"]["mean"] == pytest.approx(98)
    assert figures["STR, 0.98, sparsity before the last pruning"]["mean"] == pytest.approx(50)


def test_methods_with_fewer_than_three_seeds_are_left_out(words: Any) -> None:
    found = cells(words, {})
    found["GMP", 0.9] = {0: found["GMP", 0.9][0]}
    figures = words.figures_of(found)
    assert "GMP, 0.9" not in figures
    assert "GMP, 0.95" in figures
    shown = words.tables(figures)
    assert shown[0]["rows"][1][:2] == ["GMP", None]


def test_the_value_that_is_best_on_validation_is_chosen_for_each_sparsity(load: Any) -> None:
    script = load("gradual_pruning")
    values = script.SEARCH["STR"][1]
    results = {f"search-STR-{value:g}": {"0.9": 0.8 + value, "0.95": 0.8, "0.98": 0.8 - value} for value in values}
    best = script.chosen(results)
    assert best["STR", 0.9] == {"threshold_decay": max(values)}
    assert best["STR", 0.98] == {"threshold_decay": min(values)}
    assert best["STR", 0.95] == {"threshold_decay": values[0]}
    assert ("DST", 0.9) not in best
    names = [cell.name for cell in script.grid(True, None, best)]
    assert "STR-0.9-s0" in names
    assert not [name for name in names if name.startswith("DST")]
