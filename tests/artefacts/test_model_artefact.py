"""A saved model comes back the same; what could not be loaded again is not saved; what was touched is not loaded."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from paretorch.artefacts import manifest as manifest_module
from paretorch.artefacts.cut_edit import CutEdit, cut_pair
from paretorch.artefacts.edits import Edit
from paretorch.artefacts.manifest import file_sha256, write_manifest
from paretorch.artefacts.mask_edit import MaskEdit
from paretorch.artefacts.model import CORE_KEY, EDITS_KEY, load_artefact, load_model, save_model
from paretorch.artefacts.tree import load_tree, save_tree
from paretorch.errors import ArtefactError, InputError, MaskViolationError, RunError
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.methods.sparsity.masks import Masks
from paretorch.training.models.cnn import SmallCNN
from paretorch.training.models.mlp import mlp

IMAGES = torch.linspace(-1, 1, 2 * 28 * 28).reshape(2, 1, 28, 28)
CUTS = (
    CutEdit(producer="conv1", consumer="conv2", keep=(0, 2, 3), norms=("norm1",)),
    CutEdit(producer="conv2", consumer="hidden", keep=(1, 4, 5, 7), norms=("norm2",)),
)
MLP = {"sizes": (4, 6, 6, 3)}


class Tied(nn.Module):
    """Tied weights, an empty tensor, a constant buffer, dropout and a dictionary of outputs."""

    def __init__(self, *, scale: float = 2.0, tie: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        if tie:
            self.head.weight = self.embedding.weight
        self.drop = nn.Dropout(0.5)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        self.register_buffer("nothing", torch.empty(0, 3))

    def forward(self, tokens: Tensor) -> dict[str, Any]:
        hidden = self.drop(self.embedding(tokens)) * self.scale
        return {"logits": self.head(hidden), "hidden": (hidden, None)}


def trained_cnn() -> nn.Module:
    model = SmallCNN(width=4)
    model(IMAGES * 3).square().sum().backward()  # moves the running statistics
    return model


def same_state(a: nn.Module, b: nn.Module) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return list(one) == list(two) and all(one[k].dtype == two[k].dtype and one[k].equal(two[k]) for k in one)


def pruned_mlp() -> tuple[nn.Module, Masks]:
    model = mlp(**MLP)
    masks = magnitude_masks(model, sparsity=0.7)
    masks.apply_(model)
    return model, masks


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
        cut_pair(model, edit)
    kwargs = {"width": 4}
    save_model(tmp_path / "m", model, constructor=SmallCNN, kwargs=kwargs, edits=CUTS, example_inputs=IMAGES)
    loaded = load_artefact(tmp_path / "m")
    assert loaded.edits == CUTS
    assert loaded.model(IMAGES).equal(model.eval()(IMAGES))
    assert repr(loaded.model) == repr(model)
    assert loaded.model.hidden.in_features == 4 * 49


def test_masks_come_back_with_the_model_and_after_a_cut(tmp_path: Path) -> None:
    model = trained_cnn()
    cut_pair(model, CUTS[0])
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
        (lambda: unfaithful(mlp(**MLP), edits=CUTS), r"edit 0 \(cut\) cannot be replayed: the producer 'conv1'"),
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
    edits = [MaskEdit(masks), CutEdit(producer="1", consumer="3", keep=(0, 1))]
    cut_pair(model, edits[1])
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


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    """A cut and masked network on disk."""
    model = mlp(**MLP)
    edits: list[Edit] = [
        CutEdit(producer="1", consumer="3", keep=(0, 1, 5)),
        CutEdit(producer="3", consumer="5", keep=(2, 4)),
    ]
    for edit in edits:
        edit.apply(model)
    masks = magnitude_masks(model, sparsity=0.5)
    masks.apply_(model)
    return save_model(tmp_path / "m", model, constructor=mlp, kwargs=MLP, edits=[*edits, MaskEdit(masks)])


def resealed(path: Path, *, tree: Any = None, drop: str | None = None, add: Any = None, **fields: Any) -> None:
    """Rewrite both files with all digests right, as only a program could."""
    manifest = load_artefact(path).manifest
    manifest = type(manifest)(**{**vars(manifest), **fields})
    content = load_tree(path / "model.safetensors") if tree is None else tree
    if tree is None:
        content = {**content, **(add or {}), CORE_KEY: manifest.core_sha256()}
        content.pop(drop, None)
    save_tree(path / "model.safetensors", content)
    write_manifest(path, manifest, weights_sha256=file_sha256(path / "model.safetensors"))


def test_the_weights_of_another_artefact_are_refused(artefact: Path, tmp_path: Path) -> None:
    other = save_model(tmp_path / "other", mlp(**MLP), constructor=mlp, kwargs=MLP)
    shutil.copy(other / "model.safetensors", artefact / "model.safetensors")
    with pytest.raises(ArtefactError, match=r"model\.safetensors is not the file that manifest\.json was written with"):
        load_model(artefact)


def test_the_manifest_of_another_artefact_is_refused(artefact: Path, tmp_path: Path) -> None:
    other = save_model(tmp_path / "other", mlp(**MLP), constructor=mlp, kwargs=MLP)
    shutil.copy(other / "manifest.json", artefact / "manifest.json")
    with pytest.raises(ArtefactError, match=r"model\.safetensors is not the file"):
        load_model(artefact)


def test_any_changed_byte_of_the_weights_is_refused(artefact: Path) -> None:
    file = artefact / "model.safetensors"
    whole = file.read_bytes()
    for position in range(0, len(whole), 97):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(ArtefactError, match=r"model\.safetensors"):
            load_model(artefact)
    file.write_bytes(whole[:-1])
    with pytest.raises(ArtefactError, match=r"model\.safetensors"):
        load_model(artefact)


@pytest.mark.parametrize(
    "change",
    [
        {"kwargs": {"sizes": [4, 6, 6, 3], "x": 1}},
        {"constructor": "paretorch.training.models.mlp:lenet_300_100"},
        {"metrics": {"accuracy": 1.0}},
        {"versions": {}},
        {"edits": "reversed"},
    ],
)
def test_a_manifest_rewritten_with_a_fresh_digest_is_refused_by_the_weights(artefact: Path, change: Any) -> None:
    manifest = load_artefact(artefact).manifest
    if change == {"edits": "reversed"}:
        change = {"edits": manifest.edits[::-1]}
    rewritten = type(manifest)(**{**vars(manifest), **change})
    write_manifest(artefact, rewritten, weights_sha256=file_sha256(artefact / "model.safetensors"))
    with pytest.raises(ArtefactError, match=r"manifest\.json is not the one.*The manifest was rewritten"):
        load_model(artefact)


def test_missing_files_are_named(artefact: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"nowhere is not a folder; expected one with manifest\.json"):
        load_model(tmp_path / "nowhere")
    (artefact / "model.safetensors").rename(tmp_path / "w")
    with pytest.raises(ArtefactError, match=r"model\.safetensors does not exist"):
        load_model(artefact)
    (tmp_path / "w").rename(artefact / "model.safetensors")
    (artefact / "manifest.json").unlink()
    with pytest.raises(ArtefactError, match=r"manifest\.json cannot be read"):
        load_model(artefact)


def test_an_artefact_whose_replacement_was_killed_is_pointed_to(artefact: Path) -> None:
    aside = artefact.rename(artefact.with_name(".m.0123abcd.retired"))
    with pytest.raises(ArtefactError, match=rf"the earlier one is .*{aside.name}"):
        load_model(artefact)


def test_well_sealed_files_that_do_not_make_a_model_are_refused(artefact: Path) -> None:
    manifest = load_artefact(artefact).manifest
    keep = {file.name: file.read_bytes() for file in artefact.iterdir()}
    extra = {"6.weight": torch.ones(1)}
    cut, other, mask = manifest.edits
    unheld = {"1.weight": torch.ones(3, 4)}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"add": extra}, "not in the model: 6.weight"),
        ({"drop": "5.bias"}, "missing 5.bias"),
        ({"add": {"5.bias": torch.ones(2)}}, r"5\.bias is \(2,\), the model's \(3,\)"),
        ({"add": unheld}, r"edit 2 \(mask\) does not hold.*'1\.weight'"),
        ({"add": {EDITS_KEY: {}}}, r"tensors are stored for the edits \[\]"),
        ({"edits": ({**cut, "kind": "melt"}, other, mask)}, "unknown kind of edit 'melt'; known are cut, "),
        (
            {"edits": ({**cut, "keep": [0, 1, 9]}, other, mask)},
            r"edit 0 \(cut\) cannot be replayed: keep has channel 9",
        ),
        ({"edits": ({**cut, "keep": [0, 1]}, other, mask)}, r"edit 2 \(mask\) cannot be replayed.*shape"),
        ({"edits": (cut, other)}, r"tensors are stored for the edits \['0', '1', '2'\], and there are 2"),
        ({"edits": (cut, other, {**mask, "hash": "0"})}, "one of them was changed"),
        ({"kwargs": {"sizes": [4, 6, 6, 2]}}, r"edit 2 \(mask\) cannot be replayed.*'5\.weight'"),
        ({"kwargs": {"size": 1}}, "failed with kwargs"),
        ({"tree": {"epoch": 3}}, "a state that is no model"),
        ({"tree": {CORE_KEY: "", EDITS_KEY: {"0": 1}}}, "a state that is no model"),
        ({"add": {"5.bias": 3}}, "a state that is no model"),
    ]
    for change, match in cases:
        for name, content in keep.items():
            (artefact / name).write_bytes(content)
        resealed(artefact, **change)
        with pytest.raises(ArtefactError, match=match):
            load_model(artefact)


def test_a_newer_manifest_is_refused_as_newer(artefact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_module, "MANIFEST_VERSION", 2)
    save_model(artefact, mlp(**MLP), constructor=mlp, kwargs=MLP)
    monkeypatch.undo()
    with pytest.raises(ArtefactError, match="format version 2; this version of paretorch reads up to 1"):
        load_model(artefact)


def test_a_constructor_from_elsewhere_must_be_given_or_allowed(tmp_path: Path) -> None:
    model = Tied()
    name = f"{Tied.__module__}:Tied"
    save_model(tmp_path / "m", model, constructor=name)
    assert json.loads((tmp_path / "m" / "manifest.json").read_text())["constructor"] == name
    with pytest.raises(ArtefactError, match=rf"built by {name}, which is not part of paretorch"):
        load_model(tmp_path / "m")
    for arguments in ({"constructor": Tied}, {"constructor": name}, {"allow_import": True}):
        assert same_state(load_model(tmp_path / "m", **arguments), model)
    with pytest.raises(ArtefactError, match="another model"):
        load_model(tmp_path / "m", constructor=lambda: nn.Linear(2, 2))


def test_the_device_of_the_model_is_the_one_asked_for(artefact: Path) -> None:
    assert next(load_model(artefact, device="meta").parameters()).device.type == "meta"


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


def test_an_artefact_loads_without_the_packages_of_the_command_line_and_without_pickle(artefact: Path) -> None:
    code = """
import sys, pickle
for name in ("pydantic", "plotly", "typer", "jinja2"):
    sys.modules[name] = None
import torch
def refuse(*arguments, **more):
    raise SystemExit("something was unpickled")
torch.load = pickle.load = pickle.loads = pickle.Unpickler = refuse
from paretorch.artefacts.model import load_artefact
assert load_artefact(sys.argv[1]).masks.num_pruned > 0
"""
    subprocess.run([sys.executable, "-c", code, str(artefact)], check=True, timeout=120)
