"""A training step without one of its stages: the same trainer, to which examples, copies or updates cost nothing.

What a stage costs is best told by taking it away. The stages, each of which can be removed:

    "fetch"    reading examples and collating them: the first batch of each size is given again and again
    "prepare"  the task's `prepare` (scaling, augmentation): its first result of each size is given again
    "copy"     the copy of a batch to the device: the first batch of each size stays there
    "update"   the optimizer's `step`; clipping, methods and the clearing of gradients stay

They are removed from copies of the task and of the settings; the trainer that was given does not change.
"""

import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from paretorch.measurement.latency import synchronizer
from paretorch.training.data import Batch, Examples
from paretorch.training.settings import OptimizerFactory
from paretorch.training.task import Task
from paretorch.training.trainer import Trainer

Part = Literal["fetch", "prepare", "copy", "update"]


def ablated(trainer: Trainer, removed: Iterable[Part], *, forward: Callable[[float], None] | None = None) -> Trainer:
    """A trainer like `trainer`, whose steps lack the parts that are `removed`.

    Args:
        trainer: left as it is; its sets of examples are shared.
        removed: which parts.
        forward: is called with the seconds of every forward pass with its loss; on an accelerator each of them then
            waits for the work that was queued before.

    Returns:
        A trainer without a directory. Its first steps fill what is given again later: do not time them.
    """
    parts = set(removed)
    task = copy.copy(trainer.task)
    examples: Examples = trainer.train_set
    if parts & {"fetch", "copy"}:
        device = trainer.device if "copy" in parts else None
        examples = _Kept(examples, fetch="fetch" not in parts, device=device)
    eval_set = trainer.eval_set
    shadows: dict[str, Any] = {"train_set": lambda: examples, "eval_set": lambda: eval_set}
    if "prepare" in parts:
        shadows["prepare"] = _PreparedOnce(trainer.task)
    if forward is not None:
        shadows["loss"] = _TimedLoss(trainer.task, synchronizer(trainer.device), forward)
    vars(task).update(shadows)  # on the copy alone; the class stays the same for methods that ask for it
    settings = trainer.settings
    if "update" in parts:
        settings = replace(settings, optimizer=_without_step(settings.optimizer))
    return Trainer(task, settings, seed=trainer.seed)


class _Kept:
    """The first batch of each size instead of every batch; with `fetch`, the others are read and thrown away."""

    def __init__(self, examples: Examples, *, fetch: bool, device: torch.device | None) -> None:
        self._examples, self._fetch, self._device = examples, fetch, device
        self._kept: dict[int, Batch] = {}

    def __len__(self) -> int:
        return len(self._examples)

    def batch(self, index: Tensor) -> Batch:
        size = len(index)
        if self._fetch or size not in self._kept:
            batch = self._examples.batch(index)
            if size not in self._kept:
                if self._device is not None:
                    batch = {name: tensor.to(self._device) for name, tensor in batch.items()}
                self._kept[size] = batch
        return dict(self._kept[size])


class _PreparedOnce:
    """In the place of a task's `prepare`."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._kept: dict[int, Batch] = {}

    def __call__(self, batch: Batch, *, training: bool, generator: torch.Generator) -> Batch:
        size = len(batch["index"])
        if size not in self._kept:
            self._kept[size] = self._task.prepare(batch, training=training, generator=generator)
        return dict(self._kept[size])


class _TimedLoss:
    """In the place of a task's `loss`."""

    def __init__(self, task: Task, synchronize: Callable[[], None] | None, report: Callable[[float], None]) -> None:
        self._task, self._synchronize, self._report = task, synchronize or _nothing, report

    def __call__(self, model: nn.Module, batch: Batch, reduction: str = "mean") -> Tensor:
        self._synchronize()
        began = time.perf_counter()
        loss = self._task.loss(model, batch, reduction)
        self._synchronize()
        self._report(time.perf_counter() - began)
        return loss


def _nothing() -> None:
    """The CPU has no queue to wait for."""


def _without_step(factory: OptimizerFactory) -> OptimizerFactory:
    def build(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        optimizer = factory(parameters)
        vars(optimizer)["step"] = lambda: None
        return optimizer

    return build
