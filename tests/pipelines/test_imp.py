"""Iterative magnitude pruning: exact counts, nested masks, budgets, the ledger, and resumption."""

import copy
import math
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from paretorch.errors import ArtefactError, InputError, RunError
from paretorch.methods.schedules import Constant, DenseSchedule, Linear, MultiStep
from paretorch.pipelines.arm import compress
from paretorch.pipelines.dense import DenseResult, train_dense
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.pruning_step import Selection
from paretorch.pipelines.retraining import CALIBRATION_STEPS, Retraining
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer
from tests.pipelines.dying import assert_same_weights, killed_and_resumed

NUM_WEIGHTS = 8 * 24 + 24 * 3  # prunable weights of the small model below


class Small(nn.Module):
    """A perceptron with batch normalisation, so that re-estimation has something to do."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.norm, self.output = nn.Linear(8, 24), nn.BatchNorm1d(24), nn.Linear(24, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.norm(self.hidden(x)).relu())


def task() -> SupervisedTask:
    stream = torch.Generator().manual_seed(5)
    x = torch.randn(400, 8, generator=stream)
    y = (x @ torch.randn(8, 3, generator=stream)).argmax(1)
    return SupervisedTask(Small, train=(x[:240], y[:240]), evaluation=(x[240:320], y[240:320]), test=(x[320:], y[320:]))


SETTINGS = TrainSettings(batch_size=20, optimizer=OptimizerSpec(lr=0.1, weight_decay=1e-4), checkpoint_seconds=0)
STEPS_PER_EPOCH = 12


def trainer(directory: RunDirectory | None = None) -> Trainer:
    return Trainer(task(), SETTINGS, seed=3, directory=directory)


@pytest.fixture(scope="module")
def dense() -> DenseResult:
    steps = 10 * STEPS_PER_EPOCH
    return train_dense(trainer(), MultiStep(num_steps=steps, peak=0.1, milestones=(0.5, 0.75)))


def run(imp: IMP, dense: DenseResult, directory: RunDirectory | None = None):
    return imp.run(trainer(directory), copy.deepcopy(dense.model), dense=dense.schedule)


def zeros(model: nn.Module) -> int:
    return sum(int((layer.weight == 0).sum()) for layer in (model.hidden, model.output))


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.977])
@pytest.mark.parametrize("cycles", [1, 3])
def test_the_final_model_has_exactly_round_of_n_times_s_zeros(dense: DenseResult, sparsity: float, cycles: int) -> None:
    result = run(IMP(sparsity=sparsity, epochs=2, cycles=cycles), dense)
    assert zeros(result.model) == result.masks.num_pruned == round(NUM_WEIGHTS * sparsity)


def test_cycles_follow_the_cumulative_rule_and_their_masks_are_nested(dense: DenseResult, tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", recipe="x") as directory:
        result = run(IMP(sparsity=0.9, epochs=3, cycles=3), dense, directory)
        states = [directory.load(f"retrain-{cycle}")["state"]["model"] for cycle in range(3)]
    pruned = [entry["pruned"] for entry in result.entries if entry["kind"] == "prune"]
    assert pruned == [round(NUM_WEIGHTS * (1 - 0.1 ** ((j + 1) / 3))) for j in range(3)]
    for before, after in pairwise(states):
        for name in ("hidden.weight", "output.weight"):
            assert not ((before[name] == 0) & (after[name] != 0)).any()


def test_the_pruned_weights_are_the_smallest_of_the_dense_model(dense: DenseResult) -> None:
    result = run(IMP(sparsity=0.8, epochs=0), dense)
    weights = torch.cat([dense.model.hidden.weight.abs().flatten(), dense.model.output.weight.abs().flatten()])
    kept = torch.cat([result.masks["hidden.weight"].flatten(), result.masks["output.weight"].flatten()])
    assert weights[kept].min() >= weights[~kept].max()


def test_a_budget_of_zero_prunes_and_leaves_the_surviving_weights_alone(dense: DenseResult) -> None:
    result = run(IMP(sparsity=0.5, epochs=0), dense)
    kept = result.masks["hidden.weight"]
    assert torch.equal(result.model.hidden.weight[kept], dense.model.hidden.weight[kept])
    assert result.entries[-1]["steps"] == 0


def test_steps_that_do_not_divide_go_to_the_last_cycle(dense: DenseResult) -> None:
    result = run(IMP(sparsity=0.5, epochs=20 / STEPS_PER_EPOCH, cycles=3), dense)
    assert [entry["steps"] for entry in result.entries if entry["kind"] == "retrain"] == [6, 6, 8]


def test_the_ledger_norm_drop_is_the_formula_on_the_dense_weights(dense: DenseResult) -> None:
    result = run(IMP(sparsity=0.9, epochs=1), dense)
    prune, retrain = result.entries
    weights = torch.cat([dense.model.hidden.weight.flatten(), dense.model.output.weight.flatten()]).detach().double()
    removed = weights[weights.abs().argsort()[: round(NUM_WEIGHTS * 0.9)]]
    fraction = round(NUM_WEIGHTS * 0.9) / NUM_WEIGHTS
    expected = float(removed.norm() / weights.norm() / math.sqrt(fraction))
    assert prune["d1"] == pytest.approx(expected, rel=1e-6)
    assert retrain["d2"] == pytest.approx(1 / 10)
    assert retrain["factor"] == pytest.approx(max(expected, 0.1))
    assert retrain["lr_peak"] == pytest.approx(0.1 * retrain["factor"], rel=0.02)
    assert prune["mask_hash"] == retrain["mask_hash"] == result.masks.hash()


def test_the_norm_scope_all_counts_biases_and_batch_norm_too(dense: DenseResult) -> None:
    scoped = [
        run(IMP(sparsity=0.5, epochs=0, retraining=Retraining(norm_scope=scope)), dense).entries[0]
        for scope in ("prunable", "all")
    ]
    assert scoped[1]["norm"] > scoped[0]["norm"]
    assert scoped[1]["d1"] < scoped[0]["d1"]


def test_batch_norm_is_reestimated_from_the_pruned_weights(dense: DenseResult) -> None:
    """With all batches and no augmentation the cumulative mean is the mean of the pre-activations."""
    result = run(IMP(sparsity=0.7, epochs=0), dense)
    inputs = task().train_set().tensors["inputs"]
    with torch.no_grad():
        expected = result.model.hidden(inputs).mean(0)
    torch.testing.assert_close(result.model.norm.running_mean, expected, atol=1e-5, rtol=1e-4)
    assert result.entries[0]["batchnorm_layers"] == 1


def test_without_reestimation_the_stale_statistics_stay(dense: DenseResult) -> None:
    result = run(IMP(sparsity=0.7, epochs=0, retraining=Retraining(reestimate_batches=0)), dense)
    assert torch.equal(result.model.norm.running_mean, dense.model.norm.running_mean)
    assert result.entries[0]["validation_reestimated"] is None


def test_a_fresh_optimizer_and_a_kept_one_give_different_weights_with_the_same_zeros(dense: DenseResult) -> None:
    fresh = run(IMP(sparsity=0.9, epochs=2, cycles=2), dense)
    kept = run(IMP(sparsity=0.9, epochs=2, cycles=2, retraining=Retraining(keep_optimizer=True)), dense)
    assert zeros(fresh.model) == zeros(kept.model)
    assert not torch.equal(fresh.model.hidden.weight, kept.model.hidden.weight)


def test_sparsities_per_layer_are_met_in_every_layer(dense: DenseResult) -> None:
    selection = Selection(allocation={"hidden": 0.75, "output": 0.5})
    result = run(IMP(sparsity=None, epochs=1, cycles=2, selection=selection), dense)
    assert int((result.model.hidden.weight == 0).sum()) == round(192 * 0.75)
    assert int((result.model.output.weight == 0).sum()) == round(72 * 0.5)


def test_a_budget_in_minutes_becomes_steps_once_from_the_time_of_a_step_alone(
    dense: DenseResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation that takes as long as the whole budget is not taken for training steps."""
    budget_s = 0.5
    real = Trainer.evaluate

    def slow(*args: object) -> dict[str, float]:
        time.sleep(budget_s)
        return real(*args)

    imp = IMP(sparsity=0.5, minutes=budget_s / 60)
    monkeypatch.setattr(Trainer, "evaluate", slow)
    with RunDirectory(tmp_path / "run", recipe="x") as directory:
        result = run(imp, dense, directory)
        calibrated = directory.finished("calibrate")
    assert calibrated["seconds_per_step"] < budget_s / CALIBRATION_STEPS
    assert result.entries[-1]["steps"] == calibrated["steps"] == round(budget_s / calibrated["seconds_per_step"])
    with RunDirectory(tmp_path / "run", recipe="x", resume=True) as directory:
        assert run(imp, dense, directory).entries[-1]["steps"] == calibrated["steps"]


