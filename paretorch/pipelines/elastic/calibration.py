"""Training examples on which profiles are measured: a fixed sample in two disjoint halves, never validation or test.

They are examples that the model also trains on, so that their loss is lower than on new ones; what counts is how it
rises from profile to profile. Validation stays for choices between arms, and for the figures in records.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.width.calibration import Calibration
from paretorch.pipelines.batches import training_batches
from paretorch.training.data import Batch
from paretorch.training.devices import autocast
from paretorch.training.seeding import generator
from paretorch.training.trainer import Trainer

SPLITS = 2
BATCH_SIZE = 512  # of forward passes without gradients


def calibration_of(trainer: Trainer, *, examples: int, batches: int) -> Calibration:
    """How the profiles of an elastic model are measured in this run.

    Args:
        trainer: of the task; its seed picks the examples.
        examples: how many, at most those there are; half of them in each split, prepared as for evaluation.
        batches: training batches, augmented, from which batch-norm statistics are re-estimated; 0 leaves stale ones.

    Raises:
        InputError: for fewer than 2 examples, or a negative number of batches.
    """
    available = len(trainer.train_set)
    if min(examples, available) < SPLITS:
        raise InputError(
            f"calibration_examples = {examples} of {available} training examples cannot be split in {SPLITS} halves; "
            "give at least 2, usually 1000"
        )
    if batches < 0:
        raise InputError(f"reestimate_batches must not be negative; got {batches}. 0 leaves statistics as they are")
    order = torch.randperm(available, generator=generator(trainer.seed, "calibration"))
    share = min(examples, available) // SPLITS
    splits = [list(_batches(trainer, order[i * share : (i + 1) * share].sort().values)) for i in range(SPLITS)]
    statistics = list(training_batches(trainer, name="calibration-statistics", count=batches, augmented=True))

    def losses(model: nn.Module, batch: Batch) -> Tensor:
        with autocast(trainer.device, trainer.settings.precision):
            return trainer.task.loss(model, batch, "none")

    return Calibration(losses=losses, splits=splits, statistics=statistics)


def _batches(trainer: Trainer, index: Tensor) -> Iterator[Batch]:
    for part in index.split(BATCH_SIZE):
        batch = {name: tensor.to(trainer.device) for name, tensor in trainer.train_set.batch(part).items()}
        yield trainer.task.prepare(batch, training=False, generator=torch.Generator().manual_seed(0))
