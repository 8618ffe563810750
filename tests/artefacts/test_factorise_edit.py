"""A factored model is saved and loaded; a manifest whose ranks were changed is refused."""

from pathlib import Path

import pytest
import torch

from paretorch.artefacts.factorise_edit import FactoriseEdit
from paretorch.artefacts.manifest import file_sha256, write_manifest
from paretorch.artefacts.model import CORE_KEY, load_artefact, load_model, save_model
from paretorch.artefacts.tree import load_tree, save_tree
from paretorch.errors import ArtefactError, InputError
from paretorch.methods.rank.factored import Factored
from paretorch.methods.rank.factorize import factorise_
from paretorch.training.models.cnn import SmallCNN
from paretorch.training.models.mlp import mlp
from tests.artefacts.saved_models import IMAGES, MLP, same_state, trained_cnn


def test_a_factored_model_comes_back_with_its_ranks_and_outputs(tmp_path: Path) -> None:
    model = trained_cnn()
    factorise_(model, layers=["conv2", "hidden"], rank={"conv2": 3, "hidden": 5})
    edit = FactoriseEdit.of(model)
    assert edit.to_dict() == {"ranks": {"conv2": 3, "hidden": 5}}
    path = save_model(
        tmp_path / "m", model, constructor=SmallCNN, kwargs={"width": 4}, edits=[edit], example_inputs=IMAGES
    )
    loaded = load_model(path)
    assert isinstance(loaded.conv2, Factored)
    assert loaded.hidden.rank == 5
    assert same_state(model, loaded)
    assert torch.equal(loaded(IMAGES), model.eval()(IMAGES))
    assert load_artefact(path).edits == (edit,)


def test_ranks_that_were_changed_in_the_manifest_are_refused(tmp_path: Path) -> None:
    model = mlp(**MLP)
    factorise_(model, rank=2)
    path = save_model(tmp_path / "m", model, constructor=mlp, kwargs=MLP, edits=[FactoriseEdit.of(model)])
    manifest = load_artefact(path).manifest
    for ranks, message in [
        ({"1": 3, "3": 2, "5": 2}, r"1\.down\.weight is \(2, 4\), the model's \(3, 4\)"),
        ({"1": 9, "3": 2, "5": 2}, "from 1 to 4; got 9"),
    ]:
        changed = type(manifest)(**{**vars(manifest), "edits": ({"kind": "factorise", "ranks": ranks},)})
        content = {**load_tree(path / "model.safetensors"), CORE_KEY: changed.core_sha256()}
        save_tree(path / "model.safetensors", content)
        write_manifest(path, changed, weights_sha256=file_sha256(path / "model.safetensors"))
        with pytest.raises(ArtefactError, match=message):
            load_model(path)


@pytest.mark.parametrize("ranks", [{}, {"fc": 0}, {"fc": 1.0}, {"fc": True}, {3: 1}, [["fc", 1]], None])
def test_what_describes_no_ranks_is_refused(ranks: object) -> None:
    with pytest.raises(InputError, match="a positive integer for each layer by name"):
        FactoriseEdit.from_dict({"ranks": ranks}, {})


def test_other_fields_and_layers_that_are_not_there_are_refused() -> None:
    with pytest.raises(ArtefactError, match=r"unknown \['rank'\]"):
        FactoriseEdit.from_dict({"ranks": {"1": 2}, "rank": 1}, {})
    with pytest.raises(InputError, match="no Linear or Conv2d of the model is called 'fc'"):
        FactoriseEdit({"fc": 2}).apply(mlp(**MLP))
    with pytest.raises(InputError, match=r"at least one; got \{\}"):
        FactoriseEdit.of(mlp(**MLP))