def test_a_schedule_that_takes_no_rate_is_refused_before_training_with_a_budget_in_minutes_too(
    dense: DenseResult,
) -> None:
    imp = IMP(sparsity=0.5, minutes=1, retraining=Retraining(schedule="LRW", lr=0.1))
    with pytest.raises(InputError, match="LRW"):
        imp.check(trainer(), trainer().model(), dense=dense.schedule)


def test_a_dense_schedule_of_unknown_length_is_enough_for_llr(dense: DenseResult) -> None:
    imp = IMP(sparsity=0.5, epochs=1, retraining=Retraining(schedule="LLR"))
    result = imp.run(trainer(), copy.deepcopy(dense.model), dense=DenseSchedule.summary(peak=0.1))
    assert result.entries[-1]["d2"] is None


def test_sparsities_per_layer_round_over_several_cycles_as_in_one(dense: DenseResult) -> None:
    """5.5 of 72 weights is a tie, and 1 - (1 - s) falls just short of it."""
    selection = Selection(allocation={"output": 5.5 / 72})
    found = [run(IMP(sparsity=None, epochs=0, cycles=n, selection=selection), dense).masks.num_pruned for n in (1, 3)]
    assert found == [6, 6]


def test_a_sparsity_that_rounds_to_all_weights_is_refused_by_its_own_number(dense: DenseResult) -> None:
    with pytest.raises(InputError, match=r"sparsity=0.9999 of 264 weights rounds to all"):
        run(IMP(sparsity=0.9999, epochs=0), dense)


