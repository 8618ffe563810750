"""The edit of folding: layers have one weight together, which is stored once, or a factor times that weight."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from paretorch.artefacts.edits import Edit, require_fields
from paretorch.errors import InputError
from paretorch.methods.sharing.fold import Folding
from paretorch.methods.sharing.tied import tie_by_name_


@dataclass(frozen=True)
class FoldEdit(Edit):
    """The layers of each cluster have one weight; for a model whose constructor or earlier edits shared templates.

    Args:
        clusters: names of the layers with one weight.
        scaled: those that have a factor in front of it.
        eps: batch norm -> the epsilon that it has since it absorbed a factor.

    Raises:
        InputError: values of another form, or an epsilon that is not positive.
    """

    clusters: Sequence[tuple[str, ...]]
    scaled: Sequence[str]
    eps: Mapping[str, float]

    kind: ClassVar[str] = "fold"

    def __post_init__(self) -> None:
        clusters = self.clusters if isinstance(self.clusters, list | tuple) else ()
        if not clusters or not all(_names(cluster) and cluster for cluster in clusters) or not _names(self.scaled):
            raise InputError(f"clusters are lists of names of layers, at least one; got {self.clusters!r}")
        if not isinstance(self.eps, Mapping) or not all(_positive(value) for value in self.eps.values()):
            raise InputError(f"eps is a positive number for each batch norm by name; got {self.eps!r}")
        object.__setattr__(self, "clusters", tuple(map(tuple, clusters)))
        object.__setattr__(self, "scaled", tuple(self.scaled))

    @classmethod
    def of(cls, folding: Folding) -> Self:
        """The edit of what `fold_` did."""
        return cls(tuple(folding.clusters.values()), tuple(folding.factors), dict(folding.eps))

    def to_dict(self) -> dict[str, Any]:
        """Clusters, layers with factors, and epsilons."""
        return {
            "clusters": [list(cluster) for cluster in self.clusters],
            "scaled": list(self.scaled),
            "eps": dict(self.eps),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The edit from its fields; it has no tensors.

        Raises:
            InputError: fields or tensors that it does not have, or values of another form.
        """
        require_fields(cls.kind, [*fields, *tensors], ("clusters", "scaled", "eps"))
        return cls(**fields)

    def apply(self, model: nn.Module) -> None:
        """Tie the layers and set the epsilons, in place.

        Raises:
            InputError: as `tie_by_name_`, or for a name that is no batch norm.
        """
        modules = dict(model.named_modules())
        if foreign := [name for name in self.eps if not isinstance(modules.get(name), _BatchNorm)]:
            raise InputError(f"{foreign} should have an epsilon and are no batch norms of the model")
        tie_by_name_(model, self.clusters, scaled=self.scaled)
        for name, value in self.eps.items():
            modules[name].eps = value


def _names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
