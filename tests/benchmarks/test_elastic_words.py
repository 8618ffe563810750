"""Conclusions about elastic widths follow from the figures, whichever way these point."""

from pathlib import Path
from typing import Any

import pytest


def cells(words: Any, better: dict[str, float], *, seeds: int = 5) -> dict[int, dict[str, Any]]:
    """Cells in which DPOD has an accuracy of 0.8 and other arms differ from it by `better`, or by noise around 0."""
    made = {}
    for seed in range(seeds):
        arms: dict[str, Any] = {}
        for arm in words.ARMS:
            noise = 0.0 if arm in better or arm in words.CANDIDATES else 0.001 * (-1) ** seed
            accuracy = 0.8 + 0.01 * seed + better.get(arm, 0.0) + noise
            cost = {"macs": 3e12 if arm in words.SEPARATE else 1e11, "seconds": 10.0 + seed}
            one = {"before": accuracy, "after": accuracy, "profile": [4, 8], "params": 100, "macs": 90, "train": cost}
            arms[arm] = {words.label(budget): one for budget in words.BUDGETS}
            arms[arm]["choosing"] = {"macs": 1e10, "seconds": 0.5}
        runs = {
            run: {"train": {"macs": 2e12, "seconds": 20.0}, "accuracy": 0.9, "events": 7}
            for run in words.FAMILIES.values()
        }
        made[seed] = {"runs": runs, "arms": arms}
    return made


@pytest.fixture
def words(load: Any) -> Any:
    return load("_elastic_words")


def test_an_arm_is_called_better_or_worse_only_where_the_interval_excludes_zero(words: Any) -> None:
    weaker, stronger = "uniform OD, uniform widths", words.SCRATCH_UNIFORM
    found = {"digits": words.figures_of(cells(words, {weaker: -0.05, stronger: 0.02}))}
    before, after, *_ = words.conclusions(found)
    assert "of 18 paired comparisons it is better in 3, worse in 0, and not told apart in 15." in before
    assert "of 24 paired comparisons it is better in 3, worse in 3, and not told apart in 18." in after
    assert (
        f"Better than '{weaker}' (at 50 %, 25 % and 12 %). Worse than '{stronger}' (at 50 %, 25 % and 12 %)." in after
    )
    assert "Not told apart at any budget from 'single layer, searched', 'independent, searched'" in after
    assert f"Highest means: at 50 % '{stronger}', 25 % '{stronger}' and 12 % '{stronger}'." in after


def test_fewer_than_five_seeds_are_called_few(words: Any) -> None:
    few = words.conclusions({"digits": words.figures_of(cells(words, {}, seeds=3))})
    many = words.conclusions({"digits": words.figures_of(cells(words, {}))})
    assert "3 seeds only: low-n." in few[0]
    assert "low-n" not in " ".join(many)


def test_separate_trainings_are_a_multiple_of_all_that_the_family_cost(words: Any) -> None:
    made = cells(words, {})  # a family of 2 + 0.01 + 3 * 0.1 tera-MACs, and three trainings of 3
    assert "cost 3.90 times its training MACs" in words.conclusions({"digits": words.figures_of(made)})[-1]
    for cell in made.values():
        cell["runs"][words.EACH]["train"]["macs"] = 18e12 - 0.31e12
    assert "cost 0.50 times its training MACs" in words.conclusions({"digits": words.figures_of(made)})[-1]


def test_the_results_page_accepts_figures_and_tables(words: Any, load: Any, tmp_path: Any) -> None:
    figures = {"digits": words.figures_of(cells(words, {}))}
    load("_harness").write_result(
        "elastic_width",
        figures,
        tier="minutes",
        seeds=[0, 1, 2, 3, 4],
        command="python benchmarks/elastic_width.py",
        layout={"headlines": [], "tables": words.tables("digits")},
        root=tmp_path,
    )
    page = load("_page").page(load("_result").load_all(tmp_path))
    assert "| DPOD, one run | 82.0 ± 2.0 % |" in page


def test_the_conclusions_on_the_results_page_are_those_of_its_figures(words: Any, load: Any) -> None:
    folder = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
    result = load("_result").load_all(folder)["elastic_width.cpu"]
    said = words.conclusions({task: result.figures[task] for task in load("_elastic_problem").PROBLEMS})
    assert result.notes[: len(said)] == said