@pytest.mark.parametrize("content", [{"model": {"x": torch.zeros(3)}, "optimizer": None}, [1], {"step": 3}])
def test_a_foreign_checkpoint_in_the_place_of_a_finished_phase_is_refused(
    dense: DenseResult, tmp_path: Path, content: object
) -> None:
    imp = IMP(sparsity=0.5, epochs=0)
    with RunDirectory(tmp_path / "run", recipe="x") as directory:
        run(imp, dense, directory)
        directory.save("retrain-0", content)
    with (
        RunDirectory(tmp_path / "run", recipe="x", resume=True) as directory,
        pytest.raises(ArtefactError, match=r"retrain-0\.safetensors is no checkpoint of a training phase") as caught,
    ):
        run(imp, dense, directory)
    assert "\n" not in str(caught.value)


def test_trials_of_nearly_equal_rates_have_folders_of_their_own(dense: DenseResult, tmp_path: Path) -> None:
    rates = (0.012345678, 0.012345679)
    imp = IMP(sparsity=0.5, epochs=1, retraining=Retraining(schedule="FT"))
    with RunDirectory(tmp_path / "run", recipe="x") as directory:
        compress(imp, rates, trainer(directory), dense)
    assert len(list((tmp_path / "run" / "trials").iterdir())) == 2


