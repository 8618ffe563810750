"""Cut and retrain: budgets that hold exactly, the smaller model's function, the norm drop, resuming, bad input."""

import copy
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from paretorch.artefacts.cut_edit import CutEdit
from paretorch.artefacts.model import load_artefact, save_model
from paretorch.errors import InputError, RunError
from paretorch.methods.schedules import MultiStep
from paretorch.pipelines.compression import Compressed, Start
from paretorch.pipelines.cutting import CutAndRetrain
from paretorch.pipelines.cutting_step import Units, hash_of
from paretorch.pipelines.dense import DenseResult, train_dense
from paretorch.pipelines.retraining import Retraining
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer
from tests.pipelines.dying import assert_same_weights, killed_and_resumed

STEPS_PER_EPOCH = 12


class Small(nn.Module):
    """A perceptron with two hidden layers and batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(8, 24), nn.BatchNorm1d(24)
        self.second, self.output = nn.Linear(24, 12), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.second(self.norm(self.first(x)).relu()).relu())


def task(model: Any = Small) -> SupervisedTask:
    stream = torch.Generator().manual_seed(5)
    x = torch.randn(400, 8, generator=stream)
    y = (x @ torch.randn(8, 3, generator=stream)).argmax(1)
    return SupervisedTask(model, train=(x[:240], y[:240]), evaluation=(x[240:320], y[240:320]), test=(x[320:], y[320:]))


SETTINGS = TrainSettings(batch_size=20, optimizer=OptimizerSpec(lr=0.1, weight_decay=1e-4), checkpoint_seconds=0)


def trainer(directory: RunDirectory | None = None, model: Any = Small) -> Trainer:
    return Trainer(task(model), SETTINGS, seed=3, directory=directory)


@pytest.fixture(scope="module")
def dense() -> DenseResult:
    steps = 10 * STEPS_PER_EPOCH
    return train_dense(trainer(), MultiStep(num_steps=steps, peak=0.1, milestones=(0.5, 0.75)))


def cut(epochs: float = 1, retraining: Retraining | None = None, **units: Any) -> CutAndRetrain:
    return CutAndRetrain(units=Units(**units), epochs=epochs, retraining=retraining or Retraining())


def run(arm: CutAndRetrain, dense: DenseResult, directory: RunDirectory | None = None) -> Compressed:
    return arm.run_from(trainer(directory), Start(model=copy.deepcopy(dense.model), schedule=dense.schedule))


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def widths(result: Compressed) -> dict[str, int]:
    return {one["group"]: one["width"] for one in result.entries[0]["widths"]}


@pytest.mark.parametrize("spread", ["uniform", "global"])
@pytest.mark.parametrize("params", [0.8, 0.5, 0.25])
def test_the_cut_model_is_as_large_as_the_ledger_says_and_within_its_budget(
    dense: DenseResult, params: float, spread: str
) -> None:
    result = run(cut(params=params, spread=spread, epochs=0), dense)
    entry = result.entries[0]
    assert size(result.model) == entry["params"] <= params * entry["params_full"]
    assert entry["params_full"] == size(dense.model)
    assert result.model.first.out_features == widths(result)["first"] == result.model.norm.num_features
    assert result.model.second.in_features == result.model.first.out_features
    assert result.model.output.out_features == 3


def test_a_budget_in_macs_counts_products_only(dense: DenseResult) -> None:
    result = run(cut(macs=0.5, epochs=0), dense)
    layers = (result.model.first, result.model.second, result.model.output)
    assert sum(layer.weight.numel() for layer in layers) == result.entries[0]["macs"] <= 0.5 * (8 * 24 + 24 * 12 + 36)


def test_a_width_is_the_same_fraction_of_every_layer(dense: DenseResult) -> None:
    assert widths(run(cut(width=0.5, epochs=0), dense)) == {"first": 12, "second": 6}
    assert widths(run(cut(width=0.5, round_to=4, epochs=0), dense)) == {"first": 12, "second": 8}


def test_pinned_layers_keep_their_width(dense: DenseResult) -> None:
    result = run(cut(width=0.5, pins=("first",), epochs=0), dense)
    assert result.model.first.out_features == 24
    assert result.model.second.out_features == 6


def test_the_units_with_the_largest_weights_stay(dense: DenseResult) -> None:
    """Only the last hidden layer is cut: by l2, a unit's score is the mean of its row and its column."""
    result = run(cut(width=0.5, pins=("first",), epochs=0, retraining=Retraining(reestimate_batches=0)), dense)
    model = dense.model
    scores = model.second.weight.double().square().sum(1) + model.output.weight.double().square().sum(0)
    kept = scores.argsort(descending=True)[:6].sort().values
    assert torch.equal(result.model.second.weight, model.second.weight[kept])
    assert torch.equal(result.model.output.weight, model.output.weight[:, kept])


