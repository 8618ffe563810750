"""Fashion-MNIST images by a deep convolutional GAN."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.method import Method
from paretorch.training.data import Batch
from paretorch.training.models.dcgan import Discriminator, Generator
from paretorch.training.tasks.generative.adversarial_step import BETAS, AdversarialStep, generator_loss
from paretorch.training.tasks.generative.generated_images import SAMPLE_BATCH_SIZE, GeneratedImages


class AdversarialImages(GeneratedImages):
    """The DCGAN task; the model is the `Generator`, and `methods` brings the step that trains it.

    Args:
        data, classifier, num_samples, train_limit: as in `GeneratedImages`.
        width: of generator and discriminator.
        latent: random numbers per image.

    Raises:
        InputError: as `GeneratedImages`, or for numbers below 1.
    """

    name = "generative-dcgan"
    betas = BETAS

    def __init__(
        self,
        *,
        data: Path | str | None,
        classifier: Path | str,
        num_samples: int,
        train_limit: int | None = None,
        width: int = 32,
        latent: int = 100,
    ) -> None:
        self.width, self.latent = width, latent
        self.model()  # refuses numbers out of range before any data is read
        super().__init__(data=data, classifier=classifier, num_samples=num_samples, train_limit=train_limit)

    def model(self) -> nn.Module:
        return Generator(latent=self.latent, width=self.width)

    def constructor(self) -> tuple[str, dict[str, Any]]:
        return "paretorch.training.models.dcgan:Generator", {"latent": self.latent, "width": self.width}

    def methods(self) -> Sequence[Method]:
        return (AdversarialStep(partial(Discriminator, width=self.width)),)

    def prepare(self, batch: Batch, *, training: bool, generator: torch.Generator) -> Batch:
        """Images in [-1, 1], and as many vectors of `latent` random numbers."""
        batch = super().prepare(batch, training=training, generator=generator)
        latent = torch.randn(len(batch["inputs"]), self.latent, generator=generator)
        return batch | {"latent": latent.to(batch["inputs"].device)}

    def loss(self, model: nn.Module, batch: Batch, reduction: str = "mean") -> Tensor:
        """The generator's loss against the discriminator that it was trained with.

        Raises:
            InputError: if it has none, because the task's methods did not train it.
        """
        opponents = getattr(model, "opponents", ())
        if not opponents:
            raise InputError("this generator has no discriminator yet; train it with the methods of its task")
        losses = generator_loss(opponents[0], model(batch["latent"]))
        return losses.mean() if reduction == "mean" else losses

    def samples(self, model: nn.Module, *, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
        latent = torch.randn(count, self.latent, generator=generator)
        return torch.cat([model(part.to(device)) for part in latent.split(SAMPLE_BATCH_SIZE)])

    def example_inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(1, self.latent, generator=torch.Generator().manual_seed(0)),)
