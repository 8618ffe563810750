"""Training from scratch with a gradual method: budget, learning rates, exact zeros and ledger."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from paretorch.artefacts.model import load_artefact, save_model
from paretorch.errors import InputError, RunError
from paretorch.methods.method import Run
from paretorch.methods.schedules import DenseSchedule, MultiStep
from paretorch.methods.schedules.stretched import Stretched
from paretorch.methods.sparsity.continuous.method import ContinuousSparsification
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.gradual.dnw import DNW
from paretorch.methods.sparsity.gradual.dpf import DPF
from paretorch.methods.sparsity.gradual.dst import DST
from paretorch.methods.sparsity.gradual.gmp import GMP
from paretorch.methods.sparsity.gradual.gsm import GSM
from paretorch.methods.sparsity.gradual.lc import LC
from paretorch.methods.sparsity.gradual.rigl import RigL
from paretorch.methods.sparsity.gradual.soft_threshold import SoftThreshold
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.pipelines.arm import compress
from paretorch.pipelines.compression import Compressed, Start
from paretorch.pipelines.dense import DenseResult
from paretorch.pipelines.gradual import GradualPruning
from paretorch.training.run import RunDirectory
from tests.methods.sparsity.gradual.problems import NAMES, NUM_WEIGHTS, STEPS_PER_EPOCH, Small, task, trainer
from tests.pipelines.dying import assert_same_weights, killed_and_resumed

SWEEP = DenseSchedule.of(MultiStep(num_steps=5 * STEPS_PER_EPOCH, peak=0.1, milestones=(0.5, 0.75), warmup=0.1))
GRADUAL: dict[str, Callable[..., GradualMethod]] = {
    "gmp": GMP,
    "gsm": GSM,
    "lc": LC,
    "dpf": DPF,
    "dnw": DNW,
    "soft-threshold": SoftThreshold,
    "dst": DST,
    "rigl": partial(RigL, interval=10),
    "continuous-sparsification": ContinuousSparsification,
}
EXACT = {"gmp", "gsm", "lc", "dpf", "dnw", "rigl", "continuous-sparsification"}


class Partly(GradualMethod):
    """Ends with a given share of zeros, whatever is asked for: a method whose sparsity is not prescribed."""

    name = "partly"
    exact = False

    def __init__(self, *, sparsity: float, share: float) -> None:
        super().__init__(sparsity=sparsity)
        self.share = share

    def finish(self, run: Run) -> None:
        self.leave(run.model, magnitude_masks(run.model, sparsity=self.share))


def run(method: Callable[[], GradualMethod], directory: RunDirectory | None = None, **settings: Any) -> Compressed:
    compression = GradualPruning(method=method, **{"epochs": 5, **settings})
    return compression.run_from(trainer(directory), Start(model=Small(), schedule=SWEEP))


def zeros(model: nn.Module) -> int:
    return sum(int((model.get_parameter(name) == 0).sum()) for name in NAMES)


@pytest.mark.parametrize("name", sorted(GRADUAL))
@pytest.mark.parametrize("epochs", [3, 7.5])
def test_the_whole_budget_is_trained_and_charged_and_nothing_of_the_dense_run(name: str, epochs: float) -> None:
    compression = GradualPruning(method=partial(GRADUAL[name], sparsity=0.9), epochs=epochs)
    result = compression.run_from(trainer(), Start(model=Small(), schedule=SWEEP))
    steps = round(epochs * STEPS_PER_EPOCH)
    assert [entry["steps"] for entry in result.entries if "steps" in entry] == [steps]
    assert result.entries[0]["samples"] == 20 * steps
    assert not compression.from_dense
    assert compression.plan(trainer()) == (f"train from scratch with {name} to 90 % sparsity, {steps} steps", steps)


def test_the_learning_rates_are_those_of_the_dense_run_entry_by_entry_at_its_length_and_stretched_at_others() -> None:
    assert SWEEP.trace is not None
    assert Stretched(num_steps=60, dense=SWEEP).trace() == SWEEP.trace
    assert Stretched(num_steps=180, dense=SWEEP).trace() == tuple(rate for rate in SWEEP.trace for _ in range(3))
    assert Stretched(num_steps=20, dense=SWEEP).trace() == SWEEP.trace[::3]
    assert Stretched(num_steps=60, dense=SWEEP, peak=0.1).trace() == SWEEP.trace
    assert Stretched(num_steps=60, dense=SWEEP, peak=0.2).trace() == tuple(2 * rate for rate in SWEEP.trace)
    curve = run(lambda: GMP(sparsity=0.5)).entries[0]["curve"]
    assert all(point["lr"] == SWEEP.trace[point["step"] - 1] for point in curve)


def test_without_a_recorded_dense_run_there_is_no_curve_to_stretch() -> None:
    compression = GradualPruning(method=lambda: GMP(sparsity=0.5), epochs=5)
    with pytest.raises(InputError, match="only its ends are known"):
        compression.check(trainer(), Small(), dense=DenseSchedule.summary(peak=0.1))
    flat = DenseSchedule.of(MultiStep(num_steps=10, peak=0.0, milestones=(0.5,)))
    with pytest.raises(InputError, match="was 0 throughout"):
        compression.at_rate(0.1).check(trainer(), Small(), dense=flat)


@pytest.mark.parametrize("name", sorted(GRADUAL))
def test_the_final_zeros_are_at_least_those_asked_for_and_exact_where_the_method_says_so(
    tmp_path: Path, name: str
) -> None:
    result = run(partial(GRADUAL[name], sparsity=0.83))
    target, entry = round(0.83 * NUM_WEIGHTS), result.entries[-1]
    assert zeros(result.model) == entry["pruned"] == NUM_WEIGHTS - entry["kept"]
    assert GRADUAL[name](sparsity=0.83).exact == (name in EXACT)
    assert (zeros(result.model) == target) if name in EXACT else (zeros(result.model) >= target)
    assert entry["sparsity"] == entry["pruned"] / NUM_WEIGHTS
    save_model(tmp_path / "model", result.model, constructor=Small, edits=list(result.edits))
    loaded = load_artefact(tmp_path / "model", constructor=Small).model.eval()
    inputs = task().test_set().tensors["inputs"]
    assert torch.equal(loaded(inputs), result.model.eval()(inputs))
    assert zeros(loaded) == zeros(result.model)


@pytest.mark.parametrize("name", sorted(GRADUAL))
def test_the_model_is_left_plain_and_the_curve_holds_the_sparsity_after_every_epoch(name: str) -> None:
    result = run(partial(GRADUAL[name], sparsity=0.9))
    assert repr(result.model) == repr(Small())
    assert result.model.state_dict().keys() == Small().state_dict().keys()
    assert all(type(parameter) is nn.Parameter for parameter in result.model.parameters())
    points = {point["step"]: point["sparsity"] for point in result.entries[0]["curve"] if "sparsity" in point}
    assert list(points) == [12, 24, 36, 48, 60]
    assert all(0 <= value <= 1 for value in points.values())


@pytest.mark.parametrize("name", sorted(GRADUAL))
@pytest.mark.parametrize("fatal_write", [3, 33, 61, 62])
def test_a_run_that_dies_at_any_write_is_resumed_bitwise(tmp_path: Path, name: str, fatal_write: int) -> None:
    own = partial(run, partial(GRADUAL[name], sparsity=0.9))
    expected = own()
    resumed, phases = killed_and_resumed(own, tmp_path / "run", fatal_write=fatal_write)
    assert phases == ["gradual", "zeros"]
    assert_same_weights(resumed.model, expected.model)
    assert resumed.entries[-1]["mask_hash"] == expected.entries[-1]["mask_hash"]
    assert resumed.entries[-1]["validation"] == expected.entries[-1]["validation"]


@pytest.mark.parametrize("fatal_write", [30, 50, 55, 63])
def test_continuous_sparsification_that_dies_before_or_while_it_is_fine_tuned_is_resumed_bitwise(
    tmp_path: Path, fatal_write: int
) -> None:
    """Writes: 48 steps, a line, the line of the zeros, 12 steps, a line."""
    method = partial(GRADUAL["continuous-sparsification"], sparsity=0.9)
    own = partial(run, method, finetune_epochs=1, epochs=5)
    expected = own()
    resumed, phases = killed_and_resumed(own, tmp_path / "run", fatal_write=fatal_write)
    assert phases == ["gradual", "zeros", "finetune"]
    assert_same_weights(resumed.model, expected.model)


def test_other_zeros_than_the_ledger_records_are_refused(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", recipe="x") as directory:
        run(lambda: Partly(sparsity=0.5, share=0.6), directory)
    with (
        RunDirectory(tmp_path / "run", recipe="x", resume=True) as directory,
        pytest.raises(RunError, match="other zeros than the ledger"),
    ):
        run(lambda: Partly(sparsity=0.5, share=0.7), directory)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.8), (0.3, 0.8), (0.79, 0.8), (0.8, 0.8), (0.9, 0.9)])
def test_a_method_that_is_not_exact_is_pruned_to_the_target_and_never_revived(share: float, expected: float) -> None:
    result = run(lambda: Partly(sparsity=0.8, share=share))
    entry = result.entries[-1]
    assert entry["pruned_by_method"] == round(share * NUM_WEIGHTS)
    assert entry["pruned"] == zeros(result.model) == round(expected * NUM_WEIGHTS)
    assert len(result.notes) == (expected > 0.8)
    assert all("zero, more than the 80 % that its name gives" in note for note in result.notes)
    alone = run(lambda: Partly(sparsity=0.0, share=share)).model
    for name in NAMES:
        ours, theirs = result.model.get_parameter(name), alone.get_parameter(name)
        assert not ours[theirs == 0].any()  # never revived
        assert torch.equal(ours[ours != 0], theirs[ours != 0])  # nothing else moved
    kept = torch.cat([alone.get_parameter(n)[result.model.get_parameter(n) != 0].abs() for n in NAMES])
    gone = torch.cat([alone.get_parameter(n)[result.model.get_parameter(n) == 0].abs() for n in NAMES])
    assert not len(gone) or gone.max() <= kept.min()


def test_the_ledger_holds_quality_before_and_after_batch_norm_and_the_statistics_are_of_the_pruned_model() -> None:
    result = run(lambda: Partly(sparsity=0.8, share=0.1))
    trained, entry = result.entries
    assert entry["validation"] == entry["validation_reestimated"] == trainer().evaluate(result.model)["accuracy"]
    with torch.no_grad():
        expected = result.model.hidden(task().train_set().tensors["inputs"]).mean(0)
    torch.testing.assert_close(result.model.norm.running_mean, expected, atol=1e-5, rtol=1e-4)
    stale = run(lambda: Partly(sparsity=0.8, share=0.1), reestimate_batches=0)
    assert stale.entries[-1]["validation_reestimated"] is None
    assert stale.entries[-1]["validation"] == stale.entries[-1]["validation_raw"] == entry["validation_raw"]
    assert trained["kind"] == "gradual"
    assert (trained["method"], trained["target_sparsity"]) == ("partly", 0.8)


def test_one_compression_runs_twice_with_methods_of_their_own() -> None:
    made: list[GMP] = []

    def make() -> GMP:
        made.append(GMP(sparsity=0.9))
        return made[-1]

    compression = GradualPruning(method=make, epochs=5)
    first, second = (compression.run_from(trainer(), Start(model=Small(), schedule=SWEEP)) for _ in range(2))
    assert len({id(method) for method in made}) == len(made)
    assert torch.equal(first.model.hidden.weight, second.model.hidden.weight)
    assert first.entries[-1]["prunings"] == second.entries[-1]["prunings"] != []


def test_rates_to_choose_from_scale_the_whole_curve_and_every_trial_is_charged(tmp_path: Path) -> None:
    compression = GradualPruning(method=lambda: GMP(sparsity=0.9), epochs=5)
    with RunDirectory(tmp_path / "run", recipe="x") as directory:
        best = compress(
            compression, (0.1, 0.001), trainer(directory), DenseResult(model=Small(), schedule=SWEEP, entry={})
        )
    (left,) = best.trials
    assert (left["lr_peak"], left["steps"]) == (0.001, 60)
    assert best.trained.entries[0]["lr_peak"] == 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: GradualPruning(method=lambda: GMP(sparsity=0.9), epochs=0),
            "positive, finite number of epochs; got 0",
        ),
        (lambda: GradualPruning(method=lambda: GMP(sparsity=0.9), epochs=float("inf")), "got inf"),
        (lambda: GradualPruning(method=lambda: GMP(sparsity=0.9), epochs=1, reestimate_batches=-1), "not be negative"),
        (lambda: GradualPruning(method=lambda: GMP(sparsity=9), epochs=1), "in \\[0, 1\\); got 9"),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], GradualPruning], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0.01}, r"0\.01 epochs are less than one optimizer step; an epoch has 12"),
        ({"epochs": 2}, "room for 1 before the last 12; gradual pruning needs at least two"),
        ({"method": lambda: GMP(sparsity=0.9999)}, "rounds to all of them"),
    ],
)
def test_what_the_task_cannot_do_is_refused_before_anything_is_trained(settings: dict[str, Any], message: str) -> None:
    compression = GradualPruning(**{"method": lambda: GMP(sparsity=0.9), "epochs": 5, **settings})
    with pytest.raises(InputError, match=message):
        compression.check(trainer(), trainer().model(), dense=SWEEP)


@pytest.mark.parametrize("name", ["dnw", "continuous-sparsification"])
def test_the_last_epochs_of_the_budget_fine_tune_with_the_zeros_in_force(name: str) -> None:
    method = partial(GRADUAL[name], sparsity=0.9)
    compression = GradualPruning(method=method, epochs=8, finetune_epochs=3, finetune_lr=0.05)
    result = compression.run_from(trainer(), Start(model=Small(), schedule=SWEEP))
    assert [entry["phase"] for entry in result.entries] == ["gradual", "zeros", "finetune"]
    assert [entry.get("steps") for entry in result.entries] == [5 * STEPS_PER_EPOCH, None, 3 * STEPS_PER_EPOCH]
    assert compression.plan(trainer())[1] == 8 * STEPS_PER_EPOCH
    before = run(method)
    assert result.entries[1]["mask_hash"] == before.entries[1]["mask_hash"]
    assert zeros(result.model) == round(0.9 * NUM_WEIGHTS)
    pairs = [(result.model.get_parameter(key), before.model.get_parameter(key)) for key in NAMES]
    assert all(torch.equal(weight == 0, earlier == 0) for weight, earlier in pairs)
    assert any(not torch.equal(weight, earlier) for weight, earlier in pairs)
    rates = [point["lr"] for point in result.entries[2]["curve"]]
    assert max(rates) <= 0.05
    assert rates[-1] < 0.1 * max(rates)
    assert {"masks", "llr"} < set(compression.method_ids())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"finetune_epochs": 5}, "last ones of epochs=5, from 0 and fewer than all; got 5"),
        ({"finetune_epochs": -1}, "got -1"),
        ({"finetune_lr": 0.1}, "belongs to fine-tuning, and finetune_epochs is 0"),
    ],
)
def test_a_fine_tuning_that_leaves_nothing_or_is_none_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GradualPruning(method=lambda: DNW(sparsity=0.9), epochs=5, **settings)


def test_a_fine_tuning_of_less_than_a_step_is_refused_before_anything_is_trained() -> None:
    short = GradualPruning(method=lambda: DNW(sparsity=0.9), epochs=5, finetune_epochs=0.01)
    with pytest.raises(InputError, match=r"0\.01 epochs are less than one optimizer step"):
        short.check(trainer(), trainer().model(), dense=SWEEP)


def test_a_comparison_is_refused_with_the_reason() -> None:
    with pytest.raises(InputError, match="'gmp' cannot be an arm of a comparison"):
        GradualPruning(method=lambda: GMP(sparsity=0.9), epochs=5).rehearsal(trainer())