def test_before_retraining_the_cut_model_computes_what_the_dense_one_does_without_those_units(
    dense: DenseResult,
) -> None:
    result = run(cut(width=0.5, epochs=0, retraining=Retraining(reestimate_batches=0)), dense)
    edit = result.edits[0]
    assert isinstance(edit, CutEdit)
    silent = copy.deepcopy(dense.model).eval()
    for name, dim in (("second.weight", 1), ("output.weight", 1)):
        weight = silent.get_parameter(name)
        gone = torch.ones(weight.shape[dim], dtype=torch.bool)
        gone[edit.cut.slices[name][dim].index] = False
        with torch.no_grad():
            weight[:, gone] = 0
    inputs = task().test_set().tensors["inputs"]
    torch.testing.assert_close(result.model.eval()(inputs), silent(inputs), atol=1e-5, rtol=1e-5)


def test_the_norm_drop_is_that_of_the_weights_that_go(dense: DenseResult) -> None:
    result = run(cut(width=0.5, retraining=Retraining(schedule="ALLR", reestimate_batches=0)), dense)
    cutting, retrained = result.entries
    before = [dense.model.first.weight, dense.model.second.weight, dense.model.output.weight]
    fresh = run(cut(width=0.5, epochs=0, retraining=Retraining(reestimate_batches=0)), dense).model
    after = [fresh.first.weight, fresh.second.weight, fresh.output.weight]
    squares = [sum(float(w.detach().double().square().sum()) for w in ws) for ws in (before, after)]
    fraction = 1 - sum(w.numel() for w in after) / sum(w.numel() for w in before)
    expected = math.sqrt((squares[0] - squares[1]) / (squares[0] * fraction))
    assert cutting["fraction"] == pytest.approx(fraction)
    assert cutting["d1"] == pytest.approx(expected, rel=1e-6)
    assert retrained["factor"] == pytest.approx(min(1.0, max(expected, 0.1)))


def test_batch_norm_is_reestimated_from_the_cut_weights(dense: DenseResult) -> None:
    result = run(cut(width=0.5, epochs=0), dense)
    inputs = task().train_set().tensors["inputs"]
    with torch.no_grad():
        expected = result.model.first(inputs).mean(0)
    torch.testing.assert_close(result.model.norm.running_mean, expected, atol=1e-5, rtol=1e-4)
    assert result.entries[0]["batchnorm_layers"] == 1


@pytest.mark.parametrize("importance", ["l1", "consumer-l1", "taylor", "activation"])
def test_every_importance_gives_a_model_of_the_same_size_and_a_function_of_the_weights(
    dense: DenseResult, importance: str
) -> None:
    results = [run(cut(width=0.5, importance=importance, epochs=0), dense) for _ in range(2)]
    assert widths(results[0]) == {"first": 12, "second": 6}
    assert results[0].entries[0]["cut_hash"] == results[1].entries[0]["cut_hash"]


def test_retraining_helps_and_leaves_the_dense_model_alone(dense: DenseResult) -> None:
    before = copy.deepcopy(dense.model.state_dict())
    result = run(cut(width=0.25, epochs=5), dense)
    assert result.entries[1]["validation"] > result.entries[0]["validation_raw"]
    assert result.entries[1]["steps"] == 5 * STEPS_PER_EPOCH
    assert all(torch.equal(value, before[name]) for name, value in dense.model.state_dict().items())


