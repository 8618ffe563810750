"""Masks as packed bits: eight entries a byte, lowest bit first, row-major; and the content hash over them.

The packed form does not depend on device, strides or the machine's byte order, so its SHA-256 identifies a set of masks
wherever it was made.
"""

import hashlib
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from paretorch.errors import ArtefactError


def pack(mask: Tensor) -> Tensor:
    """The bits of a bool mask (any shape) as uint8, shape (ceil(n / 8),), on the CPU; the last byte is filled up."""
    return torch.from_numpy(np.packbits(mask.detach().cpu().numpy().reshape(-1), bitorder="little"))


def unpack(bits: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The bool mask of the given shape from what `pack` made.

    Raises:
        ArtefactError: if a size is negative, the bits are not uint8 or do not fit the shape, or the filling is not 0.
    """
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ArtefactError(f"packed mask has shape {shape}; sizes are whole and not negative. The data is damaged.")
    size = math.prod(shape)
    if bits.dtype != torch.uint8 or bits.shape != (math.ceil(size / 8),):
        raise ArtefactError(
            f"packed mask has dtype {bits.dtype} and shape {tuple(bits.shape)}; a mask of shape {shape} needs uint8 of "
            f"shape ({math.ceil(size / 8)},). The data is damaged or no packed mask."
        )
    flat = np.unpackbits(bits.cpu().numpy(), bitorder="little")
    if flat[size:].any():
        raise ArtefactError(f"packed mask of shape {shape} has bits set beyond its {size} entries: the data is damaged")
    return torch.from_numpy(flat[:size].astype(np.bool_)).reshape(shape)


def content_hash(masks: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) over names, shapes and bits, in the order of the names; each part is preceded by its length."""
    digest = hashlib.sha256()
    for name in sorted(masks):
        shape = ",".join(str(size) for size in masks[name].shape)
        for part in (name.encode(), shape.encode(), pack(masks[name]).numpy().tobytes()):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()
