"""What the tasks that generate Fashion-MNIST images share: the images, and the Frechet distance as their metric.

`num_samples` generated images are compared with `num_samples` real ones that were not trained on: held-out training
images for every choice, test images at the end. The estimate is biased by a term that depends on the number of samples,
so it is always the same one, also in the floor that is printed beside the results: held-out against test images, both
real.
"""

from abc import abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.training.data import ArrayExamples, Batch, Examples
from paretorch.training.task import Task
from paretorch.training.tasks.generative.frechet import Moments, frechet_distance
from paretorch.training.tasks.generative.judge import Judge
from paretorch.training.tasks.images.fashion_mnist import FashionMNIST

IMAGE_SHAPE = (1, 28, 28)
SAMPLE_BATCH_SIZE = 250
EVALUATION_SEED, TEST_SEED = 0, 1  # of the random numbers that samples are made from; the same for all models


class GeneratedImages(Task):
    """A task whose model makes images; subclasses give the model, its loss and how it is sampled.

    Args:
        data: the data folder, which holds `fashion_mnist/`.
        classifier: folder of the saved classifier that judges; relative to the current folder.
        num_samples: generated and real images in each distance.
        train_limit: use only the first so many training images (for quick tries).

    Raises:
        InputError: for missing data, a missing or poor classifier, or numbers out of range.
    """

    metric = "frechet_distance"
    higher_is_better = False

    def __init__(
        self, *, data: Path | str | None, classifier: Path | str, num_samples: int, train_limit: int | None
    ) -> None:
        images = FashionMNIST(data=data, train_limit=train_limit)
        held_out, test = images.eval_set(), images.test_set()
        most = min(len(held_out), len(test))
        if not 2 <= num_samples <= most:
            raise InputError(f"num_samples must be between 2 and {most}, as many as are held out; got {num_samples}")
        self.num_samples, self.judge = num_samples, Judge(classifier, task=images)
        self._train = images.train_set()
        # A distance with fewer images would have another bias, and be no measure of the gap to the test set.
        self.train_sample = num_samples if len(self._train) >= num_samples else 0
        self._evaluation, self._test = _first(held_out, num_samples), _first(test, num_samples)

    @abstractmethod
    def samples(self, model: nn.Module, *, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """`count` images (count, 1, 28, 28) in [-1, 1] of `model`, whose every random number is `generator`'s."""

    def train_set(self) -> Examples:
        return self._train

    def eval_set(self) -> Examples:
        return self._evaluation

    def test_set(self) -> Examples:
        return self._test

    def prepare(self, batch: Batch, *, training: bool, generator: torch.Generator) -> Batch:
        """Grey levels 0 to 255 become numbers in [-1, 1]."""
        return batch | {"inputs": batch["inputs"].float().div_(127.5).sub_(1)}

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {}

    def set_metrics(self, model: nn.Module, examples: Examples, *, device: torch.device) -> dict[str, float]:
        """The Frechet distance between as many samples as there are `examples`, and these."""
        stream = torch.Generator().manual_seed(TEST_SEED if examples is self._test else EVALUATION_SEED)
        made = self.samples(model, count=len(examples), generator=stream, device=device)
        return {self.metric: frechet_distance(self.judge.moments(made), self._real_moments(examples, device))}

    def references(self) -> dict[str, float]:
        """The floor: held-out images against test images."""
        held_out, test = (self._real_moments(part, torch.device("cpu")) for part in (self._evaluation, self._test))
        return {"real against real": frechet_distance(held_out, test)}

    def _real_moments(self, examples: Examples, device: torch.device) -> Moments:
        images = examples.batch(torch.arange(len(examples)))["inputs"].to(device)
        return self.judge.moments(images.float().div_(127.5).sub_(1))

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"num_samples": self.num_samples, "classifier": {"sha256": self.judge.sha256}}


def _first(examples: Examples, count: int) -> ArrayExamples:
    return ArrayExamples(inputs=examples.batch(torch.arange(count))["inputs"])
