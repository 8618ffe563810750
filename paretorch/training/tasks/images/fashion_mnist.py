"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): 60,000 training and 10,000 test images, 28x28 grey, ten classes.

Reads the four official IDX files from the folder `fashion_mnist` of the data folder, or what `datasets` saved there.
A tenth of the training images is held out for every choice (fixed seed 42). Images stay in memory as uint8 and are
scaled batch by batch.
"""

import gzip
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.training.data import ArrayExamples, Batch, split
from paretorch.training.models.cnn import SmallCNN
from paretorch.training.models.mlp import lenet_300_100, mlp
from paretorch.training.models.wide_resnet import WideResNet
from paretorch.training.picture import Picture
from paretorch.training.supervised import SupervisedTask
from paretorch.training.tasks.limits import limited
from paretorch.training.tasks.missing import data_folder, hub_command
from paretorch.training.tasks.references import majority_class
from paretorch.training.tasks.saved_dataset import images_and_labels, saved_splits, split_named

REMEDY = (
    "download the four files *-images-idx3-ubyte.gz and *-labels-idx1-ubyte.gz of "
    "https://github.com/zalandoresearch/fashion-mnist into <data>/fashion_mnist, or run "
    + hub_command("zalando-datasets/fashion_mnist", "fashion_mnist")
)
MEAN, STD = 0.2860, 0.3530  # of the training pixels after division by 255
CLASSES = (
    *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
SIDE = 28
ModelName = Literal["lenet-300-100", "cnn", "wrn-28-1", "wrn-28-2"]
MODELS: dict[ModelName, Callable[[], nn.Module]] = {
    "lenet-300-100": lenet_300_100,
    "cnn": SmallCNN,
    "wrn-28-1": partial(WideResNet, depth=28, widen=1, channels=1),
    "wrn-28-2": partial(WideResNet, depth=28, widen=2, channels=1),
}
ANY_SIZE = ("wrn-28-1", "wrn-28-2")  # models that take smaller images too


class FashionMNIST(SupervisedTask):
    """The Fashion-MNIST task.

    Args:
        data: the data folder, which holds `fashion_mnist/`.
        model: a name of `MODELS`.
        hidden: other widths of LeNet's hidden layers than 300 and 100, for a smaller or a larger one.
        shift: random translation of training images, in pixels.
        pool: side of the squares that become one pixel, their mean, so that wide residual networks are cheap to train;
            the name of the task says so.
        train_limit: use only the first so many training images (for quick tries).

    Raises:
        InputError: for a missing or damaged file, an unknown model, or limits out of range.
    """

    def __init__(
        self,
        *,
        data: Path | str | None,
        model: ModelName = "lenet-300-100",
        hidden: tuple[int, ...] | None = None,
        shift: int = 0,
        pool: int = 1,
        train_limit: int | None = None,
    ) -> None:
        if model not in MODELS:
            raise InputError(f"fashion-mnist has no model {model!r}; choose from {sorted(MODELS)}")
        if hidden is not None and (model != "lenet-300-100" or not hidden or min(hidden) < 1):
            raise InputError(f"hidden are one or more widths of lenet-300-100; got {hidden} for {model!r}")
        if shift < 0:
            raise InputError(f"shift is a number of pixels, 0 or more; got {shift}")
        if pool < 1 or SIDE % pool or (pool > 1 and model not in ANY_SIZE):
            raise InputError(
                f"pool is a divisor of {SIDE}, above 1 only for the models {list(ANY_SIZE)}; got {pool} for {model!r}"
            )
        folder = data_folder(data, "fashion_mnist", task="fashion-mnist", remedy=REMEDY)
        train, side = _pooled(_read(folder, "train"), pool), SIDE // pool
        rest, held = split(len(train), 0.1)
        super().__init__(
            MODELS[model] if hidden is None else partial(mlp, sizes=[SIDE * SIDE, *hidden, len(CLASSES)]),
            train=train.subset(limited(rest, train_limit)),
            evaluation=train.subset(held),
            test=_pooled(_read(folder, "t10k"), pool),
            name="fashion-mnist" if pool == 1 else f"fashion-mnist-{side}px",
            classes=CLASSES,
            picture=Picture(shape=(1, side, side), mean=(MEAN,), std=(STD,)),
        )
        self.shift = shift

    def prepare(self, batch: Batch, *, training: bool, generator: torch.Generator) -> Batch:
        images = batch["inputs"].float().div_(255).sub_(MEAN).div_(STD)
        if training and self.shift:
            images = _shifted(images, self.shift, generator)
        return batch | {"inputs": images}

    def references(self) -> dict[str, float]:
        train, test = (part.batch(torch.arange(len(part)))["targets"] for part in (self.train_set(), self.test_set()))
        return {"majority class": majority_class(train, test)}


def _shifted(images: Tensor, limit: int, generator: torch.Generator) -> Tensor:
    """Each image (n, 1, h, w) moved by its own random offset of up to `limit` pixels, filled with the edge's value."""
    count, _, height, width = images.shape
    offsets = torch.randint(0, 2 * limit + 1, (2, count), generator=generator).to(images.device)
    padded = torch.nn.functional.pad(images, (limit, limit, limit, limit), mode="replicate")
    rows = offsets[0, :, None] + torch.arange(height, device=images.device)
    columns = offsets[1, :, None] + torch.arange(width, device=images.device)
    which = torch.arange(count, device=images.device)[:, None, None]
    return padded[which, 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def _pooled(examples: ArrayExamples, size: int) -> ArrayExamples:
    """Images (n, 1, h, w) with the mean of each square of `size` pixels in its place, rounded; 1 leaves them."""
    if size == 1:
        return examples
    images = F.avg_pool2d(examples.tensors["inputs"].float(), size).round_().to(torch.uint8)
    return ArrayExamples(inputs=images, targets=examples.tensors["targets"])


def _read(folder: Path, part: str) -> ArrayExamples:
    if (splits := saved_splits(folder)) is not None:
        split_ = split_named(splits, {"train": "train", "t10k": "test"}[part], folder=folder)
        saved, targets = images_and_labels(split_, image="image", label="label")
        if saved.shape[1:] != (1, 28, 28):
            raise InputError(f"{folder} holds images of shape {tuple(saved.shape[1:])}, not (1, 28, 28): {REMEDY}")
        return ArrayExamples(inputs=saved, targets=targets)
    images = _idx(folder / f"{part}-images-idx3-ubyte.gz", magic=2051)
    labels = _idx(folder / f"{part}-labels-idx1-ubyte.gz", magic=2049)
    if len(images) != len(labels):
        raise InputError(f"{folder}: {len(images)} {part} images but {len(labels)} labels; download both files again")
    if int(labels.max()) > 9:
        raise InputError(f"{folder}: the {part} labels go up to {int(labels.max())}, not 9; download them again")
    return ArrayExamples(inputs=images.unsqueeze(1), targets=labels.long())


def _idx(path: Path, *, magic: int) -> Tensor:
    """The uint8 array of an IDX file: magic number, sizes (big-endian int32), then the bytes."""
    if not path.exists():
        raise InputError(f"{path} is missing: {REMEDY}")
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not a readable gzip file ({error}); download it again") from error
    dimensions = magic & 255
    header = 4 * (1 + dimensions)
    found, *sizes = struct.unpack(f">{1 + dimensions}i", content[:header]) if len(content) >= header else (None,)
    if found != magic or len(content) - header != int(np.prod(sizes)):
        raise InputError(f"{path} is not the right IDX file (magic {found}, expected {magic}); download it again")
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=header).reshape(sizes).copy())
