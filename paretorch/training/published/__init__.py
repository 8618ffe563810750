"""Published weights: models that somebody else trained, loaded only if they do what their authors say they do.

A file can have the right shapes and still be wrong (another normalisation, another order of tensors, a swapped layer).
So every entry has, beside the sha256 of its file, a figure that was published or measured for it, and a model is handed
out only after that figure was reached on the data it belongs to.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

from torch import nn

from paretorch.errors import InputError
from paretorch.training.tasks.missing import data_folder

ENTRIES = {
    "resnet20": "cifar_resnets:RESNET20",
    "resnet20-channel-sparse": "channel_sparse:RESNET20_CHANNEL_SPARSE",
    "resnet56": "cifar_resnets:RESNET56",
    "stories260k": "stories260k:STORIES260K",
}


@dataclass(frozen=True, kw_only=True)
class Published:
    """One file of published weights, and how it is known to be right.

    Attributes:
        name: under which it is loaded.
        folder, file, sha256: where it lies below the data folder, and its content.
        source: authors, repository, licence.
        build: the model, from the path of the file; in evaluation mode, float32, on the CPU.
        metric: what `check` measures.
        check: the metric of the model, from the model and the data folder.
        expected, tolerance: the published value, and how far from it rounding may lead.
        normalisation: how the images were scaled in training, under the name that image tasks have for it; None where
            there is nothing to scale.
    """

    name: str
    folder: str
    file: str
    sha256: str
    source: str
    build: Callable[[Path], nn.Module]
    metric: str
    check: Callable[[nn.Module, Path], float]
    expected: float
    tolerance: float
    normalisation: str | None = None


def load_published(name: str, *, data: Path | str | None) -> nn.Module:
    """The published model `name`, in evaluation mode, after its check.

    Args:
        name: a key of `ENTRIES`.
        data: the data folder.

    Raises:
        InputError: for an unknown name, a missing or altered file, or a model that misses its published figure.
    """
    entry, path = published(name), locate_published(name, data=data)
    model = entry.build(path).eval()
    value = entry.check(model, path.parents[1])
    if not abs(value - entry.expected) <= entry.tolerance:
        raise InputError(
            f"published weights {name!r} reach {entry.metric} {value:.4f} and should reach {entry.expected:.4f} "
            f"(within {entry.tolerance:g}); the data, its scaling or this installation differ from the authors'"
        )
    return model


def locate_published(name: str, *, data: Path | str | None) -> Path:
    """The file of the published weights `name`, whose content is the published one; the model is not checked.

    Raises:
        InputError: for an unknown name, or a missing or altered file.
    """
    entry = published(name)
    remedy = f"get {entry.file} ({entry.source})"
    path = data_folder(data, entry.folder, task=f"published weights {name!r}", remedy=remedy) / entry.file
    if not path.is_file():
        raise InputError(f"there is no file {path}: {remedy}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != entry.sha256:
        raise InputError(f"{path} has sha256 {found}, expected {entry.sha256}: it is not the published file")
    return path


def published(name: str) -> Published:
    """The entry `name`.

    Raises:
        InputError: if there is none, naming the nearest.
    """
    if name not in ENTRIES:
        near = get_close_matches(name, ENTRIES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"there are no published weights {name!r}; {hint}known: {', '.join(ENTRIES)}")
    module, _, attribute = ENTRIES[name].partition(":")
    entry: Published = getattr(import_module(f"{__name__}.{module}"), attribute)
    return entry
