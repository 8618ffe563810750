"""Figures and conclusions about sparse soups follow from the results of the cells, whichever way these point."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def words(load: Any) -> Any:
    return load("_soup_words")


@pytest.fixture
def problem(load: Any) -> Any:
    return load("_soup_problem").FASHION


def cell(words: Any, arm: str, accuracy: float, *, teacher: int = 0) -> dict[str, Any]:
    read = words.READ if arm == words.SOUP else (arm,)
    return {
        "accuracy": {name: accuracy - 0.01 * index for index, name in enumerate(read)},
        "zeros": 90,
        "weights": 100,
        "samples": 3000,
        "teacher_samples": teacher,
        "path_samples": 1000,
        "path_teacher_samples": teacher // 3,
    }


def cells(words: Any, problem: Any, *, seeds: int) -> dict[Any, Any]:
    """SMS at 0.85 and IMP with as many epochs at 0.83, with noise that pairs remove; distilled, both are lower."""
    made: dict[Any, Any] = {}
    for setting in words.settings_of(problem):
        for arm, level in ((words.SOUP, 0.85), (words.LONG, 0.83)):
            lower, teacher = (0.02, 900) if setting.distilled else (0.0, 0)
            made[arm, setting] = {
                seed: cell(words, arm, level - lower + 0.01 * seed, teacher=teacher) for seed in range(seeds)
            }
    return made


def test_a_soup_is_said_to_lie_above_or_below_where_it_does(words: Any, problem: Any) -> None:
    found = cells(words, problem, seeds=5)
    figures = words.figures_of(problem, found)
    assert figures["SMS minus IMP 3x, 0.9-3"]["mean"] == pytest.approx(2)
    said = words.conclusions(problem, figures)
    everywhere = (
        "90 % in 3 cycles, 95 % in 3 cycles, 98 % in 3 cycles, 90 % in 3 cycles with a teacher, "
        "95 % in 3 cycles with a teacher, 98 % in 3 cycles with a teacher, 90 % in 1 cycle"
    )
    assert said[0].startswith(f"Fashion-MNIST, SMS minus IMP 3x: above 0 at {everywhere}")
    assert "Fashion-MNIST, SMS, distilled minus plain: below 0 at 90 % in 3 cycles, 95 % in 3 cycles" in " ".join(said)
    for seeds in found.values():
        for one in seeds.values():
            one["accuracy"] = {name: -value for name, value in one["accuracy"].items()}
    assert "SMS minus IMP 3x: below 0 at" in words.conclusions(problem, words.figures_of(problem, found))[0]


def test_settings_with_fewer_than_three_seeds_are_left_out(words: Any, problem: Any) -> None:
    assert "SMS, 0.9-3" not in words.figures_of(problem, cells(words, problem, seeds=2))
    assert words.figures_of(problem, cells(words, problem, seeds=3))["SMS, 0.9-3"]["n"] == 3


def test_a_difference_rests_on_the_seeds_that_both_arms_have(words: Any, problem: Any) -> None:
    found = cells(words, problem, seeds=5)
    setting = words.Setting(0.9, 3, False)
    del found[words.LONG, setting][1]
    figures = words.figures_of(problem, found)
    assert figures["SMS minus IMP 3x, 0.9-3"]["n"] == 4
    assert figures["SMS, 0.9-3"]["n"] == 5


def test_a_teachers_samples_count_a_third_in_all_and_on_the_longest_path(words: Any, problem: Any) -> None:
    figures = words.figures_of(problem, cells(words, problem, seeds=3))
    assert figures["SMS, 3-distilled, cost"] == 3000 + 300
    assert figures["SMS, 3-distilled, longest path"] == 1000 + 100
    assert figures["SMS, 3, cost"] == 3000


def test_the_results_page_accepts_figures_and_tables(words: Any, problem: Any, load: Any, tmp_path: Path) -> None:
    figures = words.figures_of(problem, cells(words, problem, seeds=3))
    load("_harness").write_result(
        "sparse_soups",
        {problem.name: figures},
        tier="minutes",
        seeds=[0, 1, 2],
        command="python benchmarks/sparse_soups.py",
        layout={"headlines": [], "tables": words.tables(problem, figures)},
        root=tmp_path,
    )
    page = load("_page").page(load("_result").load_all(tmp_path))
    assert "| 90 % | 86.0 ± 2.5 % † |" in page
    assert "| SMS | 3,000 | 900 | 3,300 | 1,100 |" in page
    assert "IMP-RePrune" not in page  # nothing is known of it
