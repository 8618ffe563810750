"""Accuracy on worse pictures than those of the test set: noise, blur and less contrast, generated from it.

    noise      p + s * N(0, 1)                                   s = 0.04, 0.08, 0.10
    blur       Gaussian of deviation s pixels                    s = 0.4, 0.7, 1.0
    contrast   m + s * (p - m), m the mean of the channel        s = 0.75, 0.4, 0.15

for pixels p in [0, 1], clipped to [0, 1] again. Three of the corruptions of Hendrycks and Dietterich 2019 (section 3)
with the constants of their CIFAR-10-C, whose severities 1, 3 and 5 are 1, 2 and 3 here. Two differences: pictures are
not rounded to 256 levels, and the same constants are used for every size of picture, so blur is harsher on small ones.

Corruptions act on what `Task.prepare` returns, after its normalisation is undone (`Task.picture`). The noise is a
function of the example's place alone, the same for all models and seeds, as if the corrupted set lay on the disk.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from paretorch.training.data import Examples, sampled
from paretorch.training.picture import Picture
from paretorch.training.seeding import generator
from paretorch.training.side_effects.reading import Reader

BATCH = 500
STRENGTHS = {"noise": (0.04, 0.08, 0.10), "blur": (0.4, 0.7, 1.0), "contrast": (0.75, 0.4, 0.15)}
SEED = 0


def corrupt(pixels: Tensor, *, name: str, severity: int, stream: torch.Generator) -> Tensor:
    """Worse pictures, (n, channels, height, width) in [0, 1].

    Args:
        pixels: (n, channels, height, width) in [0, 1], on any device.
        name: "noise", "blur" or "contrast".
        severity: 1, 2 or 3.
        stream: a CPU generator, which only noise draws from.
    """
    strength = STRENGTHS[name][severity - 1]
    if name == "noise":
        changed = pixels + strength * torch.randn(pixels.shape, generator=stream).to(pixels.device)
    elif name == "blur":
        changed = _blurred(pixels, strength)
    else:
        mean = pixels.mean((2, 3), keepdim=True)
        changed = mean + strength * (pixels - mean)
    return changed.clamp(0, 1)


def corruption_effects(reader: Reader, examples: Examples, picture: Picture, *, limit: int) -> list[dict[str, Any]]:
    """The accuracy of both models on every corruption.

    Args:
        reader: in `evaluating`.
        examples: the test set.
        picture: how its prepared inputs are read.
        limit: on at most so many examples, drawn at random (files are often sorted by class) with a fixed seed.

    Returns:
        One dict per corruption: "name", "severity", "dense" and "candidate" (fractions right), "examples".
    """
    kinds = [(name, severity) for name, strengths in STRENGTHS.items() for severity in range(1, len(strengths) + 1)]
    right = dict.fromkeys(kinds, (0, 0))
    some = sampled(examples, limit)
    for number, batch in enumerate(reader.batches(some, size=BATCH)):
        pixels, labels = picture.pixels(batch["inputs"]), reader.task.labels(batch)
        for name, severity in kinds:
            stream = generator(SEED, "corruption", number)  # the same draws in every severity
            changed = corrupt(pixels, name=name, severity=severity, stream=stream)
            outputs = reader.logits(batch | {"inputs": picture.inputs(changed, like=batch["inputs"])})
            dense, candidate = (int((logits.argmax(1) == labels).sum()) for logits in outputs)
            before = right[name, severity]
            right[name, severity] = (before[0] + dense, before[1] + candidate)
    return [
        {"name": name, "severity": severity, "dense": dense / len(some), "candidate": candidate / len(some)}
        | {"examples": len(some)}
        for (name, severity), (dense, candidate) in right.items()
    ]


def _blurred(pixels: Tensor, deviation: float) -> Tensor:
    """Gaussian blur in both directions, cut off at four deviations, beyond the edge the edge's value."""
    radius = math.floor(4 * deviation + 0.5)
    places = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = (-0.5 * (places / deviation).square()).exp()
    kernel = (kernel / kernel.sum()).to(pixels)
    channels = pixels.shape[1]
    padded = F.pad(pixels, (radius,) * 4, mode="replicate")
    rows = F.conv2d(padded, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(rows, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
