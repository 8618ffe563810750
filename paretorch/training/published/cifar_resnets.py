"""ResNet-20 and ResNet-56 for CIFAR-10, trained by Y. Idelbayev (akamaster/pytorch_resnet_cifar10, BSD-2-Clause).

Published test errors: 8.27 % and 6.61 %. The images are scaled by the channel statistics of ImageNet. They were trained
on all 50,000 training images: an evaluation set taken from these has been seen by the published weights.
"""

from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from paretorch.training.models.resnet_cifar import CifarResNet
from paretorch.training.published import Published
from paretorch.training.tasks.images.cifar10 import REMEDY, Normalisation, scaled
from paretorch.training.tasks.images.cifar10_files import read_test
from paretorch.training.tasks.missing import data_folder

SOURCE = "akamaster/pytorch_resnet_cifar10 at d5489e8995e8, converted to safetensors, BSD-2-Clause"
BATCH = 500
HALF_AN_IMAGE = 0.5e-4  # of 10,000; a figure given with two digits of per cent is a whole number of images


def build(path: Path, *, depth: int) -> nn.Module:
    """The model of `depth` with the weights of the file at `path`."""
    model = CifarResNet(depth=depth)
    model.load_state_dict(load_file(path))
    return model


def accuracy(model: nn.Module, data: Path, *, normalisation: Normalisation = "imagenet") -> float:
    """Accuracy of `model` on the whole test set of CIFAR-10, in float32."""
    images, labels = read_test(data_folder(data, "cifar10", task="the check of published weights", remedy=REMEDY))
    right = 0
    with torch.no_grad():
        for pixels, answers in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            right += int((model(scaled(pixels, normalisation)).argmax(1) == answers).sum())
    return right / len(labels)


def _entry(depth: int, *, sha256: str, expected: float) -> Published:
    return Published(
        name=f"resnet{depth}",
        folder="weights_cifar_resnet",
        file=f"resnet{depth}.safetensors",
        sha256=sha256,
        source=SOURCE,
        build=partial(build, depth=depth),
        metric="test accuracy",
        check=accuracy,
        expected=expected,
        tolerance=3 * HALF_AN_IMAGE,  # other kernels may round one image at a boundary to the other side
        normalisation="imagenet",
    )


RESNET20 = _entry(20, sha256="b70d6e25f12bf543c0283ad78de3e3027d7f86cf00818f21141027480259c69f", expected=0.9173)
RESNET56 = _entry(56, sha256="5d405cce1dfb541d1058f14c18b334bf5d4654cde0f95d5e5ee1df091f1de579", expected=0.9339)
