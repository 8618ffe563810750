"""Searches: what a space may say, what trials are judged by and charged, and that a kill loses nothing."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from paretorch.errors import InputError
from paretorch.evidence.records import RunRecord, load_record
from paretorch.pipelines.sweep import Sweep
from paretorch.recipes import load_recipe
from paretorch.recipes.search_table import SearchTable
from paretorch.recipes.strict import validated
from paretorch.search import Search, SearchResult, Trial
from paretorch.training.loop import Loop

RECIPE = """
name = "tiny"
task = "digits"
task_options = { hidden = [8] }
seeds = [0]
[train]
batch_size = 64
lr = 0.05
[dense]
epochs = 1
schedule = "constant"
"""
ARM = """
[[arm]]
sparsity = 0.5
epochs = 1
schedule = "LLR"
"""
SPACE: dict[str, Any] = {
    "train.lr": {"low": 0.01, "high": 0.3, "log": True},
    "arm.sparsity": {"low": 0.2, "high": 0.9},
}
ROOT = Path(__file__).parents[1]


@pytest.fixture
def optuna() -> Any:
    return pytest.importorskip("optuna", reason="needs the search extra")


def table(**values: Any) -> SearchTable:
    return validated(SearchTable, {"trials": 3, "space": SPACE} | values, where="[search]")


def search(text: str = RECIPE + ARM, **values: Any) -> Search:
    """The search of a recipe that is written to a fresh folder."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.toml"
        path.write_text(text)
        return Search(load_recipe(str(path)), table(**values), data=None, command="test")


def records_of(out: Path, number: int, name: str = "imp-") -> list[RunRecord]:
    return [load_record(path) for path in sorted((out / "trials" / str(number) / "runs").glob(f"{name}*/record.json"))]


def learned(result: SearchResult) -> list[Any]:
    """What must be the same whenever a search is repeated: everything but times."""
    return [(trial.number, trial.values, trial.state, trial.objectives.get("validation")) for trial in result.trials]


