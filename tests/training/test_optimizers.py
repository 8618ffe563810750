"""Optimizers by name: what they build, in runs that are resumed and in recipes, and what they refuse."""

from collections.abc import Callable
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import Optimizer

from paretorch.errors import InputError
from paretorch.methods.method import Method, Run
from paretorch.methods.optim import AvaGrad, AvaGradW, DelayedAdam
from paretorch.recipes import TrainTable
from paretorch.recipes.strict import validated
from paretorch.training.plain import from_plain, to_plain
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerName, OptimizerSpec, TrainSettings
from paretorch.training.trainer import Trainer
from tests.training.problems import linear_task

KINDS: dict[OptimizerName, Callable[..., Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "avagrad": AvaGrad,
    "avagradw": AvaGradW,
    "delayed-adam": DelayedAdam,
}


def settings(spec: OptimizerSpec, **others: Any) -> TrainSettings:
    return TrainSettings(batch_size=24, optimizer=spec, device="cpu", **others)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("given", [{}, {"eps": 0.3, "betas": (0.5, 0.9)}], ids=["defaults", "own"])
def test_a_run_with_an_optimizer_by_name_is_a_loop_with_that_optimizer(
    name: OptimizerName, given: dict[str, Any]
) -> None:
    task = linear_task()
    trainer = Trainer(task, settings(OptimizerSpec(name=name, lr=0.05, weight_decay=0.1, **given)))
    model, by_hand = trainer.model(), trainer.model()
    trainer.fit(model, phase="dense", num_steps=6)
    optimizer = KINDS[name](by_hand.parameters(), lr=0.05, weight_decay=0.1, **given)
    batch = task.train_set().batch(torch.arange(24))
    for _ in range(6):
        optimizer.zero_grad()
        task.loss(by_hand, batch).backward()
        optimizer.step()
    torch.testing.assert_close(model.weight, by_hand.weight, rtol=1e-9, atol=1e-12)


class Interrupt(Method):
    """Stops the run before a step, once."""

    name = "interrupt"

    def __init__(self, at: int | None) -> None:
        self.at = at

    def before_forward(self, run: Run) -> None:
        if run.step == self.at:
            raise OSError("pulled out")


@pytest.mark.parametrize("name", ["avagrad", "delayed-adam"])
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(name: OptimizerName, tmp_path: Path) -> None:
    def trained(at: int | None, folder: Path) -> torch.Tensor:
        with RunDirectory(folder, recipe="r", resume=True) as directory:
            spec = OptimizerSpec(name=name, lr=0.05, eps=0.01)
            trainer = Trainer(linear_task(), settings(spec, checkpoint_seconds=0.0), directory=directory)
            model = trainer.model()
            trainer.fit(model, phase="dense", num_steps=9, methods=[Interrupt(at)])
        return model.weight.detach()

    whole = trained(None, tmp_path / "whole")
    with pytest.raises(OSError, match="pulled out"):
        trained(5, tmp_path / "cut")
    assert torch.equal(trained(None, tmp_path / "cut"), whole)


def test_a_spec_with_all_its_numbers_reaches_another_process_and_the_record() -> None:
    spec = OptimizerSpec(name="avagrad", lr=0.3, eps=1e-3, betas=(0.8, 0.99))
    assert from_plain(to_plain(spec, where="optimizer")) == spec
    described = settings(spec).describe()["optimizer"]
    assert (described["name"], described["eps"], described["betas"]) == ("avagrad", 1e-3, (0.8, 0.99))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "adagrad"}, "'adagrad' is unknown; choose one of sgd, adam, adamw, avagrad, avagradw, delayed-adam"),
        ({"eps": 0.1}, "sgd has no eps and no betas"),
        ({"betas": (0.9, 0.99)}, "sgd has no eps and no betas"),
        ({"name": "avagrad", "eps": 0.0}, "eps = 0.0 must be positive and finite"),
        ({"name": "avagrad", "eps": nan}, "eps = nan must be positive and finite"),
        ({"name": "adam", "eps": inf}, "eps = inf must be positive and finite"),
        ({"lr": 0.0}, "lr = 0.0 must be positive and finite"),
        ({"lr": nan}, "lr = nan must be positive and finite"),
        ({"lr": inf}, "lr = inf must be positive and finite"),
        ({"momentum": nan}, "momentum = nan must be finite and must not be negative"),
        ({"momentum": -0.1}, "momentum = -0.1 must be finite and must not be negative"),
        ({"weight_decay": nan}, "weight_decay = nan must be finite and must not be negative"),
        ({"weight_decay": inf}, "weight_decay = inf must be finite and must not be negative"),
        ({"name": "adam", "betas": (nan, 0.9)}, r"betas = \(nan, 0.9\) must be"),
        ({"name": "adam", "betas": (0.9, inf)}, r"betas = \(0.9, inf\) must be"),
        ({"name": "adam", "betas": (0.9, 1.0)}, r"betas = \(0.9, 1.0\) must be"),
        ({"name": "adam", "betas": (0.9,)}, r"betas = \(0.9,\) must be"),
    ],
)
def test_numbers_that_the_optimizer_does_not_have_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        OptimizerSpec(**given)


def test_the_train_table_of_a_recipe_hands_name_eps_and_betas_on() -> None:
    table = {"optimizer": "avagradw", "lr": 0.5, "eps": 0.01, "betas": [0.8, 0.95], "weight_decay": 0.1}
    expected = OptimizerSpec(name="avagradw", lr=0.5, eps=0.01, betas=(0.8, 0.95), weight_decay=0.1)
    assert validated(TrainTable, table, where="[train]").settings().optimizer == expected
    plain = validated(TrainTable, {"optimizer": "adam"}, where="[train]").settings().optimizer
    assert plain == replace(expected, name="adam", lr=0.1, eps=None, betas=None, weight_decay=0.0)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"eps": 0.1, "betas": [0.9, 0.99]}, r"\[train\] betas and eps belong to adaptive optimizers"),
        ({"optimizer": "avagrad", "momentum": 0.5}, "momentum belongs to sgd"),
        ({"optimizer": "avagrad", "eps": 0.0}, "eps = 0.0"),
        ({"optimizer": "avagrad", "betas": [0.9]}, "betas"),
        ({"optimizer": "adagrad"}, "'avagrad'"),
    ],
)
def test_a_train_table_that_fits_no_optimizer_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        validated(TrainTable, table, where="[train]").settings()
