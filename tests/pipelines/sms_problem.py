"""A small task for the tests of soups, which a worker process can build too: `make_task(SOURCE, options=...)`."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.methods.method import Method, Run
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask

SOURCE = f"{__name__}:task"
NUM_WEIGHTS = 8 * 24 + 24 * 3  # prunable weights of the model below
STEPS_PER_EPOCH = 12
SETTINGS = TrainSettings(
    batch_size=20, optimizer=OptimizerSpec(lr=0.1, weight_decay=1e-4), checkpoint_seconds=0, device="cpu"
)


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


def task(
    kind: str = "", step: int = -1, num_steps: list[int] = [], seeds: list[int] = [], marker: str = "", slow_s: float = 0.0  # noqa: B006, E501
) -> Problem:
    """The task, with trouble at a step of every training of so many steps, if asked."""
    stream = torch.Generator().manual_seed(5)
    x = torch.randn(400, 8, generator=stream)
    y = (x @ torch.randn(8, 3, generator=stream)).argmax(1)
    found = Problem(Small, train=(x[:240], y[:240]), evaluation=(x[240:320], y[240:320]), test=(x[320:], y[320:]))
    if kind or slow_s:
        wanted = {"kind": kind, "step": step, "num_steps": num_steps, "seeds": seeds, "marker": marker}
        found.trouble = [Trouble({**wanted, "slow_s": slow_s})]
    return found
