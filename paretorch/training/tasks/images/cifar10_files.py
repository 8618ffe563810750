"""Reads CIFAR-10 (Krizhevsky 2009): 32x32 RGB images of ten classes, from the formats it is passed around in.

- mosaics: `test.npz`, `train20k.npz`, `train30k.npz`, each with `webp` (lossless WebP files of 10x10 images, one after
  another), `offset` (their bounds), `label` and `sha256` (of the decoded pixels);
- the official binary archive: `data_batch_1.bin` ... `data_batch_5.bin` and `test_batch.bin`, records of one label byte
  and 3,072 pixel bytes;
- a folder that `save_to_disk` of the library `datasets` wrote.
"""

import hashlib
import io
import itertools
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.training.tasks.saved_dataset import images_and_labels, saved_splits, split_named

MOSAIC_TRAIN = ("train20k.npz", "train30k.npz")
BINARY_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
RECORD_BYTES = 1 + 3 * 32 * 32
TILES, SIDE = 10, 32  # a mosaic holds 10 x 10 images of 32 x 32 pixels

# UnidentifiedImageError of PIL is an OSError.
UNREADABLE = (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)

Pixels = tuple[Tensor, Tensor]  # uint8 (n, 3, 32, 32) and int64 (n,)


def read_train(folder: Path) -> Pixels:
    """The training images of whatever files `folder` holds: 50,000, or 20,000 where only the first mosaic is there.

    Raises:
        InputError: for a missing or damaged file.
    """
    if (splits := saved_splits(folder)) is not None:
        return images_and_labels(split_named(splits, "train", folder=folder), image="img", label="label")
    if mosaics := [folder / name for name in MOSAIC_TRAIN if (folder / name).exists()]:
        return _joined([_mosaics(path) for path in mosaics])
    return _joined([_binary(folder / name) for name in BINARY_TRAIN])


def read_test(folder: Path) -> Pixels:
    """The 10,000 test images, in the order of the original test batch.

    Raises:
        InputError: for a missing or damaged file.
    """
    if (splits := saved_splits(folder)) is not None:
        return images_and_labels(split_named(splits, "test", folder=folder), image="img", label="label")
    mosaic = folder / "test.npz"
    return _mosaics(mosaic) if mosaic.exists() else _binary(folder / "test_batch.bin")


def _joined(parts: list[Pixels]) -> Pixels:
    return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])


def _mosaics(path: Path) -> Pixels:
    from PIL import Image

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            webp, offset, label = archive["webp"], archive["offset"], archive["label"]
            digest = str(archive["sha256"])
        images = []
        for start, end in itertools.pairwise(offset):
            with Image.open(io.BytesIO(webp[start:end].tobytes())) as mosaic:
                pixels = np.asarray(mosaic.convert("RGB"))
            tiles = pixels.reshape(TILES, SIDE, TILES, SIDE, 3).transpose(0, 2, 1, 3, 4)
            images.append(tiles.reshape(TILES * TILES, SIDE, SIDE, 3))
        decoded = np.concatenate(images)
    except UNREADABLE as error:
        raise InputError(f"{path} is not a readable file of image mosaics ({error}); get it again") from error
    found = hashlib.sha256(decoded.tobytes()).hexdigest()
    if found != digest or len(decoded) != len(label):
        raise InputError(f"{path}: the decoded pixels have sha256 {found}, the file says {digest}; get it again")
    return torch.from_numpy(decoded).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(label.astype(np.int64))


def _binary(path: Path) -> Pixels:
    if not path.exists():
        raise InputError(
            f"{path} is missing; the folder must hold test.npz and train20k.npz, or the six .bin files of the official "
            "binary archive, or a data set saved by `datasets`"
        )
    content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    if content.size == 0 or content.size % RECORD_BYTES:
        raise InputError(
            f"{path} has {content.size} bytes, which is no multiple of a record's {RECORD_BYTES}; get it again"
        )
    records = content.reshape(-1, RECORD_BYTES)
    if records[:, 0].max() > 9:
        raise InputError(f"{path} holds the label {records[:, 0].max()}; CIFAR-10 has labels 0 to 9 (CIFAR-100 file?)")
    images = torch.from_numpy(records[:, 1:].copy()).view(-1, 3, SIDE, SIDE)
    return images, torch.from_numpy(records[:, 0].astype(np.int64))
