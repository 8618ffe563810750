"""Layers of different importance: searched widths fine-tune to a lower error than equal widths of the same budget.

The teacher has hidden layers of 48, 6, 48 and 6 units; the student four of 96. It shows that the search finds which
layers matter here, and nothing about other tasks.
"""

from statistics import mean

import pytest
import torch
from torch import nn

from paretorch.methods.schedules import Cosine, DenseSchedule, Linear
from paretorch.methods.width.allocation.costs import cost_of
from paretorch.methods.width.extract import extract
from paretorch.methods.width.profile import allocate
from paretorch.pipelines.dense import DenseResult
from paretorch.pipelines.elastic import ElasticRun, Widths
from paretorch.pipelines.elastic.search import equal_ratios
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer
from tests.methods.width.handmade import perceptron

STUDENT = (32, 96, 96, 96, 96, 8)


def task() -> SupervisedTask:
    """Outputs of a random teacher, each scaled to variance 1."""
    with torch.random.fork_rng():
        torch.manual_seed(11)
        teacher = perceptron(32, 48, 6, 48, 6, 8)
        for layer in teacher:
            if isinstance(layer, nn.Linear):
                nn.init.orthogonal_(layer.weight, gain=2.0)
        inputs = torch.randn(17_000, 32)
    with torch.no_grad():
        targets = teacher(inputs)
    targets = (targets - targets.mean(0)) / targets.std(0)
    parts = [(inputs[i], targets[i]) for i in torch.arange(17_000).split([15_000, 1000, 1000])]
    return SupervisedTask(lambda: perceptron(*STUDENT), train=parts[0], evaluation=parts[1], test=parts[2], loss="mse")


@pytest.mark.slow
def test_searched_widths_fine_tune_to_a_lower_error_than_equal_widths() -> None:
    own = task()
    settings = TrainSettings(
        batch_size=64, optimizer=OptimizerSpec(name="adamw", lr=2e-3), device="cpu", evaluate_epochs=1000
    )
    searched, equal = [], []
    for seed in range(3):
        trainer = Trainer(own, settings, seed=seed)
        schedule = DenseSchedule.of(Linear(num_steps=2000, peak=2e-3))
        dense = DenseResult(model=trainer.model(), schedule=schedule, entry={})
        run = ElasticRun(epochs=8, sampler="single-layer", widths=Widths(quantum=4), calibration_examples=1000)
        result = run.train(trainer, dense)
        groups, grids = result.groups, run.widths.grids(result.groups)
        cost = cost_of(groups, "params")
        cap = int(0.12 * cost(groups.full))
        profiles = {
            "searched": allocate(result.final.tables, cost, cap).profile,
            "equal": [profile for profile in equal_ratios(groups.full, grids) if cost(profile) <= cap][-1],
        }
        for name, losses in (("searched", searched), ("equal", equal)):
            model = extract(result.final.model, groups, profiles[name])
            fitted = trainer.fit(model, phase=name, num_steps=600, schedule=Cosine(num_steps=600, peak=1e-3))
            losses.append(fitted.validation["mse"])
    assert mean(searched) < 0.95 * mean(equal)
