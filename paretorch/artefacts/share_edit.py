"""The edit of soft sharing: named layers are combinations of templates of a bank."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from paretorch.artefacts.edits import Edit, require_fields
from paretorch.errors import InputError
from paretorch.methods.sharing.templates import share_, shared_groups


@dataclass(frozen=True)
class ShareEdit(Edit):
    """The layers of each group share templates; for a model that its constructor makes without.

    Args:
        groups: group -> names of its layers.
        templates: group -> number of templates.

    Raises:
        InputError: there is no group, or the two do not name the same groups.
    """

    groups: Mapping[str, tuple[str, ...]]
    templates: Mapping[str, int]

    kind: ClassVar[str] = "share"

    def __post_init__(self) -> None:
        if not (isinstance(self.groups, Mapping) and isinstance(self.templates, Mapping) and self.groups):
            raise InputError(f"groups and templates are mappings with at least one group; got {self.groups!r}")
        if set(self.groups) != set(self.templates) or not all(_names(layers) for layers in self.groups.values()):
            raise InputError(
                f"every group has a list of layers and a number of templates; got {dict(self.groups)} and "
                f"{dict(self.templates)}"
            )
        object.__setattr__(self, "groups", {name: tuple(layers) for name, layers in self.groups.items()})

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """The edit that makes the shared layers of `model`.

        Raises:
            InputError: there are none.
        """
        found = shared_groups(model)
        return cls(
            {name: tuple(group.layers) for name, group in found.items()},
            {name: len(group.bank.templates) for name, group in found.items()},
        )

    def to_dict(self) -> dict[str, Any]:
        """Group -> layers, and group -> number of templates."""
        return {
            "groups": {name: list(layers) for name, layers in self.groups.items()},
            "templates": dict(self.templates),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The edit from its fields; it has no tensors.

        Raises:
            InputError: fields or tensors that it does not have, or values that are no groups.
        """
        require_fields(cls.kind, [*fields, *tensors], ("groups", "templates"))
        return cls(**fields)

    def apply(self, model: nn.Module) -> None:
        """Share the layers, in place; see `templates.share_` for what is raised."""
        share_(model, templates=self.templates, groups=self.groups)


def _names(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(name, str) for name in value)