def test_result_in_words_names_front_states_and_charges() -> None:
    none: dict[str, float | None] = {"steps": 0, "samples": 0, "seconds": 0.0}
    best = Trial(number=0, values={"train.lr": 0.123456789}, state="complete", objectives={"nonzeros": 7}, charge=none)
    worse = replace(best, number=1, objectives={"nonzeros": 8})
    lost = replace(best, number=2, state="diverged", objectives={})
    result = SearchResult(
        name="a",
        directions={"nonzeros": "minimize"},
        trials=(best, worse, lost),
        dense=none,
        total={"steps": None, "samples": 1234567, "seconds": 1.25},
        front=(0,),
    )
    assert result.lines() == [
        "3 trials (2 complete, 1 diverged); all training together: steps not known, samples 1,234,567, seconds 1.2",
        "Not beaten by any other trial (minimize nonzeros):",
        "  trial 0: train.lr = 0.123457: nonzeros = 7",
        "The best of many trials looks better than it is: repeat it with other seeds.",
    ]
    assert replace(result, trials=(lost,), front=()).lines()[1:] == ["No trial is complete."]


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r'pip install "paretorch\[search\]"'):
        search()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"train.lr": {"low": 0.0, "high": 0.3}}, r"'train.lr' at 0.0: train.lr = 0.0: Input should be greater than 0"),
        ({"arm.sparsity": {"low": 0.5, "high": 1.0}}, "'arm.sparsity' at 1.0: .*less than 1"),
        ({"arm.schedule": {"choices": ["LLR", "LRL"]}}, "'arm.schedule' at 'LRL'"),
        ({"train.optimizer": {"choices": ["sgd", "adma"]}}, "'train.optimizer' at 'adma'"),
        ({"train.batch_size": {"low": 16, "high": 100000}}, "'train.batch_size' at 100000"),
        ({"task_options.hiden": {"choices": [[4], [8]]}}, "has no option 'hiden' .did you mean 'hidden'"),
        ({"arm.sparsity": {"choices": [0.5, [0.6, 0.7]]}}, r"at \[0.6, 0.7\]: a search judges one arm, and here are 2"),
    ],
)
def test_value_that_the_recipe_would_refuse_is_refused_before_the_first_trial(
    optuna: Any, tmp_path: Path, space: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        search(space=space).run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_recipe_with_several_arms_is_refused(optuna: Any) -> None:
    with pytest.raises(InputError, match="recipe 'tiny': a search judges one arm, and here are 2"):
        search(RECIPE + ARM.replace("0.5", "[0.5, 0.6]"), space={"train.lr": {"low": 0.1, "high": 0.2}})


@pytest.mark.slow
def test_trials_are_judged_on_validation_and_charged_and_the_front_is_theirs(optuna: Any, tmp_path: Path) -> None:
    objectives = ["validation", "nonzeros", "macs_nonzero", "total_bytes", "seconds"]
    text = RECIPE.replace("seeds = [0]", "seeds = [0, 3]") + ARM
    result = search(text, objectives=objectives).run(tmp_path / "out")
    assert [trial.number for trial in result.trials] == [0, 1, 2]
    assert result.directions == {"validation": "maximize", **dict.fromkeys(objectives[1:], "minimize")}
    for trial in result.trials:
        assert trial.state == "complete"
        assert 0.01 <= trial.values["train.lr"] <= 0.3
        assert 0.2 <= trial.values["arm.sparsity"] <= 0.9
        records = records_of(tmp_path / "out", trial.number)
        assert [record.seed for record in records] == [0, 3]
        assert all(record.group["sparsity"] == trial.values["arm.sparsity"] for record in records)
        assert trial.objectives == {
            "validation": fmean(record.validation or 0.0 for record in records),
            "nonzeros": fmean(record.cost["nonzeros"] for record in records),
            "macs_nonzero": fmean(record.cost["macs_nonzero"] for record in records),
            "total_bytes": fmean(record.cost["payload_bytes"] + record.cost["metadata_bytes"] for record in records),
            "seconds": fmean(record.cost["seconds"] for record in records),
        }
        phases = [phase for record in records for phase in record.phases if "samples" in phase]
        assert trial.charge["samples"] == sum(phase["samples"] for phase in phases)
        assert trial.charge["steps"] == sum(phase["steps"] for phase in phases) == 2 * 2 * (phases[0]["steps"])
        assert trial.charge["seconds"] == pytest.approx(sum(record.cost["seconds"] for record in records))
    for name in ("steps", "samples", "seconds"):
        assert result.total[name] == pytest.approx(sum(trial.charge[name] or 0.0 for trial in result.trials))
    assert json.loads((tmp_path / "out" / "search.json").read_text()) == json.loads(json.dumps(asdict(result)))
    assert set(result.front) == undominated(result)


def undominated(result: SearchResult) -> set[int]:
    """The front by its definition, every pair compared."""
    signs = [-1 if direction == "maximize" else 1 for direction in result.directions.values()]
    points = {
        trial.number: [sign * value for sign, value in zip(signs, trial.objectives.values(), strict=True)]
        for trial in result.trials
        if trial.state == "complete"
    }

    def beats(a: list[float], b: list[float]) -> bool:
        return a != b and all(x <= y for x, y in zip(a, b, strict=True))

    return {number for number, point in points.items() if not any(beats(other, point) for other in points.values())}


@pytest.mark.slow
def test_search_is_repeated_by_its_seed_and_changed_by_another(optuna: Any, tmp_path: Path) -> None:
    first, again, other = (
        search(trials=2, seed=seed).run(tmp_path / name) for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert learned(first) == learned(again)
    assert [trial.values for trial in first.trials] != [trial.values for trial in other.trials]
    assert first.trials[0].values != first.trials[1].values


@pytest.mark.slow
def test_where_only_the_arm_is_searched_the_dense_models_are_trained_once(
    optuna: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = RECIPE.replace("seeds = [0]", "seeds = [0, 3]") + ARM
    steps = []
    original = Loop._step
    monkeypatch.setattr(Loop, "_step", lambda loop: (steps.append(loop.phase), original(loop))[1])
    result = search(text, trials=2, space={"arm.sparsity": SPACE["arm.sparsity"]}).run(tmp_path / "out")
    assert steps.count("dense") == result.dense["steps"] == 2 * (steps.index("retrain-0") // 2)
    assert steps.count("retrain-0") == sum(trial.charge["steps"] or 0 for trial in result.trials)
    assert result.total["steps"] == len(steps)
    assert result.dense["seconds"] == pytest.approx(
        sum(record.cost["seconds"] for record in records_of(tmp_path / "out", 1, "dense"))
    )


@pytest.mark.slow
@pytest.mark.parametrize("space", [SPACE, {"arm.sparsity": SPACE["arm.sparsity"]}])
def test_recipe_of_a_trial_repeats_it(optuna: Any, tmp_path: Path, space: dict[str, Any]) -> None:
    result = search(trials=1, space=space).run(tmp_path / "out")
    records = load_recipe(str(tmp_path / "out" / "trials" / "0.toml")).sweep(data=None, command="").run(tmp_path / "r")
    assert records[-1].validation == result.trials[0].objectives["validation"]


@pytest.mark.slow
def test_without_an_arm_the_dense_model_is_judged(optuna: Any, tmp_path: Path) -> None:
    result = search(RECIPE, trials=2, space={"train.batch_size": {"low": 32, "high": 64}}).run(tmp_path / "out")
    for trial in result.trials:
        assert isinstance(trial.values["train.batch_size"], int)
        (dense,) = records_of(tmp_path / "out", trial.number, "dense")
        assert trial.objectives == {"validation": dense.validation}


def interrupting(monkeypatch: pytest.MonkeyPatch, when: Callable[[Path], bool]) -> None:
    """Ctrl-C after, but not during, the runs of the sweeps that are chosen."""
    original = Sweep.run

    def run(self: Sweep, out: Path, *, resume: bool = False) -> list[RunRecord]:
        records = original(self, out, resume=resume)
        if when(out):
            raise KeyboardInterrupt
        return records

    monkeypatch.setattr(Sweep, "run", run)


@pytest.mark.slow
def test_interrupted_search_is_finished_with_the_missing_trials_only(
    optuna: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search().run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupting(patch, lambda out: out.name == "1")
        with pytest.raises(KeyboardInterrupt):
            search().run(tmp_path / "cut")
    assert len(json.loads((tmp_path / "cut" / "search.json").read_text())["trials"]) == 1
    untouched = (tmp_path / "cut" / "trials" / "0" / "recipe.toml").stat().st_mtime_ns
    resumed = search().run(tmp_path / "cut", resume=True)
    assert learned(resumed) == learned(whole)
    assert (resumed.total["steps"], resumed.total["samples"]) == (whole.total["steps"], whole.total["samples"])
    assert (tmp_path / "cut" / "trials" / "0" / "recipe.toml").stat().st_mtime_ns == untouched
    assert search().run(tmp_path / "cut", resume=True) == resumed, "nothing is left to do"


@pytest.mark.slow
def test_search_killed_in_the_middle_of_a_trial_is_finished_as_if_nothing_had_happened(
    optuna: Any, tmp_path: Path
) -> None:
    code = (
        "import os, pathlib, sys, tests.test_search as t; from paretorch.training.loop import Loop\n"
        "step = Loop._step\n"
        "def killing(self):\n"
        "    at = self.trainer.directory.path\n"
        "    if at.parts[-3] == '1' and at.name.startswith('imp') and self.run.step == 5: os.kill(os.getpid(), 9)\n"
        "    step(self)\n"
        "Loop._step = killing\n"
        "t.search(trials=2).run(pathlib.Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "cut")]
    killed = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "cut" / "trials" / "1").is_dir()
    resumed = search(trials=2).run(tmp_path / "cut", resume=True)
    assert learned(resumed) == learned(search(trials=2).run(tmp_path / "whole"))


@pytest.mark.slow
def test_more_trials_may_be_asked_for_and_nothing_else_may_change(optuna: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    search(trials=1).run(out)
    assert len(search(trials=2).run(out, resume=True).trials) == 2
    with pytest.raises(InputError, match="already holds a run; pass --resume"):
        search(trials=2).run(out)
    for changed in ({"seed": 1}, {"objectives": ["nonzeros"]}, {"space": {"train.lr": {"low": 0.01, "high": 0.3}}}):
        with pytest.raises(InputError, match="holds the run of another recipe"):
            search(trials=2, **changed).run(out, resume=True)
    with pytest.raises(InputError, match="holds the run of another recipe"):
        search(RECIPE.replace("[8]", "[9]") + ARM, trials=2).run(out, resume=True)


@pytest.mark.slow
def test_folder_and_storage_must_belong_together(optuna: Any, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/shared.db"
    search(trials=1, storage=storage).run(tmp_path / "a")
    assert not (tmp_path / "a" / "search.db").exists()
    with pytest.raises(InputError, match="holds 1 trials of this search, and trial 0 is not in"):
        search(trials=1, storage=storage).run(tmp_path / "b")
    with pytest.raises(InputError, match="does not hold trial 0 of"):
        search(trials=1).run(tmp_path / "a", resume=True)
    assert len(search(trials=2, storage=storage).run(tmp_path / "a", resume=True).trials) == 2
    other = search(RECIPE.replace("[8]", "[9]") + ARM, trials=1, storage=storage).run(tmp_path / "c")
    assert len(other.trials) == 1, "another recipe is another study of the same storage"


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["nonsense", "sqlite:////no/such/folder/x.db", "foo://bar"])
def test_storage_that_cannot_be_opened_is_named(optuna: Any, tmp_path: Path, storage: str) -> None:
    with pytest.raises(InputError, match=f"the storage '{storage}' cannot be opened"):
        search(storage=storage).run(tmp_path / "out")


@pytest.mark.slow
def test_trial_that_diverges_is_charged_what_it_was_granted_and_is_not_on_the_front(
    optuna: Any, tmp_path: Path
) -> None:
    space = {"arm.lr": {"choices": [0.01, 1e30]}, "arm.sparsity": SPACE["arm.sparsity"]}
    result = search(trials=4, seed=1, space=space).run(tmp_path / "out")
    diverged = [trial for trial in result.trials if trial.values["arm.lr"] == 1e30]
    complete = [trial for trial in result.trials if trial.values["arm.lr"] == 0.01]
    assert diverged
    assert complete
    assert {trial.state for trial in diverged} == {"diverged"}
    assert {trial.state for trial in complete} == {"complete"}
    for trial in diverged:
        assert trial.objectives == {}
        assert trial.note.startswith("loss = nan at step")
        assert trial.charge["steps"] == complete[0].charge["steps"]
        assert trial.charge["samples"] == complete[0].charge["samples"]
        assert (trial.charge["seconds"] or 0.0) > 0
    assert result.total["steps"] == (result.dense["steps"] or 0) + 4 * (complete[0].charge["steps"] or 0)
    assert set(result.front) <= {trial.number for trial in complete}


@pytest.mark.slow
def test_values_that_do_not_go_together_cost_a_trial_but_nothing_else(optuna: Any, tmp_path: Path) -> None:
    space = {"train.batch_size": {"choices": [64, 63]}, "train.accumulate": {"choices": [1, 2]}}
    result = search(trials=6, space=space).run(tmp_path / "out")
    refused = [trial for trial in result.trials if trial.state == "refused"]
    assert refused
    assert all(trial.values == {"train.batch_size": 63, "train.accumulate": 2} for trial in refused)
    assert all(trial.note.startswith("accumulate=2 must divide batch_size=63") for trial in refused)
    assert all(set(trial.charge.values()) == {0} for trial in refused)


@pytest.mark.slow
def test_plan_names_trials_directions_and_ranges(optuna: Any) -> None:
    plan = search(objectives=["validation", "seconds"]).plan()
    assert plan[0] == "3 trials, maximize validation, minimize seconds"
    assert plan[1] == 'train.lr: {"low": 0.01, "high": 0.3, "log": true}'
    assert plan[3] == "each trial, at the recipe's own values:"
    assert any("1 seeds x (1 dense model + 1 arms)" in line for line in plan)
    shared = search(space={"arm.sparsity": SPACE["arm.sparsity"]}).plan()
    assert shared[2] == "each trial, at the recipe's own values; all trials share the dense models:"
