"""Shared and folded models are saved and loaded with every tensor once; manifests that do not fit are refused."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from paretorch.artefacts.fold_edit import FoldEdit
from paretorch.artefacts.model import load_artefact, load_model, save_model
from paretorch.artefacts.share_edit import ShareEdit
from paretorch.errors import ArtefactError, InputError
from paretorch.methods.sharing.absorbing import following_norms
from paretorch.methods.sharing.fold import Folding, fold_
from paretorch.methods.sharing.layers import ScaledLayer
from paretorch.methods.sharing.templates import share_, shared_groups
from paretorch.training.models.wide_resnet import WideResNet
from tests.artefacts.saved_models import same_state
from tests.methods.sharing.networks import wide

DEPTH = {"depth": 22, "widen": 1}
IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def stored_bytes(path: Path) -> int:
    """Bytes of all tensors in the weights file."""
    with safe_open(path / "model.safetensors", "pt") as file:
        names = file.keys()
        return sum(file.get_tensor(name).nbytes for name in names)


def model_bytes(model: nn.Module) -> int:
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return sum(tensor.nbytes for tensor in tensors.values())


def trained() -> WideResNet:
    """A network with one template per stage, whose norms have seen data."""
    torch.manual_seed(0)
    model = wide(**DEPTH, templates=1)
    for _ in range(3):
        model(torch.randn(4, 3, 8, 8))
    return model.eval()


def folded() -> tuple[WideResNet, Folding]:
    model = trained()
    return model, fold_(model, norms=following_norms(model, IMAGES))


def test_a_model_that_shares_by_construction_needs_no_edit(tmp_path: Path) -> None:
    model = trained()
    settings = {**DEPTH, "templates": 1}
    path = save_model(tmp_path / "m", model, constructor=wide, kwargs=settings, example_inputs=IMAGES)
    loaded = load_model(path, constructor=wide)
    assert same_state(model, loaded)
    assert torch.equal(loaded(IMAGES), model(IMAGES))
    assert stored_bytes(path) == pytest.approx(model_bytes(model), abs=5000)


def test_sharing_of_a_model_that_was_built_without_comes_back_by_its_edit(tmp_path: Path) -> None:
    model = WideResNet(**DEPTH)
    share_(model, templates={"a": 2, "b": 1}, groups={"a": ["layer2.[12].conv?"], "b": ["layer3.*.conv2"]})
    edit = ShareEdit.of(model)
    assert edit.templates == {"a": 2, "b": 1}
    path = save_model(
        tmp_path / "m", model.eval(), constructor=WideResNet, kwargs=DEPTH, edits=[edit], example_inputs=IMAGES
    )
    loaded = load_model(path)
    assert {name: list(group.layers) for name, group in shared_groups(loaded).items()} == {
        "a": ["layer2.1.conv1", "layer2.1.conv2", "layer2.2.conv1", "layer2.2.conv2"],
        "b": ["layer3.0.conv2", "layer3.1.conv2", "layer3.2.conv2"],
    }
    assert same_state(model, loaded)
    assert load_artefact(path).edits == (edit,)


def test_saving_and_loading_a_shared_model_do_not_move_the_random_numbers_of_a_run(tmp_path: Path) -> None:
    model = WideResNet(**DEPTH)
    share_(model, templates=2, groups={"a": ["layer2.[12].conv?"]})
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    path = save_model(tmp_path / "m", model, constructor=WideResNet, kwargs=DEPTH, edits=[ShareEdit.of(model)])
    load_model(path)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("shares", [True, False])
def test_a_folded_model_comes_back_tied_with_its_factors_and_epsilons(shares: bool, tmp_path: Path) -> None:
    model, found = folded()
    edit = FoldEdit.of(found)
    constructor, kwargs = (wide, {**DEPTH, "templates": 1}) if shares else (WideResNet, DEPTH)
    path = save_model(
        tmp_path / "m", model, constructor=constructor, kwargs=kwargs, edits=[edit], example_inputs=IMAGES
    )
    loaded = load_model(path, constructor=constructor)
    assert torch.equal(loaded(IMAGES), model(IMAGES))
    assert same_state(model, loaded)
    assert loaded.layer1[1].conv1.weight is loaded.layer1[2].conv1.weight
    assert isinstance(loaded.layer1[2].conv2, ScaledLayer)
    assert loaded.layer1[2].conv2.base is loaded.layer1[1].conv1.weight
    assert [m.eps for m in loaded.modules() if isinstance(m, nn.BatchNorm2d)] == [
        m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)
    ]
    assert stored_bytes(path) == pytest.approx(model_bytes(model), abs=5000)  # 4 layers of a stage are stored once
    assert model_bytes(model) < model_bytes(WideResNet(**DEPTH)) / 2


def test_an_artefact_without_the_epsilons_would_compute_something_else_and_is_not_written(tmp_path: Path) -> None:
    model, found = folded()
    edit = FoldEdit(tuple(found.clusters.values()), tuple(found.factors), {})
    with pytest.raises(InputError, match="outputs"):
        save_model(tmp_path / "m", model, constructor=WideResNet, kwargs=DEPTH, edits=[edit], example_inputs=IMAGES)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            FoldEdit([("layer1.1.conv1", "nothing")], [], {}),
            "no Linear or convolution of the model is called 'nothing'",
        ),
        (FoldEdit([("layer2.0.conv1", "layer2.0.conv2")], [], {}), "one class and shape"),
        (FoldEdit([("layer1.1.conv1",), ("layer1.1.conv1",)], [], {}), "stand in the clusters twice"),
        (FoldEdit([("layer1.1.conv1",)], ["layer1.1.conv2"], {}), "have a factor and stand in no cluster"),
        (FoldEdit([("layer1.1.conv1",)], [], {}), r"\['layer1.1.conv2', .* of the shared group 'stage1'"),
        (FoldEdit([("linear",)], [], {"conv1": 1e-5}), r"\['conv1'\] should have an epsilon"),
    ],
)
def test_a_fold_that_does_not_fit_the_model_is_refused(edit: FoldEdit, message: str) -> None:
    model = trained()
    names = list(model.state_dict())
    with pytest.raises(InputError, match=message):
        edit.apply(model)
    assert list(model.state_dict()) == names


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (ShareEdit, {"groups": {}, "templates": {}}, "at least one group"),
        (ShareEdit, {"groups": {"a": ["x"]}, "templates": {"b": 1}}, "every group has a list of layers"),
        (ShareEdit, {"groups": {"a": "xy"}, "templates": {"a": 1}}, "every group has a list of layers"),
        (ShareEdit, {"groups": [], "templates": 1}, "are mappings"),
        (FoldEdit, {"clusters": [], "scaled": [], "eps": {}}, "at least one"),
        (FoldEdit, {"clusters": [[]], "scaled": [], "eps": {}}, "lists of names of layers"),
        (FoldEdit, {"clusters": ["ab"], "scaled": [], "eps": {}}, "lists of names of layers"),
        (FoldEdit, {"clusters": [["a"]], "scaled": [1], "eps": {}}, "lists of names of layers"),
        (FoldEdit, {"clusters": [["a"]], "scaled": [], "eps": {"n": 0.0}}, "a positive number"),
        (FoldEdit, {"clusters": [["a"]], "scaled": [], "eps": {"n": float("inf")}}, "a positive number"),
    ],
)
def test_fields_that_describe_no_edit_are_refused(kind, fields, message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind.from_dict(fields, {})


def test_missing_and_unknown_fields_are_refused() -> None:
    with pytest.raises(ArtefactError, match=r"missing \['templates'\], unknown \['k'\]"):
        ShareEdit.from_dict({"groups": {"a": ["x"]}, "k": 1}, {})
    with pytest.raises(ArtefactError, match=r"missing \['eps'\]"):
        FoldEdit.from_dict({"clusters": [["a"]], "scaled": []}, {})
    with pytest.raises(InputError, match="at least one group"):
        ShareEdit.of(nn.Linear(2, 2))
