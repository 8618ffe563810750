"""Training from scratch with an optimizer of the arm's own: what it is, what it costs, its recipe, and refusals."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from paretorch.errors import InputError
from paretorch.evidence.arms import arms_of
from paretorch.evidence.grids import grids_of
from paretorch.evidence.report import write_report
from paretorch.methods.optim import AvaGrad
from paretorch.methods.schedules import DenseSchedule, Linear
from paretorch.methods.schedules.stretched import Stretched
from paretorch.pipelines.compression import Compressed, Start
from paretorch.pipelines.from_scratch import FromScratch
from paretorch.pipelines.sweep import Sweep
from paretorch.recipes import load_recipe
from paretorch.recipes.arm_methods import expand
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerName, OptimizerSpec, TrainSettings
from tests.methods.sparsity.gradual.problems import STEPS_PER_EPOCH, Small, task, trainer
from tests.pipelines.dying import assert_same_weights, killed_and_resumed
from tests.pipelines.test_gradual import SWEEP

SPEC = OptimizerSpec(name="avagrad", lr=0.5, eps=0.01)


def run(directory: RunDirectory | None = None, *, epochs: float = 3, optimizer: OptimizerSpec = SPEC) -> Compressed:
    return FromScratch(epochs=epochs, optimizer=optimizer).run_from(
        trainer(directory), Start(model=Small(), schedule=SWEEP)
    )


def test_the_arm_is_a_training_with_that_optimizer_and_the_dense_curve_scaled_to_its_own_peak() -> None:
    result = run()
    by_hand = trainer(optimizer=SPEC)
    model = by_hand.model()
    schedule = Stretched(num_steps=3 * STEPS_PER_EPOCH, dense=SWEEP, peak=0.5)
    by_hand.fit(model, phase="train", num_steps=schedule.num_steps, schedule=schedule)
    for name, value in model.state_dict().items():
        assert torch.equal(value, result.model.state_dict()[name]), name
    (entry,) = result.entries
    assert entry["lr_peak"] == max(schedule.trace()) == 0.5
    assert entry["optimizer"] == "avagrad"
    assert result.edits == ()


def test_the_settings_of_the_sweep_hold_but_for_the_optimizer_and_are_left_as_they_were() -> None:
    given = trainer(clip_norm=0.5)
    before = given.settings
    own = given.with_settings(replace(given.settings, optimizer=SPEC))
    assert isinstance(own.settings.optimizer(Small().parameters()), AvaGrad)
    assert (own.settings.clip_norm, own.settings.batch_size) == (0.5, 20)
    assert (own.task, own.seed, own.directory) == (given.task, given.seed, given.directory)
    assert given.settings is before


def test_all_arms_of_a_seed_start_from_the_same_weights_and_see_the_same_batches() -> None:
    """A step so small that nothing is learned leaves every optimizer with the initial weights and equal statistics."""
    specs = [OptimizerSpec(lr=1e-30), OptimizerSpec(name="adam", lr=1e-30, eps=1.0)]
    first, second = (run(optimizer=spec, epochs=0.75).model.state_dict() for spec in specs)
    assert torch.equal(first["hidden.weight"], trainer().model().hidden.weight)
    assert torch.equal(first["norm.running_mean"], second["norm.running_mean"])
    assert first["norm.running_mean"].any()


def test_its_steps_are_charged_and_nothing_of_the_dense_run() -> None:
    compression = FromScratch(epochs=2.5, optimizer=SPEC)
    assert compression.plan(trainer()) == ("train from scratch with avagrad, 30 steps", 30)
    assert [entry["steps"] for entry in run(epochs=2.5).entries] == [30]
    assert not compression.from_dense
    assert not compression.compresses
    assert compression.granted_epochs == 2.5
    assert compression.method_ids() == ["avagrad"]
    assert FromScratch(epochs=1, optimizer=OptimizerSpec(name="adam")).method_ids() == []
    assert compression.at_rate(2.0).optimizer == replace(SPEC, lr=2.0)


@pytest.mark.parametrize("name", ["avagrad", "avagradw", "delayed-adam", "adamw"])
@pytest.mark.parametrize("fatal_write", [3, 30, 36, 37])
def test_a_run_that_dies_at_any_write_is_resumed_bitwise(tmp_path: Path, name: OptimizerName, fatal_write: int) -> None:
    train = partial(run, optimizer=replace(SPEC, name=name, weight_decay=0.01))
    expected = train()
    resumed, phases = killed_and_resumed(train, tmp_path / "run", fatal_write=fatal_write)
    assert phases == ["train"]
    assert_same_weights(resumed.model, expected.model)
    assert resumed.entries[0]["validation"] == expected.entries[0]["validation"]


def test_what_cannot_be_trained_is_refused_beforehand() -> None:
    with pytest.raises(InputError, match="positive, finite number of epochs; got 0"):
        FromScratch(epochs=0, optimizer=SPEC)
    with pytest.raises(InputError, match=r"0\.01 epochs are less than one optimizer step; an epoch has 12"):
        FromScratch(epochs=0.01, optimizer=SPEC).check(trainer(), Small(), dense=SWEEP)
    with pytest.raises(InputError, match="only its ends are known"):
        FromScratch(epochs=1, optimizer=SPEC).check(trainer(), Small(), dense=DenseSchedule.summary(peak=0.1))
    with pytest.raises(InputError, match=r"is a \[\[dense_arm\]\] in a comparison"):
        FromScratch(epochs=1, optimizer=SPEC).rehearsal(trainer())


def test_lists_of_rates_and_epsilons_make_a_grid_whose_points_are_told_apart() -> None:
    arms = expand(
        [
            {"method": "train", "optimizer": ["adam", "avagrad"], "epochs": 3, "lr": [0.1, 1], "eps": [1e-8, 1]},
            {"method": "train", "optimizer": "sgd", "epochs": 3, "lr": 0.1, "nesterov": True, "weight_decay": 0.01},
        ]
    )
    assert len(arms) == len({arm.id for arm in arms}) == 9
    assert [arm.label for arm in arms[:2]] == ["Adam 3 epochs lr 0.1 eps 1e-08", "Adam 3 epochs lr 0.1 eps 1"]
    assert arms[8].label == "SGD 3 epochs lr 0.1 nesterov True weight decay 0.01"
    assert arms[6].factors == {"optimizer": "AvaGrad", "epochs in all": 3.0, "lr": 1.0, "eps": 1e-8}
    compression = arms[6].compression
    assert isinstance(compression, FromScratch)
    assert compression == FromScratch(epochs=3, optimizer=OptimizerSpec(name="avagrad", lr=1.0, eps=1e-8))


@pytest.mark.parametrize(
    "setting",
    [
        {"eps": [0.1, 0.2]},
        {"weight_decay": [0.1, 0.2]},
        {"optimizer": "sgd", "momentum": [0.5, 0.6]},
        {"optimizer": "sgd", "nesterov": [True, False]},
        {"epochs": [1, 2]},
        {"optimizer": ["adamw", "avagradw", "delayed-adam"]},
    ],
)
def test_every_setting_reaches_the_optimizer_the_name_and_the_factors(setting: dict[str, Any]) -> None:
    arms = expand([{"method": "train", "optimizer": "adam", "epochs": 1, "lr": 0.1, **setting}])
    assert len({arm.label for arm in arms}) == len({str(arm.factors) for arm in arms}) == len(arms) > 1
    ((key, values),) = [(key, value) for key, value in setting.items() if isinstance(value, list)]
    own = {"optimizer": "name"}.get(key, key)
    made = [arm.compression if key == "epochs" else arm.compression.optimizer for arm in arms]
    assert [getattr(one, own) for one in made] == values


def test_betas_are_one_setting_and_no_grid() -> None:
    (arm,) = expand([{"method": "train", "optimizer": "adam", "epochs": 1, "lr": 0.1, "betas": [0.8, 0.9]}])
    assert arm.compression.optimizer.betas == (0.8, 0.9)
    assert arm.label == "Adam 1 epochs lr 0.1 betas 0.8, 0.9"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "lion"}, "optimizer = 'lion'"),
        ({"lr": 0}, "lr = 0"),
        ({"lr": 1e39}, r"lr = 1e\+39: numbers above 1e\+30 do not fit float32"),
        ({"lr": float("nan")}, "lr = nan: Input should be a finite number"),
        ({"weight_decay": 1e39}, r"weight_decay = 1e\+39"),
        ({"eps": 0.0}, r"eps = 0\.0"),
        ({"betas": [0.9]}, "betas"),
        ({"optimizer": "sgd", "eps": 0.1}, "eps belongs to adaptive optimizers; optimizer .sgd. has none"),
        ({"momentum": 0.9}, "momentum belongs to sgd; optimizer 'adam' has none"),
        ({"optimizer": "sgd", "momentum": 0.0, "nesterov": True}, "needs sgd with momentum"),
        ({"sparsity": 0.5}, "unknown key 'sparsity'"),
        ({"tune_lr": [0.1, 0.2]}, "unknown key 'tune_lr'"),
        ({"epochs": 0}, "epochs = 0"),
    ],
)
def test_a_table_that_makes_no_arm_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        expand([{"method": "train", "optimizer": "adam", "epochs": 1, "lr": 0.1, **change}])


def sweep(points: list[dict[str, Any]]) -> Sweep:
    return Sweep(
        name="mine",
        task=task(),
        settings=TrainSettings(batch_size=20, optimizer=OptimizerSpec(lr=0.1), device="cpu"),
        seeds=(0, 1),
        dense_epochs=2,
        dense_schedule=lambda steps: Linear(num_steps=steps, peak=0.1),
        arms=expand(points),
        recipe="x",
        recipe_hash="x",
        command="x",
    )


def test_arms_that_would_share_a_folder_are_refused_naming_both() -> None:
    two = sweep([{"method": "train", "optimizer": "adam", "epochs": 1.5, "lr": [0.01, 0.1]}])
    arms = [two.arms[0], replace(two.arms[1], id=two.arms[0].id)]
    with pytest.raises(InputError, match=r"'Adam 1\.5 epochs lr 0\.01' and 'Adam .* lr 0\.1' have the same id"):
        replace(two, arms=arms).check()


@pytest.mark.slow
def test_a_sweep_of_a_grid_charges_every_point_goes_on_past_one_that_diverges_and_is_resumed(tmp_path: Path) -> None:
    grid = sweep(
        [
            {"method": "train", "optimizer": "adam", "epochs": 1.5, "lr": [0.01, 0.1], "eps": [1e-8, 1.0]},
            {"method": "train", "optimizer": "sgd", "momentum": 0.0, "epochs": 1.5, "lr": [0.1, 1e30]},
        ]
    )
    records = grid.run(tmp_path)
    points = [record for record in records if not record.is_baseline]
    assert len(points) == 2 * 6
    diverged = [record for record in points if record.status == "diverged"]
    assert {record.group["lr"] for record in diverged} == {1e30}
    assert len(diverged) == 2
    for record in points:
        assert [(phase["kind"], phase["steps"]) for phase in record.phases] == [("train", 18)], record.arm
        assert not record.side_effects
        assert not any("speedups" in phase for phase in record.phases)
    assert all(record.cost["steps"] == 18 for record in points if record.status == "ok")
    again = grid.run(tmp_path, resume=True)
    assert [record.to_dict() for record in again] == [record.to_dict() for record in records]
    adam, sgd = grids_of(arms_of(records))
    assert (adam.name, adam.rates, adam.epsilons) == ("Adam", (0.01, 0.1), (1e-8, 1.0))
    assert sgd.best_rate(None) == 0.1
    assert len(sgd.failed) == 2
    page = write_report(records, tmp_path / "report.html", command="x").read_text(encoding="utf-8")
    assert "Learning rate and epsilon" in page


def test_the_recipe_that_ships_holds_the_same_rates_for_every_optimizer() -> None:
    arms = load_recipe("avagrad-digits").arms()
    rates: dict[object, set[float]] = {}
    for arm in arms:
        rates.setdefault(arm.factors["optimizer"], set()).add(arm.factors["lr"])
    assert set(rates) == {"AvaGrad", "Adam", "AdamW", "SGD"}
    assert len({frozenset(found) for found in rates.values()}) == 1
    assert {arm.factors.get("eps") for arm in arms} == {0.01, 1.0, 100.0, None}
