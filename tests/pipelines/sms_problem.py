"""A small task for the tests of soups, which a worker process can build too: `make_task(SOURCE, options=...)`."""

import os
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.methods.method import Method, Run
from paretorch.methods.schedules import MultiStep
from paretorch.pipelines.compression import Start
from paretorch.pipelines.dense import DenseResult, train_dense
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.tasks.registry import make_task
from paretorch.training.trainer import Trainer

SOURCE = f"{__name__}:task"
NUM_WEIGHTS = 8 * 24 + 24 * 3  # prunable weights of the model below
STEPS_PER_EPOCH = 12
SEED = 3
SETTINGS = TrainSettings(batch_size=20, optimizer=OptimizerSpec(lr=0.1, weight_decay=1e-4), device="cpu")
OFTEN = replace(SETTINGS, checkpoint_seconds=0)  # so that a process that is killed has a checkpoint
TIMES = ("seconds", "step_time", "overhead", "energy", "wall_s", "workers", "curve")


class Small(nn.Module):
    """A perceptron with batch normalisation and dropout, so that statistics and random streams matter."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.norm, self.output = nn.Linear(8, 24), nn.BatchNorm1d(24), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(torch.dropout(self.norm(self.hidden(x)).relu(), 0.1, self.training))


class Trouble(Method):
    """What may happen to a training: it is slow, its process is killed once, its loss becomes infinite."""

    name = "trouble"

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def penalty(self, run: Run) -> Tensor | None:
        wanted = self.settings
        time.sleep(wanted["slow_s"])
        if run.step != wanted["step"] or run.num_steps not in wanted["num_steps"]:
            return None
        if wanted["kind"] == "infinite" and run.seed in wanted["seeds"]:
            return run.model.output.weight.sum() * float("inf")
        marker = Path(wanted["marker"])
        if wanted["kind"] == "killed" and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return None


class Problem(SupervisedTask):
    """Three classes of points."""

    trouble: Sequence[Method] = ()

    def methods(self) -> Sequence[Method]:
        return self.trouble


def task(**trouble: Any) -> Problem:
    """The task, with trouble at a step of every training of so many steps, if asked."""
    stream = torch.Generator().manual_seed(5)
    x = torch.randn(400, 8, generator=stream)
    y = (x @ torch.randn(8, 3, generator=stream)).argmax(1)
    found = Problem(Small, train=(x[:240], y[:240]), evaluation=(x[240:320], y[240:320]), test=(x[320:], y[320:]))
    if trouble:
        usual = {"kind": "", "step": -1, "num_steps": [], "seeds": [], "marker": "", "slow_s": 0.0}
        found.trouble = [Trouble(usual | trouble)]
    return found


def trainer(directory: RunDirectory | None = None, *, workers: int = 1, often: bool = False, **trouble: Any) -> Trainer:
    """A trainer that worker processes can build too."""
    made = make_task(SOURCE, options=trouble)
    return Trainer(made, OFTEN if often else SETTINGS, seed=SEED, directory=directory, workers=workers)


@cache
def dense() -> DenseResult:
    """A trained dense model."""
    return train_dense(trainer(), MultiStep(num_steps=10 * STEPS_PER_EPOCH, peak=0.1, milestones=(0.5, 0.75)))


def start() -> Start:
    """What an arm that shares nothing starts from."""
    return Start(model=dense().model, schedule=dense().schedule)


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models are equal bit by bit, statistics and counters included."""
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def counted(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ledger lines without what a clock measured."""
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]
