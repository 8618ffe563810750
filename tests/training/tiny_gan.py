"""A GAN task small enough for tests: 12x12 images of bright squares, a generator of 1,608 weights."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.methods.method import Method
from paretorch.training.data import ArrayExamples, Batch, Examples
from paretorch.training.models.dcgan import Discriminator, Generator
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.task import Task
from paretorch.training.tasks.generative.adversarial_step import BETAS, AdversarialStep, generator_loss

LATENT, WIDTH, SIZE = 8, 4, 12
ADAM = TrainSettings(
    batch_size=16, optimizer=OptimizerSpec(name="adam", lr=2e-3), checkpoint_seconds=1000, device="cpu"
)


class TinyGAN(Task):
    """48 training images; the metric is the generator's loss against the discriminator it was trained with."""

    name, metric, higher_is_better, betas = "tiny-gan", "loss", False, BETAS

    def __init__(self) -> None:
        stream = torch.Generator().manual_seed(5)
        images = torch.full((64, 1, SIZE, SIZE), -1.0)
        for image, (row, column) in zip(images, torch.randint(0, 8, (64, 2), generator=stream).tolist(), strict=True):
            image[:, row : row + 4, column : column + 4] = 1.0
        self.images = ArrayExamples(inputs=images)

    def model(self) -> nn.Module:
        return Generator(latent=LATENT, width=WIDTH, size=SIZE)

    def constructor(self) -> tuple[str, dict[str, Any]]:
        return "paretorch.training.models.dcgan:Generator", {"latent": LATENT, "width": WIDTH, "size": SIZE}

    def train_set(self) -> Examples:
        return self.images.subset(torch.arange(48))

    def eval_set(self) -> Examples:
        return self.images.subset(torch.arange(48, 64))

    def test_set(self) -> Examples:
        return self.eval_set()

    def prepare(self, batch: Batch, *, training: bool, generator: torch.Generator) -> Batch:
        return batch | {"latent": torch.randn(len(batch["inputs"]), LATENT, generator=generator)}

    def loss(self, model: nn.Module, batch: Batch, reduction: str = "mean") -> Tensor:
        losses = generator_loss(model.opponents[0], model(batch["latent"]))
        return losses.mean() if reduction == "mean" else losses

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.loss(model, batch, "none")}

    def methods(self) -> Sequence[Method]:
        return (AdversarialStep(partial(Discriminator, width=WIDTH, size=SIZE)),)

    def example_inputs(self) -> tuple[Tensor, ...]:
        return (torch.zeros(1, LATENT),)
