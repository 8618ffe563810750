"""A small task for methods that make a model sparse while it trains, and a method that watches another one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paretorch.methods.method import Method, Run
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer

NUM_WEIGHTS = 8 * 24 + 24 * 3  # prunable weights of the model below
STEPS_PER_EPOCH = 12
NAMES = ("hidden.weight", "output.weight")


class Small(nn.Module):
    """A perceptron with batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.norm, self.output = nn.Linear(8, 24), nn.BatchNorm1d(24), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.norm(self.hidden(x)).relu())


def task() -> SupervisedTask:
    """Three classes by a linear rule; 240 training examples."""
    stream = torch.Generator().manual_seed(5)
    x = torch.randn(400, 8, generator=stream)
    y = (x @ torch.randn(8, 3, generator=stream)).argmax(1)
    return SupervisedTask(Small, train=(x[:240], y[:240]), evaluation=(x[240:320], y[240:320]), test=(x[320:], y[320:]))


def trainer(directory: RunDirectory | None = None, *, seed: int = 3, **settings: Any) -> Trainer:
    """SGD with momentum and weight decay, an epoch of 12 steps, a checkpoint after each."""
    given = {"optimizer": OptimizerSpec(lr=0.1, weight_decay=1e-3), "checkpoint_seconds": 0, **settings}
    return Trainer(task(), TrainSettings(batch_size=20, device="cpu", **given), seed=seed, directory=directory)


def trained(*methods: Method, steps: int, **given: Any) -> nn.Module:
    """A fresh model after so many steps with the methods; keyword arguments as `trainer`."""
    own = trainer(**given)
    model = own.model()
    own.fit(model, phase="gradual", num_steps=steps, methods=methods)
    return model


class Watch(Method):
    """Calls `look(run)` after every update; stands behind the method it watches."""

    name = "watch"

    def __init__(self, look: Callable[[Run], None]) -> None:
        self.look = look

    def after_update(self, run: Run) -> None:
        self.look(run)


class KilledError(Exception):
    """Stands for a process that dies."""


class Fatal(Method):
    """Dies at a step, as a process does: nothing is saved on the way out."""

    name = "fatal"

    def __init__(self, step: int | None = None) -> None:
        self.step = step

    def before_forward(self, run: Run) -> None:
        if run.step == self.step:
            raise KilledError


def assert_resumes(make: Callable[[], Method], folder: Path, *, steps: int, fatal_step: int, **given: Any) -> None:
    """A run that dies before `fatal_step` and is resumed leaves the bits of the run that was not interrupted."""
    whole = trained(make(), Fatal(), steps=steps, **given)
    with pytest.raises(KilledError), RunDirectory(folder, recipe="x") as directory:
        trained(make(), Fatal(fatal_step), steps=steps, directory=directory, **given)
    with RunDirectory(folder, recipe="x", resume=True) as directory:
        assert directory.load("current")["progress"]["step"] == fatal_step
        resumed = trained(make(), Fatal(), steps=steps, directory=directory, **given)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