def test_the_saved_model_reloads_at_its_size_and_computes_the_same(dense: DenseResult, tmp_path: Path) -> None:
    result = run(cut(params=0.4, epochs=1), dense)
    save_model(tmp_path / "model", result.model, constructor=Small, edits=list(result.edits))
    loaded = load_artefact(tmp_path / "model", constructor=Small).model.eval()
    assert size(loaded) == result.entries[0]["params"]
    inputs = task().test_set().tensors["inputs"]
    assert torch.equal(loaded(inputs), result.model.eval()(inputs))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "params, macs or width"),
        ({"params": 0.0}, r"params is the fraction that stays, in \(0, 1\]; got 0.0"),
        ({"macs": 1.5}, r"macs is the fraction that stays, in \(0, 1\]; got 1.5. For half pass 0.5"),
        ({"width": 50}, r"width is the fraction that stays, in \(0, 1\]; got 50"),
        ({"params": math.nan}, r"in \(0, 1\]; got nan"),
        ({"params": 0.5, "spread": "even"}, "'uniform' or 'global'; got 'even'"),
        ({"params": 0.5, "importance": "l3"}, "l1, l2, .*; got 'l3'"),
        ({"params": 0.5, "round_to": 0}, "round_to is a number of units of at least 1; got 0"),
    ],
)
def test_what_is_no_budget_is_refused_with_its_value(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Units(**arguments)


def test_a_budget_that_no_width_reaches_is_refused_before_training_with_the_smallest(dense: DenseResult) -> None:
    smallest = run(cut(width=0.01, epochs=0), dense).entries[0]["params"]
    with pytest.raises(InputError, match=rf"cannot be reached: the smallest model .* has params={smallest}"):
        cut(params=0.001).check(trainer(), trainer().model(), dense=dense.schedule)


def test_pins_that_match_nothing_are_refused_before_training(dense: DenseResult) -> None:
    with pytest.raises(InputError, match="thrid"):
        cut(params=0.5, pins=("thrid",)).check(trainer(), trainer().model(), dense=dense.schedule)


def test_a_model_in_which_nothing_can_be_cut_is_refused_before_training(dense: DenseResult) -> None:
    own = trainer(model=one_layer)
    with pytest.raises(InputError, match="Linear has no width that can be cut"):
        cut(params=0.5).check(own, own.model(), dense=dense.schedule)


def one_layer() -> nn.Linear:
    return nn.Linear(8, 3)


def test_a_kept_optimizer_is_refused_because_a_cut_has_one_cycle() -> None:
    with pytest.raises(InputError, match="leave keep_optimizer out"):
        cut(params=0.5, retraining=Retraining(keep_optimizer=True))


def test_a_global_cut_cannot_be_timed_beforehand_and_a_uniform_one_has_its_final_shapes(dense: DenseResult) -> None:
    with pytest.raises(InputError, match='use spread = "uniform"'):
        cut(params=0.5, spread="global").rehearsal(trainer())
    model, methods = cut(params=0.5).rehearsal(trainer())
    final = run(cut(params=0.5, epochs=0), dense).model
    assert [p.shape for p in model.parameters()] == [p.shape for p in final.parameters()]
    assert methods == ()


def test_the_plan_names_what_stays_and_the_steps() -> None:
    assert cut(params=0.5, macs=0.25).plan(trainer()) == (
        "cut to 50 % of the parameters and 25 % of the MACs, retrain, 12 steps",
        12,
    )
    minutes = CutAndRetrain(units=Units(width=0.5), minutes=2)
    assert minutes.plan(trainer()) == ("cut to 50 % of the units, retrain, 2 minutes", None)


@pytest.mark.parametrize("fatal_write", [1, 2, 3, 9, 14])
def test_a_run_that_dies_at_any_write_and_is_resumed_ends_bitwise_the_same(
    dense: DenseResult, tmp_path: Path, fatal_write: int
) -> None:
    own = partial(run, cut(params=0.5, epochs=1, spread="global", importance="taylor"), dense)
    with RunDirectory(tmp_path / "whole", recipe="x") as directory:
        expected = own(directory)
    resumed, _ = killed_and_resumed(own, tmp_path / "killed", fatal_write=fatal_write)
    assert_same_weights(resumed.model, expected.model)
    assert [entry["cut_hash"] for entry in resumed.entries] == [entry["cut_hash"] for entry in expected.entries]
    edit = resumed.edits[0]
    assert isinstance(edit, CutEdit)
    assert hash_of(edit.cut) == expected.entries[0]["cut_hash"]


def test_resuming_from_another_dense_model_is_refused(dense: DenseResult, tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", recipe="x") as directory:
        run(cut(params=0.5), dense, directory)
    other = copy.deepcopy(dense.model)
    with torch.no_grad():
        other.first.weight.copy_(other.first.weight.flip(0) * torch.rand(24, 1))
    with RunDirectory(tmp_path / "run", recipe="x", resume=True) as directory, pytest.raises(RunError, match="cut sel"):
        cut(params=0.5).run_from(trainer(directory), Start(model=other, schedule=dense.schedule))
