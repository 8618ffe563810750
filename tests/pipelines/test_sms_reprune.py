"""IMP-RePrune: independent runs with masks of their own, averaged, and pruned back to the target."""

from pathlib import Path
from typing import Any

import pytest
import torch

from paretorch.artefacts.tree import load_tree
from paretorch.errors import InputError, NotFiniteError
from paretorch.methods.distillation.settings import DistillationSettings
from paretorch.pipelines.compression import Compressed
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.retraining import Retraining
from paretorch.pipelines.sms import SMS, RePrune
from paretorch.pipelines.sms.imp_unit import ImpUnit
from paretorch.training.run import RunDirectory
from paretorch.training.seeding import stream_seed
from paretorch.training.trainer import Trainer
from tests.pipelines.sms_problem import NUM_WEIGHTS, SEED, SETTINGS, Small, counted, same, start, task, trainer

PRUNED = ("hidden.weight", "output.weight")
LONG: dict[str, Any] = {"sparsity": 0.8, "epochs": 12, "cycles": 2}  # long enough for masks to differ


def in_folder(folder: Path, compression: RePrune, **given: Any) -> Compressed:
    with RunDirectory(folder, recipe="x", resume=True) as directory:
        return compression.run_from(trainer(directory, **given), start())


def runs(folder: Path, number: int) -> list[dict[str, torch.Tensor]]:
    places = [folder / "copies" / f"run-{position}" / "checkpoints" for position in range(number)]
    return [load_tree(place / "candidate.safetensors") for place in places]


@pytest.mark.parametrize("cycles", [1, 2])
def test_one_run_is_iterative_pruning_bit_for_bit(cycles: int) -> None:
    settings: dict[str, Any] = {"sparsity": 0.8, "epochs": 3, "cycles": cycles}
    imp = IMP(**settings).run(trainer(), start().model, dense=start().schedule)
    one = RePrune(**settings, copies=1).run_from(trainer(), start())
    assert same(one.model, imp.model)
    assert one.edits[-1].masks == imp.masks
    trained = [line for line in imp.entries if line["kind"] == "retrain"]
    for key in ("steps", "epochs", "samples"):
        assert one.entries[0][key] == sum(line[key] for line in trained)
    assert one.entries[-1]["validation"] == imp.entries[-1]["validation"]


def test_each_run_is_iterative_pruning_with_its_own_seed_and_masks(tmp_path: Path) -> None:
    result = in_folder(tmp_path / "run", RePrune(**LONG, copies=3))
    for position, found in enumerate(runs(tmp_path / "run", 3)):
        seed = SEED if position == 0 else stream_seed(SEED, "copy", position)
        assert result.entries[position]["seed"] == seed
        given = Trainer(task(), SETTINGS, seed=seed)
        expected = IMP(**LONG).run(given, start().model, dense=start().schedule).model.state_dict()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert len({line["mask_hash"] for line in result.entries[:3]}) > 1


def test_the_average_is_pruned_back_by_magnitude_to_the_exact_target(tmp_path: Path) -> None:
    result = in_folder(tmp_path / "run", RePrune(**LONG, copies=3))
    found = runs(tmp_path / "run", 3)
    mean = {name: torch.stack([state[name].double() for state in found]).mean(0).float() for name in PRUNED}
    flat = torch.cat([mean[name].flatten() for name in PRUNED])
    count = round(0.8 * NUM_WEIGHTS)
    assert int((flat == 0).sum()) < count  # the union of the masks keeps more
    threshold = flat.abs().sort().values[count - 1]
    for name in PRUNED:
        expected = torch.where(mean[name].abs() > threshold, mean[name], 0.0)
        torch.testing.assert_close(result.model.get_parameter(name).detach(), expected, rtol=0, atol=1e-7)
    assert result.edits[-1].masks.num_pruned == result.entries[-1]["pruned"] == count


def test_all_runs_are_charged_and_are_beside_one_another() -> None:
    result = RePrune(sparsity=0.8, epochs=2, cycles=2, copies=3).run_from(trainer(), start())
    *lines, last = result.entries
    assert [line["phase"] for line in lines] == ["run-0", "run-1", "run-2"]
    assert {line["beside"] for line in lines} == {"runs"}
    assert sum(line["epochs"] for line in lines) == 6 == RePrune(sparsity=0.8, epochs=2, copies=3).granted_epochs
    assert last["phase"] == "reprune"
    assert "steps" not in last
    assert last["validation"] == trainer().evaluate(result.model)["accuracy"]


def test_finished_runs_are_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reprune = RePrune(sparsity=0.8, epochs=2, cycles=2, copies=2)
    first = in_folder(tmp_path / "run", reprune)
    monkeypatch.setattr(ImpUnit, "run", lambda self, given: pytest.fail("was trained again"))
    again = in_folder(tmp_path / "run", reprune)
    assert same(first.model, again.model)
    assert counted(first.entries) == counted(again.entries)
    kept = {path.stem for path in tmp_path.rglob("*.safetensors")}
    assert kept == {"candidate", "masks"}


def test_a_budget_in_minutes_is_timed_once_for_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[int] = []
    monkeypatch.setattr(Trainer, "rehearse", lambda self, model, **settings: timed.append(1) or 0.01)
    result = in_folder(tmp_path / "run", RePrune(sparsity=0.8, minutes=0.002, copies=2))
    assert [line["steps"] for line in result.entries[:2]] == [12, 12]  # 0.12 s of 0.01 s each
    assert len(timed) == 1


def test_a_run_that_diverges_is_named() -> None:
    trouble = {"kind": "infinite", "step": 4, "num_steps": [12], "seeds": [stream_seed(SEED, "retrain-1")]}
    with pytest.raises(NotFiniteError, match=r"run 0: penalty of 'trouble' = .*phase 'retrain-1'"):
        RePrune(sparsity=0.8, epochs=2, cycles=2, copies=2).run_from(trainer(**trouble), start())


@pytest.mark.parametrize("kind", [SMS, RePrune])
def test_a_teacher_that_other_processes_could_not_have_is_refused(kind: Any) -> None:
    own = Retraining(distillation=DistillationSettings(teacher=Small()))
    with pytest.raises(InputError, match=r"the teacher is a Small of yours.*the dense model teaches"):
        kind(sparsity=0.8, epochs=2, retraining=own)


@pytest.mark.parametrize(
    ("settings", "message"), [({"copies": 0}, "at least one copy"), ({"sparsity": 1.5}, "got 1.5")]
)
def test_what_cannot_be_run_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RePrune(**{"sparsity": 0.8, "epochs": 1, **settings})
