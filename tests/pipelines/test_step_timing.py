"""Steps are timed in turns: who comes when, what is kept, and that the same step is not timed twice."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from paretorch.errors import ArtefactError, InputError
from paretorch.methods.method import Method
from paretorch.pipelines import comparison as comparisons
from paretorch.pipelines.step_timing import ROUNDS_PER_SEED, time_in_turns
from paretorch.recipes import load_recipe
from paretorch.training.trainer import Trainer
from tests.training.problems import Recorder, normed_task, plain

RECIPE = """
name = "timed"
task = "digits"
seeds = [0, 1]
[task_options]
hidden = [8]
[train]
batch_size = 100
[dense]
epochs = 1
[compare]
candidate = "a"
baseline = "b"
durations = [1, 2]
smaller = { hidden = [4] }
[[arm]]
name = "a"
sparsity = 0.5
schedule = "LLR"
[[arm]]
name = "b"
sparsity = 0.9
schedule = "FT"
"""


class Fake:
    """A trainer whose steps take as long as it is told, and that writes down when it was asked."""

    def __init__(self, name: str, calls: list[str], methods: list[Method] | None = None) -> None:
        self.name, self.calls, self.made, self.given = name, calls, 0, []
        self.own = methods or []
        self.task = self

    def methods(self) -> list[Method]:
        return self.own

    def rehearse(self, model: Any, *, num_steps: int, methods: list[Method]) -> float:
        self.calls.append(self.name)
        self.given.append((model, num_steps, list(methods)))
        self.made += 1
        return float(self.made)  # the first call, which only warms up, would be 1.0


def turns(seeds: list[int], *, rounds: int = ROUNDS_PER_SEED, names: str = "abc") -> tuple[list[str], Any]:
    calls: list[str] = []
    recipes = {name: (Fake(name, calls), None, ()) for name in names}
    return calls, time_in_turns(recipes, seeds=seeds, rounds=rounds)  # type: ignore[arg-type]


@pytest.mark.parametrize("seeds", [[0], [3, 1], [0, 1, 2], [0, 1, 2, 3]])
def test_every_round_holds_every_recipe_once(seeds: list[int]) -> None:
    calls, _ = turns(seeds)
    rounds = [calls[i : i + 3] for i in range(0, len(calls), 3)]
    assert len(rounds) == 1 + len(seeds) * ROUNDS_PER_SEED
    assert all(one in (["a", "b", "c"], ["c", "b", "a"]) for one in rounds)


@pytest.mark.parametrize("seeds", [[0], [3, 1], [0, 1, 2], [0, 1, 2, 3]])
def test_every_seed_has_as_many_rounds_in_either_order(seeds: list[int]) -> None:
    """Otherwise a machine that becomes slower within a round would favour the same recipe in all rounds of a seed."""
    calls, _ = turns(seeds)
    rounds = ["".join(calls[i : i + 3]) for i in range(0, len(calls), 3)][1:]
    for position in range(len(seeds)):
        assert Counter(rounds[position :: len(seeds)]) == {"abc": ROUNDS_PER_SEED / 2, "cba": ROUNDS_PER_SEED / 2}


def test_the_first_round_is_not_counted_and_the_others_go_to_the_seeds_in_turns() -> None:
    _, found = turns([5, 7], rounds=2)
    assert found == {name: {"5": [2.0, 4.0], "7": [3.0, 5.0]} for name in "abc"}


def test_a_step_is_rehearsed_with_the_methods_of_its_task_and_of_its_recipe() -> None:
    calls: list[str] = []
    own, added = Recorder("own", []), Recorder("added", [])
    fake, model = Fake("a", calls, [own]), nn.Linear(1, 1)
    time_in_turns({"a": (fake, model, (added,))}, seeds=[0], rounds=1, steps=3)  # type: ignore[dict-item]
    assert [(type(one), steps, methods) for one, steps, methods in fake.given] == [(nn.Linear, 3, [own, added])] * 2
    assert all(one is not model for one, _, _ in fake.given), "the steps of one turn change nothing for the next"


def test_times_are_those_of_real_steps() -> None:
    trainer = Trainer(normed_task(), plain(16))
    found = time_in_turns({"one": (trainer, trainer.model(), ())}, seeds=[0, 1], rounds=2, steps=2)
    assert [len(times) for times in found["one"].values()] == [2, 2]
    assert all(0 < seconds < 5 for times in found["one"].values() for seconds in times)


def test_a_rehearsal_runs_whole_steps_and_leaves_the_weights() -> None:
    calls: list[tuple[str, str, int]] = []
    trainer = Trainer(normed_task(), plain(16, momentum=0.9))
    model = trainer.model()
    before = [weight.detach().clone() for weight in model.parameters()]
    assert trainer.rehearse(model, num_steps=2, methods=[Recorder("r", calls)]) > 0
    hooks = [hook for _, hook, _ in calls]
    assert hooks.count("before_update") == hooks.count("after_update") == 2
    assert hooks[0] == "start"
    assert hooks[-1] == "finish"
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_rehearsal_of_a_recipe_that_diverges_ends_well() -> None:
    """How long its steps take can be known, and its run says that it diverged."""
    trainer = Trainer(normed_task(), plain(16, lr=1e30))
    model = trainer.model()
    for _ in range(3):
        assert trainer.rehearse(model, num_steps=10) > 0


def test_a_rehearsal_neither_writes_nor_evaluates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(normed_task(), plain(16, checkpoint_seconds=0.0))
    monkeypatch.setattr(Trainer, "evaluate", lambda *_: pytest.fail("evaluated"))
    monkeypatch.chdir(tmp_path)
    trainer.rehearse(trainer.model(), num_steps=9)  # an epoch has 4 steps
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("num_steps", [0, -3])
def test_a_rehearsal_without_a_step_is_refused(num_steps: int) -> None:
    trainer = Trainer(normed_task(), plain(16))
    with pytest.raises(InputError, match=f"num_steps = {num_steps} leaves nothing to time"):
        trainer.rehearse(trainer.model(), num_steps=num_steps)


@pytest.fixture
def comparison(tmp_path: Path) -> comparisons.Comparison:
    (tmp_path / "timed.toml").write_text(RECIPE)
    return load_recipe(str(tmp_path / "timed.toml")).comparison(data=None, command="test")


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names that were timed, call by call; each has its own number of seconds."""
    calls: list[list[str]] = []

    def fake(recipes: Any, *, seeds: Any) -> dict[str, dict[str, list[float]]]:
        calls.append(list(recipes))
        return {name: {str(s): [n + s, 9.0, n + s] for s in seeds} for n, name in enumerate(recipes, start=1)}

    monkeypatch.setattr(comparisons, "time_in_turns", fake)
    return calls


