"""A saved model comes back the same; what could not be loaded again is not saved; what was touched is not loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from paretorch.artefacts.edits import Edit
from paretorch.artefacts.mask_edit import MaskEdit
from paretorch.artefacts.model import load_artefact, load_model, save_model
from paretorch.errors import ArtefactError, InputError, MaskViolationError, RunError
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.methods.sparsity.masks import Masks
from paretorch.training.models.cnn import SmallCNN
from paretorch.training.models.mlp import mlp
from tests.artefacts.saved_models import CUTS, IMAGES, MLP, Tied, mlp_cut, pruned_mlp, same_state, trained_cnn


def test_a_model_comes_back_bit_for_bit_in_evaluation_mode(tmp_path: Path) -> None:
    model = trained_cnn()
    path = save_model(
        tmp_path / "m",
        model,
        constructor=SmallCNN,
        kwargs={"width": 4},
        metrics={"accuracy": 0.5},
        example_inputs=IMAGES,
    )
    assert path == tmp_path / "m"
    assert model.training, "saving left the model in another mode"
    loaded = load_artefact(path)
    assert not loaded.model.training
    assert same_state(loaded.model, model)
    assert loaded.model(IMAGES).equal(model.eval()(IMAGES))
    assert loaded.manifest.metrics == {"accuracy": 0.5}
    assert loaded.manifest.versions["torch"] == str(torch.__version__)
    assert loaded.masks is None
    assert set(load_file(path / "model.safetensors")) == set(model.state_dict())


def test_a_cut_model_is_rebuilt_and_gives_the_same_bits(tmp_path: Path) -> None:
    model = trained_cnn()
    for edit in CUTS:
        edit.apply(model)
    kwargs = {"width": 4}
    save_model(tmp_path / "m", model, constructor=SmallCNN, kwargs=kwargs, edits=CUTS, example_inputs=IMAGES)
    loaded = load_artefact(tmp_path / "m")
    assert loaded.edits == CUTS
    assert loaded.model(IMAGES).equal(model.eval()(IMAGES))
    assert repr(loaded.model) == repr(model)
    assert loaded.model.hidden.in_features == 4 * 49


def test_masks_come_back_with_the_model_and_after_a_cut(tmp_path: Path) -> None:
    model = trained_cnn()
    CUTS[0].apply(model)
    masks = magnitude_masks(model, sparsity=0.8)
    masks.apply_(model)
    edits = [CUTS[0], MaskEdit(masks)]
    save_model(tmp_path / "m", model, constructor=SmallCNN, kwargs={"width": 4}, edits=edits, example_inputs=IMAGES)
    loaded = load_artefact(tmp_path / "m")
    assert loaded.masks == masks
    assert same_state(loaded.model, model)
    loaded.masks.check(loaded.model)


def test_masks_take_one_bit_a_weight(tmp_path: Path) -> None:
    model = nn.Linear(1000, 100, bias=False)
    masks = Masks({"weight": model.weight > 0})
    masks.apply_(model)
    kwargs = {"in_features": 1000, "out_features": 100, "bias": False}
    sizes = []
    for name, edits in (("plain", []), ("masked", [MaskEdit(masks)])):
        save_model(tmp_path / name, model, constructor=nn.Linear, kwargs=kwargs, edits=edits)
        sizes.append((tmp_path / name / "model.safetensors").stat().st_size)
    assert 12_500 <= sizes[1] - sizes[0] < 12_500 + 1000


def test_ties_constants_and_odd_outputs_survive(tmp_path: Path) -> None:
    model, tokens = Tied(), torch.tensor([[1, 2], [3, 4]])
    save_model(tmp_path / "m", model, constructor=Tied, example_inputs=tokens)
    loaded = load_model(tmp_path / "m", constructor=Tied)
    assert loaded.head.weight is loaded.embedding.weight
    assert same_state(loaded, model)
    assert loaded(tokens)["logits"].equal(model.eval()(tokens)["logits"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_dtypes_come_back_without_a_cast(tmp_path: Path, dtype: torch.dtype) -> None:
    model = mlp(**MLP).to(dtype)
    save_model(tmp_path / "m", model, constructor=mlp, kwargs=MLP, example_inputs=torch.ones(2, 4, dtype=dtype))
    assert same_state(load_model(tmp_path / "m"), model)


def test_a_wrapped_model_is_saved_under_the_names_of_the_bare_one(tmp_path: Path) -> None:
    model = mlp(**MLP)
    save_model(tmp_path / "m", torch.compile(model, backend="eager"), constructor=mlp, kwargs=MLP)
    assert same_state(load_model(tmp_path / "m"), model)


def test_saving_changes_neither_the_model_nor_the_random_numbers_that_follow(tmp_path: Path) -> None:
    model, masks = pruned_mlp()
    model.train()
    before, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    save_model(
        tmp_path / "m",
        model,
        constructor=mlp,
        kwargs=MLP,
        edits=[MaskEdit(masks)],
        example_inputs=torch.ones(1, 4),
    )
    load_model(tmp_path / "m")
    assert torch.get_rng_state().equal(random)
    assert all(model.state_dict()[k].equal(v) for k, v in before.items())
    assert model.training


def test_an_artefact_is_replaced_by_saving_again(tmp_path: Path) -> None:
    models = [mlp(**MLP), mlp(**MLP)]
    for model in models:
        save_model(tmp_path / "m", model, constructor=mlp, kwargs=MLP)
    assert same_state(load_model(tmp_path / "m"), models[1])
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


def test_a_folder_or_file_that_is_no_artefact_is_not_replaced(tmp_path: Path) -> None:
    model = mlp(**MLP)
    (tmp_path / "empty").mkdir()
    save_model(tmp_path / "empty", model, constructor=mlp, kwargs=MLP)
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("x")
    save_model(tmp_path / "notes", model, constructor=mlp, kwargs=MLP)
    (tmp_path / "notes" / "notes.txt").write_text("x")
    for name, match in (("file", "is a file"), ("folder", "thesis.tex"), ("notes", "notes.txt")):
        with pytest.raises(InputError, match=match):
            save_model(tmp_path / name, model, constructor=mlp, kwargs=MLP)
    assert (tmp_path / "folder" / "thesis.tex").read_text() == "x"
    assert (tmp_path / "notes" / "notes.txt").read_text() == "x"


def changed_constant() -> nn.Module:
    model = Tied()
    model.scale.fill_(5)
    return model


def changed_activation() -> nn.Module:
    model = mlp(**MLP)
    model[2] = nn.Tanh()
    return model


def unfaithful(model: nn.Module, **arguments: Any) -> dict[str, Any]:
    return {"model": model, "constructor": mlp, "kwargs": MLP, **arguments}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (lambda: unfaithful(mlp((4, 5, 6, 3))), r"another model.*1\.bias is \(5,\), the model's \(6,\)"),
        (lambda: unfaithful(mlp((4, 6, 3))), r"missing 5\.bias, 5\.weight"),
        (lambda: unfaithful(mlp((4, 6, 6, 3, 3))), r"not in the model: 7\.bias, 7\.weight"),
        (lambda: unfaithful(mlp(**MLP), kwargs={"size": 3}), r"constructor .*mlp:mlp failed.*unexpected keyword"),
        (lambda: unfaithful(mlp(**MLP), kwargs={"sizes": {1}}), r"kwargs\.sizes is a builtins\.set"),
        (lambda: unfaithful(mlp(**MLP), metrics={"x": float("nan")}), r"metrics\.x is nan"),
        (lambda: unfaithful(mlp(**MLP), constructor=dict, kwargs={}), "made a dict, not an nn.Module"),
        (lambda: unfaithful(mlp(**MLP), edits=CUTS), r"edit 0 \(cut\) cannot be replayed: 'conv1\.weight' is no plain"),
        (lambda: unfaithful(Tied(tie=False), constructor=Tied, kwargs={}), "tied on one side only: .*head.weight"),
        (lambda: unfaithful(changed_constant(), constructor=Tied, kwargs={}), r"state dict leaves out.*\['scale'\]"),
        (lambda: unfaithful(changed_activation(), example_inputs=torch.ones(1, 4)), "other outputs.* at output"),
        (lambda: unfaithful(mlp(**MLP), example_inputs=torch.ones(1, 5)), "saved model cannot be called"),
    ],
)
def test_a_model_that_could_not_be_loaded_again_is_refused_when_saving(tmp_path: Path, arguments, match: str) -> None:
    given = arguments()
    with pytest.raises(InputError, match=match):
        save_model(tmp_path / "m", given.pop("model"), **given)
    assert list(tmp_path.iterdir()) == []


def test_a_mask_that_does_not_hold_is_refused_when_saving(tmp_path: Path) -> None:
    model, masks = pruned_mlp()
    with torch.no_grad():
        model[1].weight[~masks["1.weight"]] = 1e-30
    with pytest.raises(MaskViolationError, match=r"edit 0 \(mask\).*'1\.weight'"):
        save_model(tmp_path / "m", model, constructor=mlp, kwargs=MLP, edits=[MaskEdit(masks)])
    assert list(tmp_path.iterdir()) == []


def test_a_mask_edit_before_a_cut_of_its_parameter_is_refused_when_saving(tmp_path: Path) -> None:
    model, masks = pruned_mlp()
    edits = [MaskEdit(masks), mlp_cut(MLP["sizes"], (0, 1), range(6))]
    edits[1].apply(model)
    with pytest.raises(InputError, match=r"edit 0 \(mask\) does not hold for the finished model: .*shape"):
        save_model(tmp_path / "m", model, constructor=mlp, kwargs=MLP, edits=edits)


def test_a_full_disk_leaves_the_earlier_artefact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = mlp(**MLP)
    save_model(tmp_path / "m", model, constructor=mlp, kwargs=MLP)

    def fail(self: Path, *arguments: Any, **more: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)  # the manifest's; the weights are written by then
    with pytest.raises(RunError, match="No space left on device"):
        save_model(tmp_path / "m", mlp(**MLP), constructor=mlp, kwargs=MLP)
    assert same_state(load_model(tmp_path / "m"), model)
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


@dataclass(frozen=True)
class AppendEdit(Edit):
    """Adds a layer; its bias travels as a tensor."""

    bias: Tensor

    kind: ClassVar[str] = "append"

    def to_dict(self) -> dict[str, Any]:
        return {}

    def tensors(self) -> dict[str, Tensor]:
        return {"bias": self.bias}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        return cls(tensors["bias"])

    def apply(self, model: nn.Module) -> None:
        layer = nn.Module()
        layer.register_buffer("bias", self.bias, persistent=False)
        model.register_module("extra", layer)


def test_an_edit_of_the_callers_own_is_replayed_when_its_class_is_handed_over(tmp_path: Path) -> None:
    model = nn.Module()
    model.register_module("body", nn.Linear(2, 2))
    edit = AppendEdit(torch.tensor([1.0, 2.0]))
    edit.apply(model)

    def build() -> nn.Module:
        plain = nn.Module()
        plain.register_module("body", nn.Linear(2, 2))
        return plain

    build.__qualname__ = "build"
    save_model(tmp_path / "m", model, constructor=build, edits=[edit])
    with pytest.raises(ArtefactError, match=r"unknown kind of edit 'append'.*edit_types"):
        load_artefact(tmp_path / "m", constructor=build)
    loaded = load_artefact(tmp_path / "m", constructor=build, edit_types=[AppendEdit]).model
    assert loaded.extra.bias.tolist() == [1.0, 2.0]
