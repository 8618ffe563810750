"""Batches of training examples outside of training: for batch-norm statistics, and for scores that need data."""

from collections.abc import Iterator

import torch

from paretorch.training.data import Batch
from paretorch.training.seeding import generator
from paretorch.training.trainer import Trainer


def training_batches(trainer: Trainer, *, name: str, count: int, augmented: bool) -> Iterator[Batch]:
    """The first `count` batches of a shuffled pass, or fewer; a function of seed and name alone.

    Args:
        trainer: of the task.
        name: of the phase that draws them.
        count: batches.
        augmented: prepared as for training, else as for evaluation.
    """
    order = torch.randperm(len(trainer.train_set), generator=generator(trainer.seed, name))
    for position, index in enumerate(order.split(trainer.settings.batch_size)[:count]):
        batch = {key: tensor.to(trainer.device) for key, tensor in trainer.train_set.batch(index).items()}
        stream = generator(trainer.seed, name, position)
        yield trainer.task.prepare(batch, training=augmented, generator=stream)
