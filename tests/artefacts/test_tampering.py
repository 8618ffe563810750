"""An artefact that was touched, or that does not make a model, is refused; so is code from elsewhere."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from paretorch.artefacts import manifest as manifest_module
from paretorch.artefacts.edits import Edit
from paretorch.artefacts.manifest import file_sha256, write_manifest
from paretorch.artefacts.mask_edit import MaskEdit
from paretorch.artefacts.model import CORE_KEY, EDITS_KEY, load_artefact, load_model, save_model
from paretorch.artefacts.tree import load_tree, save_tree
from paretorch.errors import ArtefactError
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.training.models.mlp import mlp
from tests.artefacts.saved_models import MLP, Tied, mlp_cut, same_state


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    """A cut and masked network on disk."""
    model = mlp(**MLP)
    edits: list[Edit] = [mlp_cut(MLP["sizes"], (0, 1, 5), range(6)), mlp_cut((4, 3, 6, 3), range(3), (2, 4))]
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


def with_slice(cut: dict[str, Any], tensor: str, dim: int, **kept: Any) -> dict[str, Any]:
    """A cut's description with other entries of one tensor."""
    return {**cut, "slices": {**cut["slices"], tensor: {**cut["slices"].get(tensor, {}), str(dim): kept}}}


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
            {"edits": (with_slice(cut, "1.weight", 0, size=6, runs=[[0, 2], [5, 7]]), other, mask)},
            r"edit 0 \(cut\) cannot be replayed: kept entries are runs",
        ),
        (
            {"edits": (with_slice(cut, "1.weight", 0, size=7, runs=[[0, 2], [5, 7]]), other, mask)},
            r"edit 0 \(cut\) cannot be replayed: 1\.weight has shape \(6, 4\); the cut is for 7 entries",
        ),
        (
            {"edits": (with_slice(cut, "1.weight", 0, size=6, runs=[[0, 2]]), other, mask)},
            r"edit 2 \(mask\) cannot be replayed.*shape",
        ),
        (
            {"edits": (with_slice(cut, "9.weight", 0, size=6, runs=[[0, 2]]), other, mask)},
            r"edit 0 \(cut\) cannot be replayed: '9\.weight' is no plain parameter",
        ),
        ({"edits": ({**cut, "sizes": {"1": {"out_features": [8, 3]}}}, other, mask)}, "out_features of '1' is 6"),
        ({"edits": (cut, cut, mask)}, r"edit 1 \(cut\) cannot be replayed: .*has been made already"),
        (
            {"edits": ({"kind": "cut", "producer": "1", "consumer": "3", "keep": [0], "norms": []}, other, mask)},
            "a form that was never released; a cut is described by slices, sizes and rms",
        ),
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
