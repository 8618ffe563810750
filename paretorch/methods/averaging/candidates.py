"""The candidates of a soup: finished copies that are read in pieces, so that no copy need be in memory as a whole.

A file is opened for each piece and closed again, because the pages of an open safetensors file that were once read
count as memory of the process until it is closed.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from paretorch.errors import ArtefactError, InputError
from paretorch.methods.sparsity.masks import Masks

Block = tuple[slice, ...]
Layout = Mapping[str, tuple[tuple[int, ...], torch.dtype]]
"""Name -> (shape, dtype) of every entry of a state dict."""


@dataclass(frozen=True)
class Candidate:
    """A finished copy that may become part of a soup.

    Args:
        name: what errors call it; unique among the candidates of one soup.
        load: returns its state dict. Called once per average. A `StoredState` is read in pieces; of any other mapping
            the average holds what the call returned.
        masks: what was pruned in it, by parameter name. None: every exact zero of a matrix is taken to be pruned.
    """

    name: str
    load: Callable[[], Mapping[str, Tensor]]
    masks: Masks | None = None


class State(Protocol):
    """A state dict that can be read in pieces."""

    layout: Layout

    def read(self, name: str, block: Block) -> Tensor:
        """The entry, or a piece of it."""

    def place(self, name: str) -> object:
        """Equal for two names exactly when they stand for one tensor."""


class StoredState(Mapping[str, Tensor]):
    """The tensors of a safetensors file by name, each read from the file when it is asked for.

    Args:
        path: the file.
        names: entry -> name in the file, where they differ; several entries may share a tensor. None takes every
            tensor of the file under its own name.

    Raises:
        ArtefactError: if the file is missing or no safetensors file, or a name is not in it.
    """

    def __init__(self, path: str | os.PathLike[str], *, names: Mapping[str, str] | None = None) -> None:
        self.path = Path(path)
        with self._open() as handle:
            stored = handle.keys()
            inside = {name: handle.get_slice(name) for name in stored}
            self._names = dict(names) if names is not None else {name: name for name in inside}
            if lost := sorted(set(self._names.values()) - set(inside)):
                raise ArtefactError(f"{self.path} does not hold {lost[:3]}; it holds {sorted(inside)[:3]}...")
            self.layout: Layout = {
                name: (tuple(piece.get_shape()), piece[:0].dtype if piece.get_shape() else piece[...].dtype)
                for name, piece in ((name, inside[stored]) for name, stored in self._names.items())
            }

    def __getitem__(self, name: str) -> Tensor:
        return self.read(name, ()).clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def read(self, name: str, block: Block) -> Tensor:
        """The entry, or a piece of it; it maps the file into memory until it is dropped, so do not keep it."""
        stored = self._names[name]
        with self._open() as handle:
            piece: Tensor = handle.get_slice(stored)[block or ...]
        return piece

    def place(self, name: str) -> object:
        """Equal for two names exactly when they stand for one tensor."""
        return self._names[name]

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            with safe_open(self.path, framework="pt", device="cpu") as handle:
                yield handle
        except FileNotFoundError as error:
            raise ArtefactError(f"{self.path} does not exist") from error
        except (SafetensorError, OSError) as error:
            raise ArtefactError(f"{self.path} cannot be read as a safetensors file: {error}") from error


class HeldState:
    """A state dict that is in memory."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        if foreign := sorted(name for name, value in tensors.items() if not isinstance(value, Tensor)):
            raise InputError(f"it holds values that are no tensors: {foreign[:3]}")
        self._tensors = {name: tensor.detach() for name, tensor in tensors.items()}
        self.layout: Layout = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in self._tensors.items()}

    def read(self, name: str, block: Block) -> Tensor:
        """The entry, or a piece of it."""
        return self._tensors[name][block]

    def place(self, name: str) -> object:
        """Equal for two names exactly when they stand for one tensor."""
        tensor = self._tensors[name]
        if not tensor.numel():  # all empty storages have address 0
            return name
        return tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def checked_names(candidates: Sequence[Candidate]) -> None:
    """Refuse candidates that cannot be told apart, or none at all.

    Raises:
        InputError: naming the candidate.
    """
    if not candidates:
        raise InputError("a soup needs m >= 1 candidates; got none. Give at least one finished copy")
    names = [candidate.name for candidate in candidates]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"candidate {double[0]!r} is given twice; each candidate needs a name of its own")


def open_states(candidates: Sequence[Candidate]) -> list[State]:
    """The states of all candidates, of one layout.

    Raises:
        InputError: naming the candidate that cannot be read, or whose names, shapes or dtypes are not the first one's.
    """
    states = [_open(candidate) for candidate in candidates]
    for candidate, state in zip(candidates, states, strict=True):
        if problem := _difference(states[0].layout, state.layout):
            raise InputError(
                f"candidate {candidate.name!r} is of another architecture than {candidates[0].name!r}: {problem}. Only "
                "copies of one model can be averaged"
            )
    return states


def _open(candidate: Candidate) -> State:
    try:
        loaded = candidate.load()
        return loaded if isinstance(loaded, StoredState) else HeldState(loaded)
    except (InputError, OSError) as error:
        raise InputError(f"candidate {candidate.name!r} cannot be read: {error}") from error


def _difference(expected: Layout, found: Layout) -> str | None:
    """What differs first, or None."""
    if missing := sorted(expected.keys() - found.keys()):
        return f"it has no {missing[0]!r}"
    if extra := sorted(found.keys() - expected.keys()):
        return f"it has {extra[0]!r} besides"
    for name, (shape, dtype) in expected.items():
        if found[name] != (shape, dtype):
            return f"{name!r} is {found[name][0]} {found[name][1]}, not {shape} {dtype}"
    return None
