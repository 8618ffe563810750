"""Folders that the library `datasets` wrote: `load_dataset(...).save_to_disk(folder)`, the way data of the hub get in.

Such a folder holds `dataset_dict.json` and one folder per split. Reading one needs the extra `hf`; it runs no code of
the data set and opens no pickle.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paretorch.errors import InputError


def saved_splits(folder: Path) -> Mapping[str, Any] | None:
    """The splits by name (`datasets.Dataset`), or None if `folder` was not written by `save_to_disk`.

    Raises:
        InputError: for a missing `datasets`, a folder of a single split, a split without rows, or damaged files.
    """
    if not (folder / "dataset_dict.json").is_file():
        if (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file():
            raise InputError(
                f"{folder} holds a single split; save what load_dataset(...) returns without split=, so that training "
                "and test examples are both there"
            )
        return None
    try:
        from datasets import load_from_disk
    except ImportError as error:
        raise InputError(
            f"{folder} was written by the library `datasets`, which does not import here ({error}); install it with "
            "pip install 'paretorch[hf]'"
        ) from error
    try:
        return load_from_disk(str(folder))
    except (OSError, ValueError, LookupError, TypeError) as error:  # its and pyarrow's, for damaged files and no rows
        raise InputError(
            f"{folder} is not readable as a saved data set ({type(error).__name__}: {error}); save it again"
        ) from error


def split_named(splits: Mapping[str, Any], name: str, *, folder: Path) -> Any:
    """The split `name`.

    Raises:
        InputError: listing the splits there are, if it is missing.
    """
    if name not in splits:
        raise InputError(f"{folder} has no split {name!r}; it has {sorted(splits)}")
    return splits[name]


def column(split: Any, name: str) -> list[Any]:
    """All values of one column, images decoded.

    Raises:
        InputError: listing the columns found, if it is missing.
    """
    _require(split, name)
    return list(split.select_columns([name])[:][name])


def images_and_labels(split: Any, *, image: str, label: str) -> tuple[Tensor, Tensor]:
    """The images, uint8 (n, channels, height, width), and the labels, int64 (n,), of a saved split.

    Args:
        split: a `datasets.Dataset`.
        image: name of the column of images, all grey or all RGB and of one size.
        label: name of the column of class numbers.

    Raises:
        InputError: listing the columns found, if one is missing; for columns of another kind, images of different
            sizes or modes, and negative labels (the hub's mark for "no label").
    """
    _require(split, image, label)
    if (found := type(split.features[image]).__name__) != "Image":
        raise InputError(f"column {image!r} holds {found}, not images; the columns are {_listed(split)}")
    labels = np.asarray(column(split, label))
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"column {label!r} does not hold class numbers; the columns are {_listed(split)}")
    if labels.min() < 0:
        raise InputError(f"column {label!r} has rows without a label (-1); remove them before save_to_disk")
    pictures = split.select_columns([image])
    first = pictures[0][image]
    if first.mode not in ("L", "RGB"):
        raise InputError(f"column {image!r} holds images of mode {first.mode!r}; convert them to 'L' or 'RGB'")
    pixels = np.empty((len(split), *np.asarray(first).shape), np.uint8)
    for position, row in enumerate(pictures):
        picture = row[image]
        if (picture.size, picture.mode) != (first.size, first.mode):
            raise InputError(
                f"image {position} of column {image!r} is {picture.size} {picture.mode}, image 0 is {first.size} "
                f"{first.mode}; one array needs images of one size and mode"
            )
        pixels[position] = picture
    tensor = torch.from_numpy(pixels)
    channels_first = tensor.unsqueeze(1) if tensor.dim() == 3 else tensor.permute(0, 3, 1, 2).contiguous()
    return channels_first, torch.from_numpy(labels.astype(np.int64))


def _require(split: Any, *names: str) -> None:
    if missing := [name for name in names if name not in split.column_names]:
        raise InputError(f"the saved data set has no column {missing[0]!r}; its columns are {_listed(split)}")


def _listed(split: Any) -> str:
    return ", ".join(f"{name} ({type(feature).__name__})" for name, feature in split.features.items())
