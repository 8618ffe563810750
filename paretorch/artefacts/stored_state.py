"""One state dict inside a tree file, tensor by tensor: an average of many files needs no file in memory as a whole.

A tree that holds a model beside other things (a checkpoint: optimizers, progress) keeps the tensors under the names of
their places; here they get the names of the model's own state dict back, tied ones included.
"""

import os
from pathlib import Path
from typing import Any

from paretorch.artefacts.tree import checked_structure
from paretorch.errors import ArtefactError
from paretorch.methods.averaging.candidates import StoredState


def stored_state(path: str | os.PathLike[str], *place: str) -> StoredState:
    """The state dict at a place of the tree that `save_tree` wrote; every byte of the file is checked once, now.

    Args:
        path: the file.
        place: keys from the root of the tree to the state dict, as in ("state", "model") for a checkpoint.

    Raises:
        ArtefactError: as `load_tree`; or if there is no state dict of plain tensors at that place. float8 and complex
            tensors are stored as bytes and cannot be read in pieces; `load_tree` reads them.
    """
    file = Path(path)
    node = checked_structure(file)
    for depth, key in enumerate(place):
        node = dict(_pairs(node)).get(key)
        if node is None:
            raise ArtefactError(f"{file} holds nothing at {'.'.join(place[: depth + 1])!r}")
    names = {}
    for name, value in _pairs(node):
        if not isinstance(value, dict) or set(value) != {"tensor"}:
            raise ArtefactError(
                f"{file}: {name!r} at {'.'.join(place) or 'the root'} is no tensor that can be read in pieces"
            )
        names[name] = value["tensor"]
    if not names:
        raise ArtefactError(f"{file} holds no state dict at {'.'.join(place) or 'the root'}")
    return StoredState(file, names=names)


def _pairs(node: Any) -> list[tuple[Any, Any]]:
    """Keys and values of a dict in its JSON form; of anything else none."""
    return node.get("dict", []) if isinstance(node, dict) else []
