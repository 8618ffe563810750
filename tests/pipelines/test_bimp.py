"""Budgeted iterative magnitude pruning: the split of the budget, its parts bit by bit, charges, recipes, bad input."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from paretorch.artefacts.model import load_artefact, save_model
from paretorch.errors import InputError
from paretorch.methods.schedules import DenseSchedule, Linear, MultiStep
from paretorch.pipelines.arm import compress
from paretorch.pipelines.bimp import BIMP
from paretorch.pipelines.compression import Compressed, Start
from paretorch.pipelines.dense import DenseResult, train_dense
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.pruning_step import Selection
from paretorch.pipelines.retraining import Retraining
from paretorch.recipes.arm_methods import expand
from paretorch.training.run import RunDirectory
from tests.methods.sparsity.gradual.problems import NUM_WEIGHTS, STEPS_PER_EPOCH, Small, task, trainer
from tests.pipelines.dying import assert_same_weights, killed_and_resumed

SWEEP = DenseSchedule.of(MultiStep(num_steps=120, peak=0.1, milestones=(0.5, 0.75)))


def bimp(**settings: Any) -> BIMP:
    return BIMP(**{"sparsity": 0.9, "epochs": 6, "dense_epochs": 4, **settings})


def run(compression: BIMP, directory: RunDirectory | None = None, *, model: nn.Module | None = None) -> Compressed:
    start = Start(model=Small() if model is None else model, schedule=SWEEP)
    return compression.run_from(trainer(directory), start)


def steps(result: Compressed) -> list[int]:
    return [entry["steps"] for entry in result.entries if "steps" in entry]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [48, 24]),
        ({"cycles": 3}, [48, 8, 8, 8]),
        ({"cycles": 5}, [48, 4, 4, 4, 4, 8]),
        ({"epochs": 5.5, "dense_epochs": 2.25, "cycles": 2}, [27, 19, 20]),
    ],
)
def test_dense_and_retraining_steps_are_the_budget_and_the_last_cycle_takes_the_remainder(
    settings: dict[str, Any], expected: list[int]
) -> None:
    compression = bimp(**settings)
    result = run(compression)
    assert steps(result) == expected
    assert sum(expected) == trainer().num_steps(compression.epochs)
    assert compression.plan(trainer()) == (
        f"dense {expected[0]} steps, then {len(expected) - 1} x (prune, retrain), {sum(expected[1:])} steps",
        sum(expected),
    )


def test_the_dense_part_falls_in_a_line_to_zero_from_the_peak_of_the_sweep() -> None:
    curve = run(bimp()).entries[0]["curve"]
    assert all(point["lr"] == pytest.approx(0.1 * (1 - (point["step"] - 1) / 48)) for point in curve)
    own = run(bimp(lr=0.03)).entries
    assert own[0]["lr_peak"] == 0.03
    assert own[2]["lr_peak"] <= 0.03 * own[2]["factor"]


def test_the_budget_ratio_is_over_the_dense_part_and_not_over_the_sweeps_dense_run_or_the_whole() -> None:
    entries = run(bimp(cycles=2)).entries
    ratios = [entry["d2"] for entry in entries if entry["kind"] == "retrain"]
    assert ratios == [12 / 48, 12 / 48]


@pytest.mark.parametrize("cycles", [1, 2])
def test_it_is_bitwise_dense_training_followed_by_iterative_pruning(cycles: int) -> None:
    whole = run(bimp(cycles=cycles))
    dense = train_dense(trainer(), Linear(num_steps=48, peak=0.1))
    parts = IMP(sparsity=0.9, epochs=2, cycles=cycles).run(trainer(), dense.model, dense=dense.schedule)
    for name, value in parts.model.state_dict().items():
        assert torch.equal(value, whole.model.state_dict()[name]), name
    assert [entry["phase"] for entry in whole.entries] == ["dense", *(entry["phase"] for entry in parts.entries)]
    assert [entry["mask_hash"] for entry in whole.entries[1:]] == [entry["mask_hash"] for entry in parts.entries]


def test_the_model_of_the_sweep_has_no_part_in_it() -> None:
    one, other = run(bimp()), run(bimp(), model=Small())
    assert torch.equal(one.model.hidden.weight, other.model.hidden.weight)
    assert not BIMP.from_dense
    assert not bimp().from_dense


@pytest.mark.parametrize("cycles", [1, 3])
def test_the_zeros_are_exact_and_the_saved_model_is_the_same(tmp_path: Path, cycles: int) -> None:
    result = run(bimp(cycles=cycles, sparsity=0.77))
    zeros = sum(int((layer.weight == 0).sum()) for layer in (result.model.hidden, result.model.output))
    assert zeros == round(0.77 * NUM_WEIGHTS) == result.entries[-2]["pruned"]
    save_model(tmp_path / "model", result.model, constructor=Small, edits=list(result.edits))
    loaded = load_artefact(tmp_path / "model", constructor=Small).model.eval()
    inputs = task().test_set().tensors["inputs"]
    assert torch.equal(loaded(inputs), result.model.eval()(inputs))


def test_sparsities_per_layer_are_met() -> None:
    selection = Selection(allocation={"hidden": 0.75, "output": 0.5})
    result = run(bimp(sparsity=None, selection=selection, cycles=2))
    assert [int((layer.weight == 0).sum()) for layer in (result.model.hidden, result.model.output)] == [144, 36]


@pytest.mark.parametrize("fatal_write", [5, 50, 52, 60])
def test_a_run_that_dies_in_any_part_is_resumed_bitwise(tmp_path: Path, fatal_write: int) -> None:
    own = partial(run, bimp(cycles=2))
    expected = own()
    resumed, _ = killed_and_resumed(own, tmp_path / "run", fatal_write=fatal_write)
    assert_same_weights(resumed.model, expected.model)
    assert steps(resumed) == steps(expected)


def test_rates_to_choose_from_are_peaks_of_the_dense_part_and_every_trial_is_the_whole_budget(tmp_path: Path) -> None:
    compression = bimp(epochs=2, dense_epochs=1)
    dense = DenseResult(model=Small(), schedule=SWEEP, entry={})
    with RunDirectory(tmp_path / "run", recipe="x") as directory:
        best = compress(compression, (0.1, 0.01), trainer(directory), dense)
    (left,) = best.trials
    assert left["epochs"] == 2
    assert left["steps"] == 2 * STEPS_PER_EPOCH
    assert {left["lr_peak"], best.trained.entries[0]["lr_peak"]} == {0.1, 0.01}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dense_epochs": 6}, "of 6 epochs in all 6 are dense training, which leaves 0 to retrain in"),
        ({"dense_epochs": 7}, "leaves -1 to retrain in"),
        ({"dense_epochs": 0}, "0 are dense training"),
        ({"epochs": float("inf")}, "epochs must be finite; got inf"),
        ({"epochs": float("nan")}, "epochs must be finite; got nan"),
        ({"sparsity": 1.0}, r"in \[0, 1\)"),
        ({"cycles": 0}, "cycles must be at least 1; got 0"),
        ({"retraining": Retraining(schedule="LLRR")}, "LLRR"),
        ({"retraining": Retraining(schedule="FT")}, "which ends at 0 here"),
    ],
)
def test_a_budget_that_cannot_be_split_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        bimp(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 4.1, "cycles": 2}, r"are 48 \+ 1 optimizer steps, for 1 dense training and 2 cycles"),
        ({"dense_epochs": 0.01}, r"are 0 \+ 72 optimizer steps"),
        ({"sparsity": 0.9999}, "rounds to all"),
        ({"selection": Selection(include=["nothing"])}, "nothing"),
    ],
)
def test_a_split_that_does_not_fit_the_task_is_refused_before_anything_is_trained(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        bimp(**settings).check(trainer(), trainer().model(), dense=SWEEP)
    bimp().check(trainer(), trainer().model(), dense=SWEEP)


def test_a_comparison_is_refused_with_the_reason() -> None:
    with pytest.raises(InputError, match="divides one budget between dense training and retraining"):
        bimp().rehearsal(trainer())


def test_a_recipe_makes_the_arm_and_names_what_differs() -> None:
    point = {"method": "bimp", "sparsity": [0.5, 0.9], "epochs": 6, "dense_epochs": 4, "cycles": 2, "lr": 0.2}
    arms = expand([point])
    assert [arm.label for arm in arms] == [
        "BIMP ALLR 50 % 6 epochs 2 cycles lr 0.2 dense epochs 4",
        "BIMP ALLR 90 % 6 epochs 2 cycles lr 0.2 dense epochs 4",
    ]
    assert arms[1].compression == bimp(cycles=2, lr=0.2)
    assert arms[1].factors == {
        "method": "BIMP", "schedule": "ALLR", "epochs in all": 6, "cycles": 2, "sparsity": 0.9, "lr": 0.2,
        "dense epochs": 4,
    }  # fmt: skip
    assert bimp().method_ids() == ["bimp", "magnitude", "masks", "bn-reestimate", "allr"]


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"sparsity": 0.9, "epochs": 6}, "dense_epochs is missing"),
        ({"sparsity": 0.9, "dense_epochs": 6}, "epochs is missing"),
        ({"sparsity": 0.9, "epochs": 6, "dense_epochs": 6}, "leaves 0 to retrain in"),
        ({"sparsity": 0.9, "epochs": 6, "dense_epochs": 4, "minutes": 2}, "minutes = 2: a budget that dense training"),
        ({"epochs": 6, "dense_epochs": 4}, "either `sparsity` or `layer_sparsity`"),
        ({"sparsity": 0.9, "epochs": 6, "dense_epochs": 4, "lr": 0.1, "tune_lr": [0.2]}, "either `lr` or `tune_lr`"),
    ],
)
def test_a_table_that_makes_no_arm_is_refused(point: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        expand([{"method": "bimp", **point}])
