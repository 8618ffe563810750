"""The edit of cutting units out for good; what a cut does to a model stands in `paretorch.methods.width.cutting`.

"slices": {"fc1.weight": {"0": {"size": 300, "runs": [[0, 128]]}}, ...}     entries that stay, by tensor and dimension
"sizes": {"fc1": {"out_features": [300, 128]}, ...}                         attributes before and after
"rms": {}                                                                   norms whose divisor is kept
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from paretorch.artefacts.edits import Edit, require_fields
from paretorch.errors import ArtefactError
from paretorch.methods.width.cutting import Cut


@dataclass(frozen=True)
class CutEdit(Edit):
    """Of the units of a model, only those that `cut` names stay.

    Args:
        cut: as `plan_cut` makes it. Of several cuts one after the other, each numbers the units as they are then.
    """

    cut: Cut

    kind: ClassVar[str] = "cut"

    def to_dict(self) -> dict[str, Any]:
        """Names and numbers of the cut."""
        return self.cut.to_dict()

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The edit from its fields; it has no tensors.

        Raises:
            ArtefactError: fields or tensors that it does not have.
            InputError: values that do not describe a cut.
        """
        if {"producer", "consumer"} & set(fields):
            raise ArtefactError(
                "this cut is described by a producer and a consumer, a form that was never released; a cut is "
                "described by slices, sizes and rms. Save the model again."
            )
        require_fields(cls.kind, [*fields, *tensors], ("slices", "sizes", "rms"))
        return cls(Cut.from_dict(fields))

    def apply(self, model: nn.Module) -> None:
        """Make the cut, in place.

        Raises:
            InputError: the cut does not fit the model.
        """
        self.cut.apply_(model)