def test_finetuning_at_the_rate_of_a_schedule_that_ended_near_zero_is_refused(dense: DenseResult) -> None:
    to_zero = DenseSchedule.of(Linear(num_steps=120, peak=0.1))
    imp = IMP(sparsity=0.5, epochs=1, retraining=Retraining(schedule="FT"))
    with pytest.raises(InputError, match="near zero"):
        imp.run(trainer(), copy.deepcopy(dense.model), dense=to_zero)
    tuned = IMP(sparsity=0.5, epochs=1, retraining=Retraining(schedule="FT", lr=0.01))
    assert tuned.run(trainer(), copy.deepcopy(dense.model), dense=to_zero).entries[-1]["lr_peak"] == 0.01


def test_a_nan_weight_is_refused_before_anything_is_pruned(dense: DenseResult) -> None:
    model = copy.deepcopy(dense.model)
    with torch.no_grad():
        model.output.weight[0, 0] = math.nan
    before = model.hidden.weight.clone()
    with pytest.raises(InputError, match=r"output\.weight"):
        IMP(sparsity=0.5, epochs=1).run(trainer(), model, dense=dense.schedule)
    assert torch.equal(model.hidden.weight, before)


def test_a_model_without_prunable_layers_is_refused() -> None:
    data = task()
    normalising = SupervisedTask(
        lambda: nn.BatchNorm1d(8), train=data.train_set(), evaluation=data.eval_set(), test=data.test_set()
    )
    with pytest.raises(InputError, match="BatchNorm1d"):
        IMP(sparsity=0.5, epochs=1).run(
            Trainer(normalising, SETTINGS), normalising.model(), dense=DenseSchedule.of(Constant(num_steps=5, peak=0.1))
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0, "epochs": 1}, "in \\[0, 1\\)"),
        ({"sparsity": 90, "epochs": 1}, "For 90 % pass 0.9"),
        ({"sparsity": -0.1, "epochs": 1}, "in \\[0, 1\\)"),
        ({"sparsity": 0.5}, "epochs or as minutes"),
        ({"sparsity": 0.5, "epochs": 1, "minutes": 1}, "epochs or as minutes"),
        ({"sparsity": 0.5, "epochs": -1}, "not be negative"),
        ({"sparsity": 0.5, "epochs": math.inf}, "finite"),
        ({"sparsity": 0.5, "minutes": math.nan}, "finite"),
        ({"sparsity": 0.5, "epochs": 1, "cycles": 0}, "at least 1"),
        ({"sparsity": 0.5, "epochs": 1, "retraining": Retraining(schedule="LLRR")}, "LLRR"),
        ({"sparsity": None, "epochs": 1}, "not both"),
        ({"sparsity": 0.5, "epochs": 1, "selection": Selection(allocation={"*": 0.5})}, "not both"),
    ],
)
def test_arguments_out_of_range_are_refused_with_their_value(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        IMP(**arguments)


@pytest.mark.parametrize("fatal_write", [2, 9, 16, 23])
def test_a_run_that_dies_at_any_write_and_is_resumed_ends_bitwise_the_same(
    dense: DenseResult, tmp_path: Path, fatal_write: int
) -> None:
    imp = IMP(sparsity=0.9, epochs=2, cycles=2, retraining=Retraining(keep_optimizer=True))
    own = partial(run, imp, dense)
    with RunDirectory(tmp_path / "whole", recipe="x") as directory:
        expected = own(directory)
    resumed, phases = killed_and_resumed(own, tmp_path / "killed", fatal_write=fatal_write)
    assert phases == [entry["phase"] for entry in expected.entries]
    assert_same_weights(resumed.model, expected.model)
    assert [entry["mask_hash"] for entry in resumed.entries] == [entry["mask_hash"] for entry in expected.entries]


def test_resuming_from_another_dense_model_is_refused(dense: DenseResult, tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", recipe="x") as directory:
        run(IMP(sparsity=0.9, epochs=1), dense, directory)
    other = copy.deepcopy(dense.model)
    with torch.no_grad():
        other.hidden.weight.mul_(torch.randn(24, 8))
    with RunDirectory(tmp_path / "run", recipe="x", resume=True) as directory, pytest.raises(RunError, match="prune-0"):
        IMP(sparsity=0.9, epochs=1).run(trainer(directory), other, dense=dense.schedule)
