"""A cut of any kind of layer is saved as an edit and made again on the model as it is built."""

from pathlib import Path

import pytest
import torch
from torch import nn

from paretorch.artefacts.cut_edit import CutEdit
from paretorch.artefacts.mask_edit import MaskEdit
from paretorch.artefacts.model import load_artefact, save_model
from paretorch.errors import ArtefactError, InputError
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.methods.width.cutting import Cut, narrowed, plan_cut
from tests.artefacts.saved_models import same_state
from tests.methods.width.cut_models import CASES, settled


@pytest.mark.parametrize("name", CASES)
def test_two_cuts_and_masks_come_back_with_the_same_bits(name: str, tmp_path: Path) -> None:
    case = settled(CASES[name](), torch.float32)
    edits = []
    groups = case.groups
    for fraction in (2, 3):
        keep = tuple(torch.arange(size - max(1, size * fraction // 4), size) for size in groups.full)
        cut = plan_cut(groups, keep)
        cut.apply_(case.model)
        edits.append(CutEdit(cut))
        groups = narrowed(groups, keep)
    masks = magnitude_masks(case.model, sparsity=0.3)
    masks.apply_(case.model)
    edits.append(MaskEdit(masks))

    def build() -> nn.Module:
        return CASES[name]().model

    build.__qualname__ = "build"
    path = save_model(tmp_path / "m", case.model, constructor=build, edits=edits, example_inputs=case.inputs)
    loaded = load_artefact(path, constructor=build)
    assert loaded.edits == tuple(edits)
    assert loaded.masks == masks
    assert same_state(loaded.model, case.model)
    assert repr(loaded.model) == repr(case.model)
    assert loaded.model(case.inputs).equal(case.model(case.inputs))


def test_the_description_of_a_prefix_does_not_grow_with_the_model() -> None:
    case = CASES["convolutions"]()
    description = CutEdit(plan_cut(case.groups, case.groups.prefix((5, 2)))).to_dict()
    assert description["slices"]["4.weight"] == {
        "1": {"size": 8, "runs": [[0, 5]]},
        "0": {"size": 4, "runs": [[0, 2]]},
    }
    assert description["slices"]["7.weight"] == {"1": {"size": 8, "runs": [[0, 4]]}}
    assert description["sizes"]["4"] == {"in_channels": [8, 5], "out_channels": [4, 2]}


def test_a_cut_that_was_not_recorded_cannot_be_saved(tmp_path: Path) -> None:
    case = CASES["linear_chain"]()
    plan_cut(case.groups, case.groups.prefix((3, 2))).apply_(case.model)

    def build() -> nn.Module:
        return CASES["linear_chain"]().model

    build.__qualname__ = "build"
    with pytest.raises(InputError, match="Every change of the model since it was built must be an edit"):
        save_model(tmp_path / "m", case.model, constructor=build)
    assert list(tmp_path.iterdir()) == []


def test_a_description_by_producer_and_consumer_is_refused_with_the_reason() -> None:
    with pytest.raises(ArtefactError, match="a producer and a consumer, a form that was never released"):
        CutEdit.from_dict({"producer": "a", "consumer": "b", "keep": [0], "norms": []}, {})
    assert CutEdit.from_dict({"slices": {}, "sizes": {}, "rms": {}}, {}) == CutEdit(Cut())
