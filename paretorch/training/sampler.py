"""Which examples make up the batch of a given step: a pure function of (seed, step), so that resuming needs no state.

Every epoch is a new permutation; the incomplete last batch of an epoch is dropped, so all batches (and all processes
of a distributed run) have the same size.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.training.seeding import generator


class Sampler(Protocol):
    """What the trainer asks: the examples of the batch at `step`, and state if the choice depends on the past."""

    def batch(self, step: int) -> Tensor: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class ShuffledEpochs:
    """Uniform sampling without replacement, a new permutation every epoch.

    Args:
        num_examples: size of the training set.
        batch_size: examples per optimizer step, over all processes and accumulated micro-batches together.
        seed: of the run.

    Raises:
        InputError: if the batch is larger than the training set, or not positive.
    """

    def __init__(self, num_examples: int, *, batch_size: int, seed: int) -> None:
        if not 1 <= batch_size <= num_examples:
            raise InputError(f"batch_size must be between 1 and the {num_examples} training examples; got {batch_size}")
        self.num_examples, self.batch_size, self.seed = num_examples, batch_size, seed
        self.steps_per_epoch = num_examples // batch_size
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def batch(self, step: int) -> Tensor:
        """Indices (batch_size,) int64 of the examples of optimizer step `step`, counted from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = torch.randperm(self.num_examples, generator=generator(self.seed, "shuffle", epoch))
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore: the order is a function of the seed and the step."""
