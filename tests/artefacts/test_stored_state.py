"""A state dict read tensor by tensor out of a tree file is the one that was written, ties and all."""

from pathlib import Path

import pytest
import torch
from torch import nn

from paretorch.artefacts.stored_state import stored_state
from paretorch.artefacts.tree import save_tree
from paretorch.errors import ArtefactError
from paretorch.methods.averaging.candidates import Candidate
from paretorch.methods.averaging.streaming import average_state_dicts


class Tied(nn.Module):
    """An embedding whose weight is the last layer's too, with a counter of its own."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5)
        self.head.weight = self.embed.weight
        self.norm = nn.BatchNorm1d(3)
        nn.init.constant_(self.embed.weight, value)


def checkpoint(path: Path, model: nn.Module) -> Path:
    momentum = [torch.full_like(p, 7.0) for p in model.parameters()]
    save_tree(path, {"state": {"optimizers": {"main": momentum}, "model": model.state_dict()}, "progress": {"step": 3}})
    return path


def test_the_state_dict_inside_a_checkpoint_comes_back_under_its_own_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Tied(2.0)
    stored = stored_state(checkpoint(tmp_path / "c.safetensors", model), "state", "model")
    assert set(stored) == set(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(stored[name], tensor)
        assert stored[name].dtype == tensor.dtype


def test_an_average_of_checkpoints_keeps_tied_weights_tied(tmp_path: Path) -> None:
    files = [checkpoint(tmp_path / f"{value}.safetensors", Tied(value)) for value in (1.0, 2.0)]
    candidates = [Candidate(file.name, lambda file=file: stored_state(file, "state", "model")) for file in files]
    average = average_state_dicts(candidates)
    assert average["head.weight"] is average["embed.weight"]
    assert torch.equal(average["head.weight"], torch.full((5, 3), 1.5))
    Tied(0.0).load_state_dict(average)  # strict: every name is there


def test_a_place_that_holds_no_state_dict_is_refused(tmp_path: Path) -> None:
    file = checkpoint(tmp_path / "c.safetensors", Tied(1.0))
    with pytest.raises(ArtefactError, match=r"holds nothing at 'state\.modle'"):
        stored_state(file, "state", "modle")
    with pytest.raises(ArtefactError, match=r"'step' at progress is no tensor"):
        stored_state(file, "progress")
    with pytest.raises(ArtefactError, match="no state dict at"):
        stored_state(file, "state", "optimizers", "main")


def test_a_tensor_that_is_stored_as_bytes_is_refused_and_not_averaged_as_integers(tmp_path: Path) -> None:
    save_tree(tmp_path / "t.safetensors", {"w": torch.ones(2, dtype=torch.complex64)})
    with pytest.raises(ArtefactError, match=r"'w' at the root is no tensor that can be read in pieces"):
        stored_state(tmp_path / "t.safetensors")


def test_a_file_with_one_changed_byte_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    file = checkpoint(tmp_path / "c.safetensors", Tied(1.0))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArtefactError, match="changed or damaged"):
        stored_state(file, "state", "model")
