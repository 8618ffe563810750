"""The edit of factoring: layers become products of two, of the ranks that the saved model has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from paretorch.artefacts.edits import Edit, require_fields
from paretorch.errors import InputError
from paretorch.methods.rank.factored import factored_layers
from paretorch.methods.rank.factorize import factorise_


@dataclass(frozen=True)
class FactoriseEdit(Edit):
    """The layers named in `ranks` are products of two of these ranks.

    Ranks that a later cut leaves can be given at once: factoring at the final rank makes the same modules.

    Raises:
        InputError: there is no layer, a name is no text, or a rank is no positive integer.
    """

    ranks: Mapping[str, int]

    kind: ClassVar[str] = "factorise"

    def __post_init__(self) -> None:
        ranks = dict(self.ranks) if isinstance(self.ranks, Mapping) else {}
        if not ranks or not all(isinstance(name, str) and type(r) is int and r > 0 for name, r in ranks.items()):
            raise InputError(f"ranks are a positive integer for each layer by name, at least one; got {self.ranks!r}")
        object.__setattr__(self, "ranks", ranks)

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """The edit that makes the factored layers of `model`.

        Raises:
            InputError: there are none.
        """
        return cls({name: layer.rank for name, layer in factored_layers(model).items()})

    def to_dict(self) -> dict[str, Any]:
        """Layer name -> rank."""
        return {"ranks": dict(self.ranks)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The edit from its fields; it has no tensors.

        Raises:
            InputError: fields or tensors that it does not have, or values that are no ranks.
        """
        require_fields(cls.kind, [*fields, *tensors], ("ranks",))
        return cls(**fields)

    def apply(self, model: nn.Module) -> None:
        """Factor the layers, in place; see `factorize.factorise_` for what is raised."""
        factorise_(model, layers=list(self.ranks), rank=self.ranks)
