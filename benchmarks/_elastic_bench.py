"""What the arms of `elastic_width` share for one seed: trainer, groups, calibration, and who pays for which pass.

Every forward pass is counted by a hook: 3 x MACs for one that learns (the backward pass is twice the forward), 1 x MACs
for one on calibration examples; evaluations on the test set are no part of any cost. Seconds are CPU seconds.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from _elastic_problem import BUDGETS, QUANTUM, Problem
from torch import Tensor, nn

from paretorch.methods.method import Method
from paretorch.methods.schedules import Cosine
from paretorch.methods.width.calibration import Calibration
from paretorch.methods.width.grid import Grids, grids
from paretorch.methods.width.groups import Profile, WidthGroups
from paretorch.methods.width.tracing import find_groups
from paretorch.training.data import Batch, Examples
from paretorch.training.trainer import Trainer

STATISTICS_BATCHES, STATISTICS_SIZE = 8, 128  # training examples for the batch-norm statistics of a model
MEASURED_BATCHES = 2  # as many of them for a profile that is only measured
SPLITS = 2


@dataclass
class Meter:
    """What one training or one choice costs: MACs and CPU seconds. choosing: whether passes without learning count."""

    macs: float = 0.0
    seconds: float = 0.0
    choosing: bool = False

    def spent(self) -> dict[str, float]:
        return {"macs": self.macs, "seconds": self.seconds}


@dataclass
class Bench:
    """One problem and seed: trainer, groups of the uncut model, calibration, and who is charged at the moment."""

    problem: Problem
    trainer: Trainer
    groups: WidthGroups
    grids: Grids
    statistics: Sequence[Batch]
    splits: Sequence[Sequence[Batch]]
    meter: Meter = field(default_factory=Meter)

    @property
    def limits(self) -> dict[float, float]:
        """Greatest number of parameters, by budget."""
        return {budget: budget * self.groups.num_params(self.groups.full) for budget in BUDGETS}

    @property
    def calibration(self) -> Calibration:
        return Calibration(losses=self.losses, splits=self.splits, statistics=self.statistics[:MEASURED_BATCHES])

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of every example, charged as a forward pass."""
        before, self.meter.choosing = self.meter.choosing, True
        try:
            return self.trainer.task.loss(model, batch, "none")
        finally:
            self.meter.choosing = before

    @contextmanager
    def charged(self) -> Iterator[Meter]:
        """A fresh meter that all passes inside are charged to."""
        outer, self.meter = self.meter, Meter()
        began = time.process_time()
        try:
            yield self.meter
        finally:
            self.meter.seconds = time.process_time() - began
            self.meter = outer

    def counted(self, model: nn.Module) -> nn.Module:
        """The model, with a hook that charges its passes; copies and cuts of it keep the hook."""

        def charge(module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
            learns = module.training
            if learns or self.meter.choosing:
                self.meter.macs += (3 if learns else 1) * self.groups.num_macs(widths_of(module)) * len(inputs[0])

        model.register_forward_hook(charge)
        return model


def bench(problem: Problem, task: Any, seed: int) -> Bench:
    """Everything that the arms of one seed share."""
    trainer = Trainer(task, problem.settings, seed=seed)
    groups = find_groups(trainer.model().eval(), task.example_inputs())
    assert groups.full == problem.widths, f"the groups {groups.names} are not the hidden layers"
    chosen = torch.randperm(len(trainer.train_set), generator=torch.Generator().manual_seed(seed))
    statistics = _batches(task, trainer.train_set, chosen[: STATISTICS_BATCHES * STATISTICS_SIZE], STATISTICS_SIZE)
    count = min(problem.calibration, len(trainer.eval_set))
    splits = [
        _batches(task, trainer.eval_set, part, 512) for part in torch.arange(count - count % SPLITS).chunk(SPLITS)
    ]
    return Bench(problem, trainer, groups, grids(groups, quantum=QUANTUM), statistics, splits)


def _batches(task: Any, examples: Examples, index: Tensor, size: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    return [task.prepare(examples.batch(part), training=False, generator=generator) for part in index.split(size)]


def train(
    bench: Bench, model: nn.Module, name: str, *, steps: int, lr: float, methods: Sequence[Method] = ()
) -> dict[str, float]:
    """Train in place; what it cost."""
    with bench.charged() as meter:
        schedule = Cosine(num_steps=steps, peak=lr)
        bench.trainer.fit(model, phase=name, num_steps=steps, schedule=schedule, methods=methods)
    return meter.spent()


def accuracy(bench: Bench, model: nn.Module) -> float:
    """On the test set, with the batch-norm statistics that the model has."""
    return bench.trainer.evaluate(model, bench.trainer.task.test_set())["accuracy"]


def widths_of(model: nn.Module) -> Profile:
    """Widths of the hidden layers: rows of every matrix and kernel but the last."""
    return tuple(len(weight) for weight in model.parameters() if weight.dim() > 1)[:-1]
