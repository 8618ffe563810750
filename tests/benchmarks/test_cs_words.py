"""Figures and conclusions about continuous sparsification follow from the results of the cells."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretorch.errors import RunError


@pytest.fixture
def words(load: Any) -> Any:
    return load("_cs_words")


@pytest.fixture
def tasks(load: Any) -> Any:
    """Fashion-MNIST, and a distance of which less is better."""
    problem = load("_cs_problem")
    return replace(problem.FASHION, sparsities=(0.9, 0.98)), replace(problem.DIFFUSION, sparsities=(0.9,))


def cells(words: Any, task: Any, levels: dict[str, float], *, seeds: int = 5) -> dict[Any, Any]:
    """Arms at the given qualities, others at 0.8; half of the gates of the fixed temperature are undecided."""
    found = {
        (arm, sparsity): {
            seed: {
                "quality": levels.get(arm, 0.8) + 0.01 * seed,
                "zeros": round(1000 * sparsity),
                "weights": 1000,
                "samples": 21 if arm == words.SEARCH_SHORT else 42,
                **({"undecided": 0.5 if arm == words.FIXED else 0.1, "open": 0.1} if arm in words.GATED else {}),
            }
            for seed in range(seeds)
        }
        for arm in (*words.ARMS, *words.TICKET_ARMS)
        for sparsity in task.sparsities
    }
    dense = {seed: {"quality": 0.9, "samples": 42, "references": {"real against real": 0.5}} for seed in range(seeds)}
    return found | {("dense", 0.0): dense}


def test_differences_are_told_in_both_directions_and_a_distance_says_which_is_better(words: Any, tasks: Any) -> None:
    levels = {words.CS: 0.7, words.TUNED: 0.9, words.SEARCH_LONG: 0.85}
    figures = {task.name: words.figures_of(task, cells(words, task, levels)) for task in tasks}
    said = words.conclusions(tasks, figures)
    assert "Fashion-MNIST, CS minus BIMP: below 0 at 90 % and 98 %." in said
    assert "Fashion-MNIST, CS minus dense: below 0 at 90 % and 98 %." in said
    assert "Fashion-MNIST, CS, fine-tuned minus BIMP: above 0 at 90 % and 98 %." in said
    tickets = "Fashion-MNIST, search, 1 round minus IMP with rewinding, 1 round"
    assert f"{tickets}: not told apart from 0 at 90 % and 98 %." in said
    assert "diffusion, CS minus BIMP (a distance: below 0 is better): below 0 at 90 %." in said
    orders = [sentence for sentence in said if "means at" in sentence]
    assert orders[0].startswith("Fashion-MNIST, means at 90 %, best first: CS, fine-tuned; search, 3 rounds; ")
    assert orders[-1].startswith("diffusion, means at 90 %, best first: CS; ")
    assert orders[-1].endswith("; CS, fine-tuned.")
    assert "half the epochs" not in " ".join(orders), "it costs less"
    assert "of 39 paired differences" in said[-1]


def test_figures_hold_points_of_accuracy_distances_gates_and_costs(words: Any, tasks: Any) -> None:
    fashion, diffusion = (words.figures_of(task, cells(words, task, {words.CS: 0.7})) for task in tasks)
    assert fashion["CS minus BIMP, 0.9"]["mean"] == pytest.approx(-10)
    assert fashion["CS minus BIMP, 0.9"]["unit"] == "percentage points"
    assert diffusion["CS minus BIMP, 0.9"]["mean"] == pytest.approx(-0.1)
    assert diffusion["real against real"]["mean"] == 0.5
    assert "real against real" not in fashion
    assert fashion["CS, fixed temperature, 0.98, undecided"]["mean"] == pytest.approx(50)
    assert fashion[f"{words.SEARCH_SHORT}, training samples"] == 21
    assert fashion["0.98, zeros"] == 980


def test_arms_with_fewer_than_three_seeds_are_left_out(words: Any, tasks: Any) -> None:
    task = tasks[0]
    found = cells(words, task, {})
    found[words.CS, 0.9] = {0: found[words.CS, 0.9][0]}
    figures = {task.name: words.figures_of(task, found)}
    own = figures[task.name]
    assert "CS, 0.9" not in own
    assert "CS minus BIMP, 0.9" not in own
    assert "CS, 0.9, undecided" not in own
    assert "CS, 0.98" in own
    first = words.tables([task], figures)[0]
    assert first["columns"] == ["task", "sparsity", "dense", *words.ARMS]
    assert first["rows"][0][:3] == ["Fashion-MNIST", "90 %", {"figure": "Fashion-MNIST/dense"}]
    assert first["rows"][0][3] is not None
    assert first["rows"][0][3 + words.ARMS.index(words.CS)] is None
    claims = [line["claim"] for line in words.headlines([task], figures)]
    assert "Fashion-MNIST, 98 % sparsity, equal epochs: CS minus BIMP" in claims
    assert "Fashion-MNIST, 98 % sparsity: CS minus BIMP, equal time" in claims
    assert "Fashion-MNIST, 90 % sparsity, equal epochs: CS minus BIMP" not in claims


def test_a_count_that_differs_between_seeds_is_refused(words: Any, tasks: Any) -> None:
    task = tasks[0]
    found = cells(words, task, {})
    found[words.CS, 0.9][3] = found[words.CS, 0.9][3] | {"zeros": 901}
    with pytest.raises(RunError, match=r"^0\.9, zeros: 901 with seed 3, and 900 elsewhere"):
        words.figures_of(task, found)


def test_the_setting_that_is_best_on_validation_is_chosen_where_less_is_better_too(load: Any, tmp_path: Path) -> None:
    script, arms, problem = load("continuous_sparsification"), load("_cs_arms"), load("_cs_problem")
    results = {}
    for task in (problem.FASHION, problem.DIFFUSION):
        for sparsity, arm in ((sparsity, arm) for sparsity in task.search_at for arm in arms.tried(task)):
            for number, options in enumerate(arms.tried(task)[arm]):
                name = script.name_of_trial(task, arm, sparsity, options)
                results[name] = {"validation": (0.1 if sparsity == 0.9 else -0.1) * number}
    best = script.chosen(results, False)
    first, last, noisy = problem.FASHION.tried[0], problem.FASHION.tried[-1], problem.DIFFUSION
    assert best["Fashion-MNIST", "CS", 0.9] == last
    assert best["Fashion-MNIST", "CS", 0.98] == first
    assert best["Fashion-MNIST", "BIMP", 0.9] == {"cycles": 3}
    assert best["Fashion-MNIST", "CS, fixed temperature", 0.9] == problem.FIXED_PULLS[-1]
    assert noisy.search_at == (0.8,)
    assert best["diffusion", "CS", 0.9] == noisy.tried[-1]
    assert not any(name == problem.CIFAR.name for name, _, _ in best)
    classifier = tmp_path / "model.safetensors"
    classifier.write_bytes(b"one")
    planned = {cell.name: cell for cell in script.grid(False, tmp_path, tmp_path, best)}
    assert planned["Fashion-MNIST-CS_fine-tuned-0.98-s0"].parameters["options"] == first
    assert planned["Fashion-MNIST-BIMP_equal_time-0.98-s0"].parameters["options"] == {"cycles": 1}
    assert planned["Fashion-MNIST-IMP_with_rewinding_1_round-0.98-s0"].parameters["options"] == {}, "needs no search"
    assert "CIFAR-10_16x16-dense-0-s0" in planned
    assert "CIFAR-10_16x16-BIMP-0.9-s0" not in planned, "its search is not finished"
    assert "diffusion-BIMP_equal_time-0.8-s0" not in planned, "its steps were not timed"
    classifier.write_bytes(b"other")
    again = {cell.name: cell for cell in script.grid(False, tmp_path, tmp_path, best)}
    for name, cell in planned.items():
        assert (again[name].parameters == cell.parameters) == (not name.startswith(("diffusion", "DCGAN"))), name
