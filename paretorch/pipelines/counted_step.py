"""What one training step of a task takes, counted: operations, bytes of operands, and activations kept for backward.

Counted on one batch of the training set, on a copy of the model; the optimizer's update is not in it.
"""

import copy
import logging
from typing import Any

import torch
from torch import nn

from paretorch.measurement.step_costs import StepCounter
from paretorch.methods.method import implements
from paretorch.training.seeding import generator
from paretorch.training.trainer import Trainer

logger = logging.getLogger("paretorch")


def counted_step(trainer: Trainer, model: nn.Module) -> dict[str, Any]:
    """Fields of a record: "flops_step", "bytes_step" and "saved_bytes".

    Args:
        trainer: of the task; the step takes its batch size.
        model: left as it is.

    Returns:
        {} for a task whose step is its own, such as the two updates of an adversarial pair; and, with a warning, where
        arithmetic without a formula takes too much of the time.
    """
    task = trainer.task
    if any(implements(method, "training_step") for method in task.methods()):
        return {}
    model = copy.deepcopy(model).to(trainer.device).train()
    size = min(trainer.settings.batch_size, len(trainer.train_set))
    batch = {name: value.to(trainer.device) for name, value in trainer.train_set.batch(torch.arange(size)).items()}
    batch = task.prepare(batch, training=True, generator=generator(0, "counted step"))
    task.loss(model, batch, "mean").backward()  # the first pass prepares kernels
    with StepCounter(model) as counter:
        task.loss(model, batch, "mean").backward()
    try:
        costs = counter.result(batch=size)
    except RuntimeError as error:
        logger.warning("the operations of a training step were not counted: %s", error)
        return {}
    return {
        "flops_step": costs.flops.to_dict(),
        "bytes_step": costs.bytes_accessed,
        "saved_bytes": costs.saved_bytes,
    }
