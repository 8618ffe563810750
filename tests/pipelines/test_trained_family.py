"""Models trained from scratch at several durations: one that is stopped early, and one that diverges."""

from pathlib import Path

import torch
from torch import Tensor

from paretorch.comparisons import judge
from paretorch.evidence.families import charge
from paretorch.methods.method import Method, Run
from paretorch.methods.schedules import Linear
from paretorch.pipelines.dense import train_dense
from paretorch.pipelines.trained_family import TrainedFamily
from paretorch.recipes import load_recipe
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer
from tests.training.problems import normed_task, plain


class Weights(Method):
    """Keeps the weights after every step."""

    name = "weights"

    def __init__(self) -> None:
        self.kept: dict[int, list[Tensor]] = {}

    def after_update(self, run: Run) -> None:
        self.kept[run.step] = [weight.detach().clone() for weight in run.model.parameters()]


class Watched(SupervisedTask):
    watcher: Weights

    def methods(self) -> list[Method]:
        return [self.watcher]


def test_a_run_that_is_stopped_early_ends_with_the_weights_that_the_long_run_had_at_that_step() -> None:
    task = normed_task()
    task.__class__ = Watched
    family = TrainedFamily(
        name="early",
        role="baseline",
        durations=[1, 3],  # 4 steps in an epoch
        task=task,
        settings=plain(16, momentum=0.9),
        curve=lambda steps, _rate: Linear(num_steps=steps, peak=0.2),
        stop_early=True,
    )
    kept = {}
    for duration in (1, 3):
        task.watcher = Weights()  # type: ignore[attr-defined]
        trainer = Trainer(task, family.settings, seed=1)
        train_dense(trainer, family._schedule(trainer, duration, None))
        kept[duration] = task.watcher.kept  # type: ignore[attr-defined]
    assert (max(kept[1]), max(kept[3])) == (3, 11)
    for step in range(4):
        assert all(torch.equal(a, b) for a, b in zip(kept[1][step], kept[3][step], strict=True)), step


DIVERGING = """
name = "diverging"
task = "digits"
seeds = [0]
[task_options]
hidden = [8]
[train]
batch_size = 100
lr = 0.1
[dense]
epochs = 1
[compare]
candidate = "calm"
baseline = "wild"
durations = [1, 2]
left_out = { smaller = "not for this test" }
[[dense_arm]]
name = "calm"
[[dense_arm]]
name = "wild"
train = { lr = 1e30 }
[[arm]]
name = "wild when pruned"
sparsity = 0.5
schedule = "LLR"
lr = 1e30
"""


def test_a_run_that_diverges_gets_a_record_and_the_others_go_on_and_the_verdict_names_it(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(DIVERGING)
    recipe, out = load_recipe(str(tmp_path / "recipe.toml")), tmp_path / "out"
    comparison = recipe.comparison(data=None, command="test")
    out.mkdir()
    comparison.time_steps(out)  # for real: to time a recipe is no reason to diverge
    for unit in comparison.units():
        comparison.run_unit(unit, out)
    found = {record.run_id: record for record in comparison.records(out)}
    assert {name: record.status for name, record in found.items()} == {
        "calm-1ep-s0": "ok",
        "calm-2ep-s0": "ok",
        "wild-1ep-s0": "diverged",
        "wild-2ep-s0": "diverged",
        "wild-when-pruned-1ep-s0": "diverged",
        "wild-when-pruned-2ep-s0": "diverged",
    }
    wild = found["wild-1ep-s0"]
    assert wild.quality is None
    assert wild.notes[0].startswith("diverged: loss = ")
    assert charge(wild, "steps") == 11  # what it was granted
    assert charge(found["wild-when-pruned-1ep-s0"], "steps") == 11 + 11  # of the dense model, and what it was granted
    assert recipe.compare is not None
    verdict = judge(found.values(), recipe.compare).verdict
    assert not verdict.claimed
    assert any("wild: 2 of 2 runs did not end well" in warning for warning in verdict.warnings)
    assert any("wild-1ep-s0 (diverged)" in warning for warning in verdict.warnings)
    assert comparison.run_unit(comparison.units()[1], out) == found[comparison.units()[1].id]
