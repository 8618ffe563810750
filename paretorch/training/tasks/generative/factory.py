"""The task `generative`: making Fashion-MNIST images, with a GAN or by diffusion, judged by the Frechet distance."""

from pathlib import Path
from typing import Literal

from paretorch.errors import InputError
from paretorch.training.tasks.generative.adversarial import AdversarialImages
from paretorch.training.tasks.generative.diffusion import DiffusionImages
from paretorch.training.tasks.generative.generated_images import GeneratedImages
from paretorch.training.tasks.generative.judge import DEFAULT_CLASSIFIER


def generative(
    *,
    data: Path | str | None,
    model: Literal["dcgan", "unet"] = "dcgan",
    classifier: Path | str = DEFAULT_CLASSIFIER,
    num_samples: int = 1000,
    train_limit: int | None = None,
    width: int | None = None,
    noise_schedule: Literal["cosine", "linear"] | None = None,
    sampling_steps: int | None = None,
) -> GeneratedImages:
    """The generative task.

    Args:
        data: the data folder, which holds `fashion_mnist/`.
        model: "dcgan", or "unet" for diffusion.
        classifier: folder of the saved classifier that judges, relative to the current folder; the recipe
            `fashion-mnist-classifier` makes it.
        num_samples: generated and real images in each distance; distances with other numbers cannot be compared.
        train_limit: use only the first so many training images (for quick tries).
        width: channels, by default 32 of the DCGAN and 16 of the U-Net.
        noise_schedule, sampling_steps: of diffusion only, by default "cosine" and 20.

    Raises:
        InputError: for an unknown model, options of another model, missing data, a missing or poor classifier, or
            numbers out of range.
    """
    if model not in ("dcgan", "unet"):
        raise InputError(f"generative has no model {model!r}; choose dcgan or unet")
    options = {"width": width, "noise_schedule": noise_schedule, "sampling_steps": sampling_steps}
    given = {name: value for name, value in options.items() if value is not None}
    if model == "dcgan" and (foreign := sorted(given.keys() - {"width"})):
        raise InputError(f"{' and '.join(foreign)} belong to diffusion; the model 'dcgan' has none")
    kind = {"dcgan": AdversarialImages, "unet": DiffusionImages}[model]
    return kind(data=data, classifier=classifier, num_samples=num_samples, train_limit=train_limit, **given)
