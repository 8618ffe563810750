"""Metrics of a model on a set of examples, without gradients: means over examples, and what needs the whole set."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from paretorch.errors import InputError, NotFiniteError
from paretorch.training.data import Examples
from paretorch.training.task import Task


def evaluate(
    task: Task,
    model: nn.Module,
    examples: Examples,
    *,
    batch_size: int = 512,
    device: torch.device | str | None = None,
    autocast: AbstractContextManager[object] | None = None,
) -> dict[str, float]:
    """Metrics by name: float64 means over all values of all batches, and the task's metrics of the whole set.

    Args:
        task: gives `prepare` and `metrics`.
        model: left in the mode it was found in.
        examples: read in order.
        batch_size: examples per forward pass; it does not change the result beyond rounding.
        device: where the model is; None finds out from its parameters.
        autocast: context of the forward pass; None for full precision.

    Raises:
        InputError: if the task's metric is not among them.
        NotFiniteError: if a metric comes out as NaN or infinite.
    """
    where = torch.device(device) if device is not None else next(model.parameters()).device
    modes = {module: module.training for module in model.modules()}
    model.eval()
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    try:
        with torch.no_grad(), autocast or nullcontext():
            for index in torch.arange(len(examples)).split(batch_size):
                batch = {name: tensor.to(where) for name, tensor in examples.batch(index).items()}
                batch = task.prepare(batch, training=False, generator=torch.Generator().manual_seed(0))
                for name, values in task.metrics(model, batch).items():
                    sums[name] = sums.get(name, torch.zeros((), dtype=torch.float64)) + values.double().sum().cpu()
                    counts[name] = counts.get(name, 0) + values.numel()
            whole = task.set_metrics(model, examples, device=where)
    finally:
        for module, training in modes.items():
            module.training = training
    means = {name: float(total) / counts[name] for name, total in sums.items()} | whole
    if task.metric not in means:
        raise InputError(f"task {task.name!r} declares metric {task.metric!r}, but its metrics are {sorted(means)}")
    if bad := [name for name, value in means.items() if not torch.isfinite(torch.tensor(value))]:
        raise NotFiniteError(f"metric {bad} of task {task.name!r} is not finite: {means}; the outputs overflowed")
    return means
