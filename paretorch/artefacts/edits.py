"""Edits: declared changes that turn the model a constructor makes into the model that was saved.

An artefact stores no code and no module structure, only `constructor(**kwargs)` and a list of edits. Loading replays
them, in order, on a freshly constructed model, and then loads the weights strictly. So an edit must say all that it
changes in JSON fields and tensors, and applying it twice to equal models must give equal models.

A new kind of edit is one class in one module of this package whose name ends in `_edit`; `known_edits` finds it there.
Classes from elsewhere are handed to `save_model` and `load_model` by their caller.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from paretorch.errors import ArtefactError

MODULE_SUFFIX = "_edit"


class Edit(ABC):
    """One declared change of a model. Implementations are frozen dataclasses with a `kind` of their own."""

    kind: ClassVar[str]

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The edit's fields as plain JSON values, without tensors and without `kind`."""

    def tensors(self) -> dict[str, Tensor]:
        """What the edit stores in the weights file, beside its JSON fields; nothing by default."""
        return {}

    @classmethod
    @abstractmethod
    def from_dict(cls, fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The edit that `to_dict` and `tensors` describe.

        Raises:
            InputError: fields or tensors are missing, unknown or do not fit together.
        """

    @abstractmethod
    def apply(self, model: nn.Module) -> None:
        """Make the change, in place, on a model as it is before this edit.

        Raises:
            InputError: the edit does not fit the model.
        """

    def check(self, model: nn.Module) -> None:  # noqa: B027  # most edits promise nothing about the weights
        """Raise if the finished model, with all edits replayed and its weights loaded, breaks the edit's promise.

        Raises:
            ParetorchError: it does.
        """


def known_edits(extra: Iterable[type[Edit]] = ()) -> dict[str, type[Edit]]:
    """Kind -> class: the edits of this package, and `extra`.

    Raises:
        ArtefactError: two classes claim one kind.
    """
    package = import_module(__package__)
    found = list(extra)
    for info in iter_modules(package.__path__):
        if info.name.endswith(MODULE_SUFFIX):
            module = import_module(f"{__package__}.{info.name}")
            found += [value for value in vars(module).values() if _is_edit_of(value, module.__name__)]
    kinds: dict[str, type[Edit]] = {}
    for edit in found:
        if kinds.setdefault(edit.kind, edit) is not edit:
            raise ArtefactError(
                f"{kinds[edit.kind].__qualname__} and {edit.__qualname__} both call themselves {edit.kind!r}; an "
                "edit's kind must be its own. Rename one."
            )
    return kinds


def decode_edit(
    description: Mapping[str, Any], tensors: Mapping[str, Tensor], *, kinds: Mapping[str, type[Edit]]
) -> Edit:
    """The edit that `description` (`kind` and the edit's fields) and its tensors stand for.

    Raises:
        ArtefactError: there is no such kind.
        InputError: the fields do not describe an edit of that kind.
    """
    fields = dict(description)
    kind = fields.pop("kind", None)
    if not isinstance(kind, str) or kind not in kinds:
        raise ArtefactError(
            f"unknown kind of edit {kind!r}; known are {', '.join(sorted(kinds))}. The artefact was written by a newer "
            "version, or with an edit of its author's own: pass its class in edit_types."
        )
    return kinds[kind].from_dict(fields, tensors)


def require_fields(kind: str, given: Collection[str], expected: Collection[str]) -> None:
    """Raise ArtefactError unless the names given are exactly those expected."""
    missing, unknown = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
    if missing or unknown:
        raise ArtefactError(
            f"not a description of a {kind!r} edit: missing {missing}, unknown {unknown}; its fields are "
            f"{sorted(expected)}."
        )


def _is_edit_of(value: object, module: str) -> bool:
    return inspect.isclass(value) and issubclass(value, Edit) and value.__module__ == module
