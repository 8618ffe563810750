"""Both models over the same batches: on the trainer's device, in evaluation mode, without gradients, left as found."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.training.data import Batch, Examples
from paretorch.training.devices import autocast
from paretorch.training.task import Task
from paretorch.training.trainer import Trainer


class Reader:
    """The outputs of a dense model and of a candidate, batch by batch, as `trainer.evaluate` would compute them.

    Args:
        task: gives `prepare`, `logits` and `labels`.
        trainer: its device and precision are used.
        dense, candidate: moved to the device within `evaluating`.
    """

    def __init__(self, task: Task, trainer: Trainer, *, dense: nn.Module, candidate: nn.Module) -> None:
        self.task, self.models = task, (dense, candidate)
        self._device, self._precision = trainer.device, trainer.settings.precision

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """On the trainer's device and in evaluation mode within; device and modes are put back afterwards."""
        modes = {module: module.training for model in self.models for module in model.modules()}
        devices = [next((p.device for p in model.parameters()), self._device) for model in self.models]
        try:
            for model in self.models:
                model.to(self._device).eval()
            with torch.no_grad():
                yield
        finally:
            for model, device in zip(self.models, devices, strict=True):
                model.to(device)
            for module, training in modes.items():
                module.training = training

    def batches(self, examples: Examples, *, size: int) -> Iterator[Batch]:
        """Batches of at most `size` examples, in order and prepared for the models."""
        for index in torch.arange(len(examples)).split(size):
            batch = {name: tensor.to(self._device) for name, tensor in examples.batch(index).items()}
            yield self.task.prepare(batch, training=False, generator=torch.Generator().manual_seed(0))

    def shape(self, examples: Examples) -> torch.Size | None:
        """The shape of one example's logits; None if the task has none.

        Raises:
            InputError: if those of the two models differ.
        """
        first = next(self.batches(examples, size=1))
        shapes = [None if logits is None else logits.shape[1:] for logits in self._outputs(first)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"the dense model's logits have shape {shapes[0]} per example, the candidate's {shapes[1]}; only "
                "models that answer the same question can be compared"
            )
        return shapes[0]

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of the dense model and of the candidate, float32; only where `shape` is not None."""
        dense, candidate = self._outputs(batch)
        assert dense is not None
        assert candidate is not None
        return dense.float(), candidate.float()

    def _outputs(self, batch: Batch) -> list[Tensor | None]:
        with autocast(self._device, self._precision):
            return [self.task.logits(model, batch) for model in self.models]
