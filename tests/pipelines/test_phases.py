"""A finished phase is loaded again with what its methods did to the shapes, and never taken from another phase."""

from pathlib import Path

import pytest
import torch

from paretorch.errors import ArtefactError, RunError
from paretorch.methods.schedules import Constant
from paretorch.pipelines.phases import Phase, train_phase
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer
from tests.training.hook_methods import SGD, HalfCut, settings, small_task

STEPS = 8


def train(folder: Path, name: str = "cut") -> tuple[torch.nn.Module, dict, dict | None]:
    with RunDirectory(folder, recipe="x", resume=True) as directory:
        trainer = Trainer(small_task(), settings(SGD), seed=1, directory=directory)
        model = trainer.model()
        phase = Phase(name=name, num_steps=STEPS, schedule=Constant(num_steps=STEPS, peak=0.05), methods=[HalfCut()])
        entry, state = train_phase(trainer, model, phase, details={"kind": "cut"})
    return model, entry, state


def test_a_finished_phase_that_cut_the_model_is_loaded_with_its_shapes_and_optimizer_state(tmp_path: Path) -> None:
    model, entry, state = train(tmp_path / "run")
    again, entry_again, state_again = train(tmp_path / "run")
    assert entry_again == entry
    fresh = Trainer(small_task(), settings(SGD), seed=1).model()
    assert model.blocks[0][0].out_features == fresh.blocks[0][0].out_features // 2
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert state is not None
    assert state_again is not None
    for key, slots in state["state"].items():
        assert torch.equal(slots["momentum_buffer"], state_again["state"][key]["momentum_buffer"])


def test_a_phase_that_was_trained_but_not_yet_in_the_ledger_is_not_trained_again(tmp_path: Path) -> None:
    model, entry, _ = train(tmp_path / "run")
    (tmp_path / "run" / "ledger.jsonl").unlink()
    again, entry_again, _ = train(tmp_path / "run")
    assert entry_again == entry  # its seconds and curve too: nothing was measured anew
    assert torch.equal(again.blocks[0][0].weight, model.blocks[0][0].weight)


def test_the_checkpoint_of_another_phase_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    (checkpoints / "other.safetensors").write_bytes((checkpoints / "cut.safetensors").read_bytes())
    with pytest.raises(ArtefactError, match=r"other\.safetensors holds phase 'cut'"):
        train(tmp_path / "run", "other")


def test_a_finished_phase_without_its_checkpoint_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "cut.safetensors").unlink()
    with pytest.raises(RunError, match="checkpoint is gone"):
        train(tmp_path / "run")