def test_steps_that_are_the_same_are_timed_once_and_the_time_is_shared(
    comparison: comparisons.Comparison, timed: list[list[str]], tmp_path: Path
) -> None:
    comparison.time_steps(tmp_path)
    assert [name.partition(":")[0] for name in timed[0]] == ["dense", "retrain", "dense"]  # and the smaller model's
    a, b, smaller, random = comparison.families
    for seed in (0, 1):
        times = [comparison.step_seconds(family, seed, tmp_path) for family in (a, b, random)]
        assert times == [{"dense": 1.0 + seed, "retrain": 2.0 + seed}] * 3
        assert comparison.step_seconds(smaller, seed, tmp_path) == {"dense": 3.0 + seed}


@pytest.mark.parametrize(
    "change",
    ["task_options", "batch_size", "optimizer", "clip_norm"],
)
def test_steps_that_may_differ_are_timed_apart(
    comparison: comparisons.Comparison, timed: list[list[str]], tmp_path: Path, change: str
) -> None:
    """The options of a task too: they may change how a batch is prepared, and nothing else that can be seen."""
    family = comparison.families[2]
    settings = {
        "task_options": family.settings,
        "batch_size": replace(family.settings, batch_size=50),
        "optimizer": replace(family.settings, optimizer=replace(family.settings.optimizer, name="adam")),
        "clip_norm": replace(family.settings, clip_norm=1.0),
    }[change]
    options = {**family.task_options, **({"flips": True} if change == "task_options" else {})}
    other = replace(family, name="other", settings=settings, task_options=options)
    replace(comparison, families=[*comparison.families, other]).time_steps(tmp_path)
    assert len(timed[0]) == len(set(timed[0])) == 4


def test_times_that_are_kept_are_used_again(
    comparison: comparisons.Comparison, timed: list[list[str]], tmp_path: Path
) -> None:
    comparison.time_steps(tmp_path)
    before = (tmp_path / "timing.json").read_bytes()
    comparison.time_steps(tmp_path)
    assert len(timed) == 1
    assert (tmp_path / "timing.json").read_bytes() == before


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_a_seed(path: Path) -> None:
    path.write_text(json.dumps({name: {"0": [1.0]} for name in json.loads(path.read_text())}))


def without_times(path: Path) -> None:
    path.write_text(json.dumps({name: {"0": [1.0], "1": []} for name in json.loads(path.read_text())}))


@pytest.mark.parametrize("damage", [cut_in_half, without_a_seed, without_times, Path.unlink])
def test_damaged_times_are_an_error_that_says_what_to_do(
    comparison: comparisons.Comparison, timed: list[list[str]], tmp_path: Path, damage: Any
) -> None:
    comparison.time_steps(tmp_path)
    damage(tmp_path / "timing.json")
    with pytest.raises(ArtefactError, match=r"timing\.json is damaged .*; remove it, and the steps are timed again"):
        comparison.step_seconds(comparison.families[0], 1, tmp_path)
