"""Edits are found by their kind, and an unknown or damaged description is refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import pytest
import torch
from torch import Tensor, nn

from paretorch.artefacts.cut_edit import CutEdit
from paretorch.artefacts.edits import Edit, decode_edit, known_edits
from paretorch.artefacts.mask_edit import MaskEdit, combined_masks
from paretorch.errors import ArtefactError, InputError, MaskViolationError
from paretorch.methods.sparsity.masks import Masks
from tests.artefacts.saved_models import CUTS


@dataclass(frozen=True)
class Foreign(Edit):
    kind: ClassVar[str] = "foreign"

    def to_dict(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        return cls()

    def apply(self, model: nn.Module) -> None:
        model.append(nn.ReLU())


@dataclass(frozen=True)
class Impostor(Foreign):
    kind: ClassVar[str] = "cut"


def masks() -> Masks:
    return Masks({"0.weight": torch.tensor([[True, False, True], [False, False, True]])})


def test_the_edits_of_the_package_are_found_and_foreign_ones_join_them() -> None:
    assert {"mask": MaskEdit, "cut": CutEdit}.items() <= known_edits().items()
    assert "foreign" not in known_edits()
    assert known_edits([Foreign, MaskEdit])["foreign"] is Foreign
    with pytest.raises(ArtefactError, match=r"both call themselves 'cut'"):
        known_edits([Impostor])


@pytest.mark.parametrize("edit", [*CUTS, MaskEdit(masks())])
def test_an_edit_comes_back_from_its_description(edit: Edit) -> None:
    assert decode_edit({"kind": edit.kind, **edit.to_dict()}, edit.tensors(), kinds=known_edits()) == edit


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    for kind in ("fold9", None, 3):
        with pytest.raises(ArtefactError, match=rf"unknown kind of edit {kind!r}; known are cut, .*mask"):
            decode_edit({"kind": kind}, {}, kinds=known_edits())


def test_missing_and_unknown_fields_are_named() -> None:
    fields = CUTS[0].to_dict()
    with pytest.raises(ArtefactError, match=r"missing \['sizes'\], unknown \[\]"):
        CutEdit.from_dict({k: v for k, v in fields.items() if k != "sizes"}, {})
    with pytest.raises(ArtefactError, match=r"missing \[\], unknown \['x'\]"):
        CutEdit.from_dict({**fields, "x": 1}, {})
    with pytest.raises(ArtefactError, match=r"unknown \['t'\]"):
        CutEdit.from_dict(fields, {"t": torch.zeros(1)})
    with pytest.raises(InputError, match="increase"):
        CutEdit.from_dict({**fields, "slices": {"w": {"0": {"size": 4, "runs": [[2, 3], [0, 1]]}}}}, {})
    with pytest.raises(ArtefactError, match=r"missing \['hash'\]"):
        MaskEdit.from_dict({}, masks().state_dict())


def test_stored_mask_bits_that_are_not_those_of_the_manifest_are_refused() -> None:
    other = Masks({"0.weight": ~masks()["0.weight"]})
    with pytest.raises(ArtefactError, match="one of them was changed"):
        MaskEdit.from_dict(MaskEdit(masks()).to_dict(), other.state_dict())
    with pytest.raises(ArtefactError, match="packed"):
        MaskEdit.from_dict(MaskEdit(masks()).to_dict(), {})


def test_a_mask_edit_zeroes_what_it_prunes_and_then_holds() -> None:
    model, edit = nn.Sequential(nn.Linear(3, 2)), MaskEdit(masks())
    kept = model[0].weight.detach().clone()
    with pytest.raises(MaskViolationError, match=r"'0\.weight': 3"):
        edit.check(model)
    edit.apply(model)
    edit.check(model)
    assert model[0].weight.equal(torch.where(masks()["0.weight"], kept, 0.0))


def test_masks_of_several_edits_are_joined_and_those_of_one_parameter_intersected() -> None:
    first = torch.tensor([True, True, False])
    second = torch.tensor([True, False, True])
    edits = [
        MaskEdit(Masks({"a": first, "b": first})),
        CUTS[0],
        MaskEdit(Masks({"a": second, "c": second})),
    ]
    assert combined_masks(edits) == Masks({"a": torch.tensor([True, False, False]), "b": first, "c": second})
    assert combined_masks(edits[1:2]) is None
