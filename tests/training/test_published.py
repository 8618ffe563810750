"""Published weights: nothing is handed out that misses its published figure; the real ones reach theirs."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from paretorch.errors import InputError
from paretorch.training import published as room
from paretorch.training.published import ENTRIES, Published, load_published, locate_published, published


def build(path: Path) -> nn.Module:
    model = nn.Linear(2, 2)
    from safetensors.torch import load_file

    model.load_state_dict(load_file(path))
    return model


def total(model: nn.Module, data: Path) -> float:
    assert (data / "weights").is_dir()
    return float(sum(parameter.detach().sum() for parameter in model.parameters()))


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """A file of weights whose "published figure" is their sum, 10."""
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights" / "own.safetensors"
    save_file({"weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "bias": torch.zeros(2)}, path)
    made = Published(
        name="own",
        folder="weights",
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        source="ourselves, public domain",
        build=build,
        metric="sum",
        check=total,
        expected=10.0,
        tolerance=0.01,
    )
    monkeypatch.setitem(ENTRIES, "own", "own:ENTRY")
    monkeypatch.setattr(room, "import_module", lambda name: type("module", (), {"ENTRY": made}))
    return made


def test_weights_that_reach_their_figure_are_loaded_in_evaluation_mode(entry: Published, tmp_path: Path) -> None:
    model = load_published("own", data=tmp_path)
    assert model.weight.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert not model.training


@pytest.mark.parametrize("value", [9.98, 10.02, float("nan")])
def test_weights_that_miss_their_figure_are_refused(
    entry: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    wrong = replace(entry, check=lambda model, data: value)
    monkeypatch.setattr(room, "import_module", lambda name: type("module", (), {"ENTRY": wrong}))
    with pytest.raises(InputError, match=r"'own' reach sum .* and should reach 10\.0000"):
        load_published("own", data=tmp_path)


def test_an_altered_file_is_refused_before_it_is_opened(entry: Published, tmp_path: Path) -> None:
    path = tmp_path / "weights" / "own.safetensors"
    save_file({"weight": torch.ones(2, 2), "bias": torch.zeros(2)}, path)
    with pytest.raises(InputError, match=rf"expected {entry.sha256}: it is not the published file"):
        locate_published("own", data=tmp_path)


def test_missing_files_folders_and_names_are_refused_with_the_remedy(entry: Published, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"get own\.safetensors \(ourselves, public domain\)"):
        load_published("own", data=None)
    (tmp_path / "weights" / "own.safetensors").unlink()
    with pytest.raises(InputError, match=r"there is no file .*own\.safetensors"):
        load_published("own", data=tmp_path)
    with pytest.raises(InputError, match="did you mean 'resnet20'"):
        published("resnet2")


def test_every_entry_is_complete() -> None:
    for name in ENTRIES:
        entry = published(name)
        assert entry.name == name
        assert len(entry.sha256) == 64
        assert 0 < entry.tolerance < 0.01 * entry.expected, "a figure that everything reaches is no check"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet20", "resnet56"])
def test_the_published_resnets_reach_their_published_accuracy(name: str, data_folder: Callable[[str], Path]) -> None:
    data_folder("cifar10")
    load_published(name, data=data_folder("weights_cifar_resnet").parent)  # raises where they do not


@pytest.mark.slow
def test_the_check_notices_another_scaling_of_the_images(data_folder: Callable[[str], Path]) -> None:
    from paretorch.training.published.cifar_resnets import RESNET20, accuracy

    data_folder("cifar10")
    path = data_folder("weights_cifar_resnet") / RESNET20.file
    found = accuracy(RESNET20.build(path).eval(), path.parents[1], normalisation="cifar10")
    assert abs(found - RESNET20.expected) > RESNET20.tolerance
