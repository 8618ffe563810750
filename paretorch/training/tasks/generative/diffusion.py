"""Fashion-MNIST images by denoising diffusion, with a small U-Net that predicts the noise.

Deviation from Ho et al. 2020: no moving average of the weights.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.training.data import Batch
from paretorch.training.models.unet import UNet
from paretorch.training.tasks.generative.diffusion_process import SIGNALS, add_noise, ddim, sampling_times
from paretorch.training.tasks.generative.generated_images import IMAGE_SHAPE, SAMPLE_BATCH_SIZE, GeneratedImages

NUM_TIMES = 1000


class DiffusionImages(GeneratedImages):
    """The diffusion task; the model is a `UNet`.

    Args:
        data, classifier, num_samples, train_limit: as in `GeneratedImages`.
        width, multipliers, patch: of the `UNet`.
        noise_schedule: "cosine" or "linear", over 1,000 times.
        sampling_steps: calls of the model for one image.

    Raises:
        InputError: as `GeneratedImages`, for an unknown schedule, or a number of steps out of range.
    """

    name = "generative-diffusion"

    def __init__(
        self,
        *,
        data: Path | str | None,
        classifier: Path | str,
        num_samples: int,
        train_limit: int | None = None,
        width: int = 16,
        multipliers: Sequence[int] = (1, 2),
        patch: int = 2,
        noise_schedule: str = "cosine",
        sampling_steps: int = 20,
    ) -> None:
        if noise_schedule not in SIGNALS:
            raise InputError(f"noise_schedule {noise_schedule!r} is unknown; choose from {sorted(SIGNALS)}")
        sampling_times(NUM_TIMES, sampling_steps)
        self._kwargs: dict[str, Any] = {"width": width, "multipliers": list(multipliers), "patch": patch}
        UNet(**self._kwargs)(torch.zeros(1, *IMAGE_SHAPE), torch.zeros(1))  # refuses sizes before any data is read
        super().__init__(data=data, classifier=classifier, num_samples=num_samples, train_limit=train_limit)
        self.noise_schedule, self.sampling_steps = noise_schedule, sampling_steps
        self.signal = SIGNALS[noise_schedule](NUM_TIMES)

    def model(self) -> nn.Module:
        return UNet(**self._kwargs)

    def constructor(self) -> tuple[str, dict[str, Any]]:
        return "paretorch.training.models.unet:UNet", self._kwargs

    def prepare(self, batch: Batch, *, training: bool, generator: torch.Generator) -> Batch:
        """Images in [-1, 1], each with its time, the noise it gets, and `noisy`, the image with that noise."""
        batch = super().prepare(batch, training=training, generator=generator)
        images = batch["inputs"]
        times = torch.randint(0, NUM_TIMES, (len(images),), generator=generator)
        noise = torch.randn(images.shape, generator=generator).to(images.device)
        noisy = add_noise(images, noise, self.signal[times].to(images.device))
        return batch | {"times": times.to(images.device), "noise": noise, "noisy": noisy}

    def loss(self, model: nn.Module, batch: Batch, reduction: str = "mean") -> Tensor:
        """Squared error of the predicted noise, averaged over pixels: L_simple of Ho et al. 2020, eq. 14."""
        errors = F.mse_loss(model(batch["noisy"], batch["times"]).float(), batch["noise"], reduction="none")
        return errors.mean() if reduction == "mean" else errors.flatten(1).mean(1)

    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"noise_mse": self.loss(model, batch, "none")}

    def samples(self, model: nn.Module, *, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
        noise = torch.randn(count, *IMAGE_SHAPE, generator=generator)
        parts = [
            ddim(model, part.to(device), signal=self.signal, num_steps=self.sampling_steps)
            for part in noise.split(SAMPLE_BATCH_SIZE)
        ]
        return torch.cat(parts)

    def example_inputs(self) -> tuple[Tensor, ...]:
        noise = torch.randn(1, *IMAGE_SHAPE, generator=torch.Generator().manual_seed(0))
        return noise, torch.tensor([NUM_TIMES // 2])

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"noise_schedule": self.noise_schedule, "sampling_steps": self.sampling_steps}
