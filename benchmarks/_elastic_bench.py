"""What the arms of `elastic_width` share for one seed: trainer, groups, calibration, and who pays for which pass.

Every forward pass is counted by a hook: 3 x MACs for one that learns (the backward pass is twice the forward), 1 x MACs
for one on calibration examples; evaluations on the test set are no part of any cost. Seconds are CPU seconds.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from _elastic_problem import Problem
from torch import Tensor, nn

from paretorch.methods.method import Method
from paretorch.methods.schedules import Cosine
from paretorch.methods.width.calibration import Calibration
from paretorch.methods.width.grid import Grids, grids
from paretorch.methods.width.groups import Profile, WidthGroups
from paretorch.methods.width.tracing import find_groups
from paretorch.pipelines.batches import training_batches
from paretorch.pipelines.elastic.calibration import calibration_of
from paretorch.training.data import Batch
from paretorch.training.trainer import Trainer

STATISTICS_BATCHES = 16  # of training examples for the batch-norm statistics of a model
MEASURED_BATCHES = 4  # for those of a profile that is only measured


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
    meter: Meter = field(default_factory=Meter)

    @property
    def calibration(self) -> Calibration:
        """Training examples on which profiles are measured, as in the pipeline that ships, charged."""
        made = calibration_of(self.trainer, examples=self.problem.calibration, batches=MEASURED_BATCHES)
        return replace(made, losses=self.losses)

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
    statistics = list(training_batches(trainer, name="statistics", count=STATISTICS_BATCHES, augmented=True))
    return Bench(problem, trainer, groups, grids(groups, quantum=problem.quantum), statistics)


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
