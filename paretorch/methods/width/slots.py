"""Puts other tensors and numbers in the places of a model's own for a while, and these back afterwards.

A slot is a place that holds a parameter or buffer; a tied tensor has several. Tensors go straight into the modules'
stores, because `setattr` takes nothing but a Parameter where one stood, and a slice of a parameter is none.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.width.cut_parts import missing

Slot = tuple[dict[str, Any], str]


def slots_of(modules: Mapping[str, nn.Module], names: Iterable[str]) -> dict[str, list[Slot]]:
    """For each tensor name all places that hold this tensor: more than one where it is tied or its module shared.

    Args:
        modules: every module of a model by name, shared ones under all their names, itself under "".
        names: full names of parameters and buffers.

    Raises:
        InputError: for a name that the model does not have.
    """
    named: dict[str, Tensor] = {}
    places: dict[int, dict[tuple[int, str], Slot]] = {}
    for prefix, module in modules.items():
        for store in (module._parameters, module._buffers):
            for key, tensor in store.items():
                if tensor is not None:
                    named[f"{prefix}.{key}".removeprefix(".")] = tensor
                    places.setdefault(id(tensor), {})[id(store), key] = (store, key)
    for name in names:
        if name not in named:
            raise InputError(missing(name, "parameter or buffer", modules[""], list(named)))
    return {name: list(places[id(named[name])].values()) for name in names}


@contextmanager
def exchanged(
    tensors: Iterable[tuple[Slot, Tensor]], attributes: Iterable[tuple[nn.Module, str, Any]]
) -> Iterator[None]:
    """A context in which these tensors and numbers stand in their places; what stood there returns, errors too."""
    tensors, attributes = list(tensors), list(attributes)
    old_tensors = [((store, key), store[key]) for (store, key), _ in tensors]
    old_attributes = [(module, key, getattr(module, key)) for module, key, _ in attributes]
    try:
        _put(tensors, attributes)
        yield
    finally:
        _put(old_tensors, old_attributes)


def _put(tensors: Iterable[tuple[Slot, Tensor]], attributes: Iterable[tuple[nn.Module, str, Any]]) -> None:
    for (store, key), tensor in tensors:
        store[key] = tensor
    for module, attribute, value in attributes:
        setattr(module, attribute, value)
