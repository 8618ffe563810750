"""CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test images, 32x32 RGB, ten classes.

Files are read from the folder `cifar10` of the data folder (formats: `cifar10_files`). Where only the first training
part is there, the task is named `cifar10-20k`, so that no result passes for one on the whole training set. A tenth of
the training images is held out for every choice (fixed seed 42). Images stay in memory as uint8; random crops of the
image padded by 4 pixels, horizontal flips and scaling are done batch by batch (He et al. 2016, section 4.2).
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.training.data import ArrayExamples, Batch, split
from paretorch.training.models.densenet import DenseNet
from paretorch.training.models.mobilenet_v2 import MobileNetV2
from paretorch.training.models.resnet import resnet18
from paretorch.training.models.resnet_cifar import CifarResNet
from paretorch.training.models.vgg import VGG
from paretorch.training.models.wide_resnet import WideResNet
from paretorch.training.picture import Picture
from paretorch.training.supervised import SupervisedTask
from paretorch.training.tasks.images.cifar10_files import Pixels, read_test, read_train
from paretorch.training.tasks.limits import limited
from paretorch.training.tasks.missing import data_folder, hub_command

REMEDY = (
    "get the official binary archive (https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz) and unpack its .bin "
    f"files into <data>/cifar10, or run: {hub_command('uoft-cs/cifar10', 'cifar10')}"
)
WHOLE = 50_000
PADDING = 4
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
Channels = tuple[float, float, float]
Normalisation = Literal["cifar10", "imagenet", "half"]
# Means and standard deviations of the channels after division by 255.
NORMALISATIONS: Mapping[str, tuple[Channels, Channels]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
MODELS: Mapping[str, Callable[[], nn.Module]] = {
    "densenet-bc-100-12": partial(DenseNet, blocks=(16, 16, 16), growth=12, stem="cifar", num_classes=10),
    "mobilenet-v2": partial(MobileNetV2, stem="cifar", num_classes=10),
    "resnet18": partial(resnet18, stem="cifar", num_classes=10),
    "resnet20": partial(CifarResNet, depth=20),
    "resnet20-b": partial(CifarResNet, depth=20, shortcut="B"),
    "resnet56": partial(CifarResNet, depth=56),
    "vgg16": partial(VGG, depth=16),
    "wrn-28-1": partial(WideResNet, depth=28, widen=1),
    "wrn-28-2": partial(WideResNet, depth=28, widen=2),
    "wrn-28-4": partial(WideResNet, depth=28, widen=4),
    "wrn-28-10": partial(WideResNet, depth=28, widen=10),
}


class CIFAR10(SupervisedTask):
    """The CIFAR-10 task.

    Args:
        data: the data folder, which holds `cifar10/`.
        model: a name of `MODELS`.
        normalisation: "cifar10" (statistics of the training set), "imagenet" or "half"; published weights need the one
            they were trained with.
        augment: crop and flip training images.
        train_limit: use only the first so many training images; the name of the task says so.
        eval_limit: choose on the first so many of the held-out images only.

    Raises:
        InputError: for a missing or damaged file, an unknown model or normalisation, or a limit out of range.
    """

    def __init__(
        self,
        *,
        data: Path | str | None,
        model: str = "resnet20",
        normalisation: Normalisation = "cifar10",
        augment: bool = True,
        train_limit: int | None = None,
        eval_limit: int | None = None,
    ) -> None:
        if model not in MODELS:
            raise InputError(f"cifar10 has no model {model!r}; choose from {sorted(MODELS)}")
        if normalisation not in NORMALISATIONS:
            raise InputError(f"normalisation {normalisation!r} is unknown; choose from {sorted(NORMALISATIONS)}")
        folder = data_folder(data, "cifar10", task="cifar10", remedy=REMEDY)
        train, test = _examples(read_train(folder), folder), _examples(read_test(folder), folder)
        rest, held = split(len(train), 0.1)
        name = "cifar10" if len(train) == WHOLE else f"cifar10-{len(train) // 1000}k"
        if train_limit is not None:
            name = f"{name}-first{train_limit}"
        mean, std = NORMALISATIONS[normalisation]
        super().__init__(
            MODELS[model],
            train=train.subset(limited(rest, train_limit)),
            evaluation=train.subset(limited(held, eval_limit, option="eval_limit")),
            test=test,
            name=name,
            classes=CLASSES,
            picture=Picture(shape=(3, 32, 32), mean=mean, std=std),
        )
        self.normalisation, self.augment = normalisation, augment

    def prepare(self, batch: Batch, *, training: bool, generator: torch.Generator) -> Batch:
        images = batch["inputs"]
        if training and self.augment:
            images = cropped_and_flipped(images, generator)
        return batch | {"inputs": scaled(images, self.normalisation)}


def scaled(images: Tensor, normalisation: Normalisation) -> Tensor:
    """Pixels, uint8 (n, 3, h, w), as float32 with the channels' means taken away and deviations divided out."""
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in NORMALISATIONS[normalisation])
    return images.float().div_(255).sub_(mean).div_(std)


def cropped_and_flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image (n, c, h, w) moved by its own random offset of up to 4 pixels, filled with 0, and mirrored or not."""
    count, _, height, width = images.shape
    offsets = torch.randint(0, 2 * PADDING + 1, (2, count), generator=generator).to(images.device)
    mirrored = torch.rand(count, generator=generator).to(images.device) < 0.5
    padded = torch.nn.functional.pad(images, (PADDING,) * 4)
    rows = offsets[0, :, None] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, width)
    columns = offsets[1, :, None] + torch.where(mirrored[:, None], columns.flip(1), columns)
    which = torch.arange(count, device=images.device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2).contiguous()


def _examples(pixels: Pixels, folder: Path) -> ArrayExamples:
    images, labels = pixels
    if images.shape[1:] != (3, 32, 32) or int(labels.max()) > 9:
        raise InputError(
            f"{folder} holds images of shape {tuple(images.shape[1:])} with labels up to {int(labels.max())}, not "
            f"(3, 32, 32) with labels 0 to 9: {REMEDY}"
        )
    return ArrayExamples(inputs=images, targets=labels)
