"""The edit of pruning: the masks travel as packed bits beside the weights, and their zeros are checked on load.

    n weights cost ceil(n / 8) bytes; a stored weight that is not zero where its mask prunes is refused

Masks name parameters and shapes of the finished model, so mask edits stand after the edits that change shapes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from paretorch.artefacts.edits import Edit, require_fields
from paretorch.errors import ArtefactError
from paretorch.methods.sparsity.masks import Masks


@dataclass(frozen=True)
class MaskEdit(Edit):
    """The weights that `masks` prunes are zero."""

    masks: Masks

    kind: ClassVar[str] = "mask"

    def to_dict(self) -> dict[str, Any]:
        """The content hash of the masks, which ties the manifest to the stored bits."""
        return {"hash": self.masks.hash()}

    def tensors(self) -> dict[str, Tensor]:
        """NAME.bits (uint8, eight entries a byte) and NAME.shape (int64) for every mask."""
        return self.masks.state_dict()

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The edit from its hash and packed bits.

        Raises:
            ArtefactError: the bits are damaged, or are not those that were hashed.
        """
        require_fields(cls.kind, fields, ("hash",))
        masks = Masks.from_state_dict(tensors)
        if masks.hash() != fields["hash"]:
            raise ArtefactError(
                f"the stored masks have hash {masks.hash()}, and the manifest says {fields['hash']!r}; one of them was "
                "changed."
            )
        return cls(masks)

    def apply(self, model: nn.Module) -> None:
        """Set the pruned weights to +0.0.

        Raises:
            InputError: a mask does not fit the model.
        """
        self.masks.apply_(model)

    def check(self, model: nn.Module) -> None:
        """Raise MaskViolationError unless every pruned weight is zero, InputError if a mask does not fit the model."""
        self.masks.check(model)


def combined_masks(edits: Iterable[Edit]) -> Masks | None:
    """What all mask edits together keep; None without one. A parameter masked twice keeps what both keep."""
    kept: dict[str, Tensor] = {}
    for edit in edits:
        if isinstance(edit, MaskEdit):
            kept |= {name: mask & kept[name] if name in kept else mask for name, mask in edit.masks.items()}
    return Masks(kept) if kept else None
