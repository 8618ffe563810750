"""A task whose stages take as long as one says, on a clock that is set by hand or on the machine's."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.training.data import Batch, Examples
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer
from tests.training.problems import linear_task, plain

Wait = Callable[[float], None]


class SlowExamples:
    """Examples that take `seconds` per batch to read."""

    def __init__(self, examples: Examples, wait: Callable[[], None]) -> None:
        self.examples, self.wait = examples, wait

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, index: Tensor) -> Batch:
        self.wait()
        return self.examples.batch(index)


class SlowSGD(torch.optim.SGD):
    """SGD that takes a while."""

    def __init__(self, parameters: Iterable[nn.Parameter], wait: Callable[[], None]) -> None:
        super().__init__(parameters, lr=0.1)
        self.wait = wait

    def step(self, closure: Any = None) -> None:
        super().step()
        self.wait()


class SlowTask(SupervisedTask):
    """Least squares whose stages call `wait` with their seconds and are counted in `calls`."""

    def __init__(self, wait: Wait, **seconds: float) -> None:
        vars(self).update(vars(linear_task()))
        self.calls: dict[str, int] = {}

        def stage(name: str) -> None:
            self.calls[name] = self.calls.get(name, 0) + 1
            wait(seconds.get(name, 0.0))

        self.stage = stage

    def train_set(self) -> Examples:
        return SlowExamples(super().train_set(), lambda: self.stage("fetch"))

    def prepare(self, batch: Batch, *, training: bool, generator: torch.Generator) -> Batch:
        self.stage("prepare")
        return batch

    def loss(self, model: nn.Module, batch: Batch, reduction: str = "mean") -> Tensor:
        self.stage("forward")
        loss = super().loss(model, batch, reduction)
        loss.register_hook(lambda _gradient: self.stage("backward"))
        return loss

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return SlowSGD(parameters, lambda: self.stage("update"))


def slow_trainer(wait: Wait, *, accumulate: int = 1, **seconds: float) -> Trainer:
    """A trainer of a `SlowTask`; seconds of "fetch", "prepare", "forward", "backward" and "update", otherwise 0."""
    task = SlowTask(wait, **seconds)
    return Trainer(task, replace(plain(8, accumulate=accumulate), optimizer=task.optimizer))
