"""The best of several learning rates: what is chosen, what is charged, and what a diverging trial costs."""

import math
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from paretorch.errors import NotFiniteError
from paretorch.pipelines.run_writer import Trained
from paretorch.pipelines.tuning import Tuned, tuned
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer
from tests.training.problems import linear_task, normed_task, plain

EPOCHS = 2.5  # of 4 steps


def phase(steps: int, validation: float, **others: Any) -> dict[str, Any]:
    entry = {"steps": steps, "epochs": steps / 4, "samples": 16 * steps, "seconds": steps / 8, "kind": "retrain"}
    return entry | {"validation": validation} | others


class Trials:
    """`run` for `tuned`: a trial whose validation is looked up, and that remembers who asked."""

    def __init__(self, validation: dict[float | None, float]) -> None:
        self.validation, self.asked = validation, []

    def __call__(self, rate: float | None, trainer: Trainer) -> Trained:
        self.asked.append((rate, trainer))
        value = self.validation[rate]
        if math.isnan(value):
            raise NotFiniteError(f"loss = nan at rate {rate}")
        pruned = {"phase": "prune-0", "kind": "prune"}
        entries = [pruned, phase(4, 0.1, phase="retrain-0"), phase(6, value, phase="retrain-1")]
        return Trained(model=nn.Linear(1, 1), entries=entries)


def tune(validation: dict[float | None, float], *, task: Any = None, epochs: float | None = EPOCHS) -> Tuned:
    rates = [rate for rate in validation if rate is not None]
    return tuned(Trials(validation), rates, Trainer(task or normed_task(), plain(16)), epochs=epochs)


def test_the_best_on_validation_is_chosen_and_the_others_are_charged() -> None:
    found = tune({0.1: 0.5, 0.2: 0.9, 0.3: 0.7})
    assert found.trained.entries[-1]["validation"] == 0.9
    assert [entry["lr_peak"] for entry in found.trials] == [0.1, 0.3]
    for entry in found.trials:
        assert entry["kind"] == "trial"
        assert (entry["steps"], entry["epochs"], entry["samples"], entry["seconds"]) == (10, 2.5, 160, 1.25)
    assert found.tuning == {
        "trials": 3,
        "space": [0.1, 0.2, 0.3],
        "chosen": 0.2,
        "values": [0.5, 0.9, 0.7],
        "costs": [1.25, 1.25, 1.25],
    }


def test_the_cost_of_a_trial_may_be_its_steps_at_given_seconds() -> None:
    """Those timed in turns, where trials shared the machine with other runs."""
    found = tune({0.1: 0.5, 0.2: math.nan, 0.3: 0.7})
    assert found.tuning_at(0.02)["costs"] == pytest.approx([10 * 0.02] * 3)
    assert found.tuning_at(None) == found.tuning
    assert found.tuning_at(0.02) | {"costs": None} == found.tuning | {"costs": None}


def test_lower_is_better_where_the_task_says_so() -> None:
    found = tune({0.1: 0.5, 0.2: 0.3, 0.3: 0.4}, task=linear_task())
    assert found.tuning["chosen"] == 0.2


def test_the_first_rate_wins_a_tie() -> None:
    assert tune({0.3: 0.5, 0.1: 0.5}).tuning["chosen"] == 0.3


def test_without_rates_there_is_one_run_and_nothing_to_charge() -> None:
    trainer, run = Trainer(normed_task(), plain(16)), Trials({None: 0.5})
    found = tuned(run, (), trainer, epochs=EPOCHS)
    assert run.asked == [(None, trainer)]
    assert (found.trials, found.tuning) == ([], {})


def test_a_trial_that_diverges_is_charged_what_it_was_granted_and_never_chosen() -> None:
    found = tune({0.1: math.nan, 0.2: 0.4})
    assert found.tuning["values"] == [-math.inf, 0.4], "the best of n must count the trials that failed"
    assert found.tuning["costs"][1] == 1.25
    assert (found.tuning["trials"], found.tuning["space"], found.tuning["chosen"]) == (2, [0.1, 0.2], 0.2)
    (entry,) = found.trials
    assert entry["diverged"]
    assert (entry["steps"], entry["epochs"], entry["samples"]) == (10, 2.5, 160)
    assert "validation" not in entry


def test_a_budget_in_minutes_has_no_steps_to_charge() -> None:
    (entry,) = tune({0.1: math.nan, 0.2: 0.4}, epochs=None).trials
    assert "steps" not in entry
    assert entry["seconds"] >= 0


def test_if_every_rate_diverges_the_error_names_them_and_the_first_reason() -> None:
    with pytest.raises(NotFiniteError, match=r"every learning rate of \[0.1, 0.2\] diverged; .* at rate 0.1"):
        tune({0.1: math.nan, 0.2: math.nan})


def test_if_the_only_run_diverges_its_own_error_is_raised() -> None:
    with pytest.raises(NotFiniteError, match=r"^loss = nan at rate None$"):
        tuned(Trials({None: math.nan}), (), Trainer(normed_task(), plain(16)), epochs=EPOCHS)


def test_trials_differ_in_their_rate_and_in_nothing_else(tmp_path: Path) -> None:
    run = Trials({0.1: 0.5, 1e-05: math.nan, 0.2: 0.6})
    with RunDirectory(tmp_path / "run", recipe="a recipe") as directory:
        trainer = Trainer(normed_task(), plain(16), seed=3, directory=directory, metered=True)
        tuned(run, [0.1, 1e-05, 0.2], trainer, epochs=EPOCHS)
        for _, own in run.asked:
            assert (own.task, own.settings, own.seed, own.metered) == (trainer.task, trainer.settings, 3, True)
            assert own.directory is not None
            with RunDirectory(own.directory.path, recipe="a recipe", resume=True):
                pass  # its lock was released, whether or not it diverged
    folders = sorted(path.name for path in (tmp_path / "run" / "trials").iterdir())
    assert folders == ["lr-0.1", "lr-0.2", "lr-1e-05"]
