"""What one training step of a model takes, counted: operations, bytes of operands, and activations kept for backward.

Counted on one batch of the training set, on a copy of the model; the optimizer's update is not in it.
"""

import copy
import logging
from typing import Any

import torch
from torch import nn

from paretorch.measurement.flops import FlopCounter
from paretorch.measurement.saved_activations import SavedActivations
from paretorch.measurement.traffic import TrafficCounter
from paretorch.methods.method import implements
from paretorch.training.seeding import generator
from paretorch.training.trainer import Trainer

logger = logging.getLogger("paretorch")


def step_costs(trainer: Trainer, model: nn.Module) -> dict[str, Any]:
    """Fields of a record: "flops_step", "bytes_step" and "saved_bytes".

    Args:
        trainer: of the task; the step takes its batch size.
        model: left as it is.

    Returns:
        {} for a task whose step is its own, such as the two updates of an adversarial pair. Without "flops_step" where
        arithmetic without a formula takes too much of the time, which a warning says.
    """
    task = trainer.task
    if any(implements(method, "training_step") for method in task.methods()):
        return {}
    model = copy.deepcopy(model).to(trainer.device).train()
    size = min(trainer.settings.batch_size, len(trainer.train_set))
    batch = {name: value.to(trainer.device) for name, value in trainer.train_set.batch(torch.arange(size)).items()}
    batch = task.prepare(batch, training=True, generator=generator(0, "step costs"))

    def step() -> None:
        task.loss(model, batch, "mean").backward()

    with TrafficCounter() as traffic:
        step()
    with SavedActivations(model) as saved:
        step()
    found: dict[str, Any] = {"bytes_step": traffic.bytes_accessed, "saved_bytes": saved.peak_bytes}
    with FlopCounter(model) as counter:
        step()
    try:
        return found | {"flops_step": counter.result(batch=size).to_dict()}
    except RuntimeError as error:
        logger.warning("the operations of a training step were not counted: %s", error)
        return found
