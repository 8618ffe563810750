"""Published weights as the dense model of a sweep: checked before work, not trained, not charged."""

import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from paretorch.errors import InputError
from paretorch.evidence.records import RunRecord
from paretorch.methods.schedules import MultiStep, Schedule
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.dense import PublishedDense
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.sweep import Sweep
from paretorch.training import published as room
from paretorch.training.published import ENTRIES, Published
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask


class Small(nn.Module):
    def __init__(self, *, hidden: int = 12) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(6, hidden), nn.Linear(hidden, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.hidden(x).relu())


def small_task(*, hidden: int = 12) -> SupervisedTask:
    stream = torch.Generator().manual_seed(5)
    x = torch.randn(300, 6, generator=stream)
    y = (x @ torch.randn(6, 3, generator=stream)).argmax(1)
    model = partial(Small, hidden=hidden)
    return SupervisedTask(model, train=(x[:200], y[:200]), evaluation=(x[200:250], y[200:250]), test=(x[250:], y[250:]))


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """An entry "own" whose check always passes, and its tensors."""
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights" / "own.safetensors"
    save_file(Small().state_dict(), path)

    def build(file: Path) -> nn.Module:
        model = Small()
        model.load_state_dict(load_file(file))
        return model

    entry = Published(
        name="own",
        folder="weights",
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        source="ourselves, public domain",
        build=build,
        metric="nothing",
        check=lambda model, data: 1.0,
        expected=1.0,
        tolerance=0.005,
    )
    monkeypatch.setitem(ENTRIES, "own", "own:ENTRY")
    module = type("module", (), {"ENTRY": entry})
    monkeypatch.setattr(room, "import_module", lambda name: module)
    return load_file(path)


def multistep(num_steps: int) -> Schedule:
    return MultiStep(num_steps=num_steps, peak=0.1, milestones=(0.5, 0.75))


def sweep(data: Path) -> Sweep:
    arm = Arm(
        id="half", label="half", factors={"method": "IMP", "sparsity": 0.5}, compression=IMP(sparsity=0.5, epochs=1)
    )
    return Sweep(
        name="own",
        task=small_task(),
        settings=TrainSettings(batch_size=20, optimizer=OptimizerSpec(lr=0.1)),
        seeds=[0, 1],
        dense_epochs=200,
        dense_schedule=multistep,
        arms=[arm],
        recipe="",
        recipe_hash="",
        command="",
        dense=PublishedDense(name="own", data=data),
    )


@pytest.fixture
def records(weights: dict[str, torch.Tensor], tmp_path: Path) -> list[RunRecord]:
    return sweep(tmp_path).run(tmp_path / "out")


def test_the_dense_model_is_the_published_one_bit_for_bit_with_every_seed(
    records: list[RunRecord], weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    for seed in (0, 1):
        saved = load_file(tmp_path / "out" / "runs" / f"dense-s{seed}" / "model" / "model.safetensors")
        assert all(torch.equal(saved[name], weights[name]) for name in weights)


def test_only_retraining_is_charged(records: list[RunRecord]) -> None:
    dense, half = records[0], records[1]
    assert dense.cost["samples"] == dense.cost["steps"] == 0
    assert (half.cost["steps"], half.cost["samples"]) == (10, 200)
    assert dense.phases[0]["kind"] == "published"
    assert all("their training is not counted" in record.notes[0] for record in records)


def test_retraining_takes_its_rates_from_the_published_training(records: list[RunRecord]) -> None:
    retrained = next(phase for phase in records[1].phases if phase["kind"] == "retrain")
    assert retrained["d2"] == pytest.approx(1 / 200)
    assert retrained["lr_peak"] == pytest.approx(0.1 * retrained["factor"])


def test_records_hold_the_metric_on_training_examples(records: list[RunRecord]) -> None:
    for record in records:
        assert record.train_quality is not None
        assert record.train_quality * 200 == pytest.approx(round(record.train_quality * 200))  # all 200 and no more


def test_a_finished_sweep_is_loaded_again_and_writes_no_second_line(
    records: list[RunRecord], weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    again = sweep(tmp_path).run(tmp_path / "out", resume=True)
    assert [record.quality for record in again] == [record.quality for record in records]
    ledger = (tmp_path / "out" / "runs" / "dense-s0" / "ledger.jsonl").read_text().splitlines()
    assert [json.loads(line)["phase"] for line in ledger] == ["dense"]


def test_weights_of_another_shape_are_refused_before_anything_is_written(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    other = replace(sweep(tmp_path), task=small_task(hidden=13))
    with pytest.raises(InputError, match=r"do not fit the task's model: 3 tensors differ, first 'hidden\.bias'"):
        other.run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_scaling_of_the_images_is_refused(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    entry = replace(room.published("own"), normalisation="imagenet")
    room.import_module("own").ENTRY = entry
    other = sweep(tmp_path)
    other.task.normalisation = "imagenet"  # type: ignore[attr-defined]
    other.check()
    other.task.normalisation = "cifar10"  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="scaled by normalisation 'imagenet', and the task scales them by 'cifar10'"):
        other.check()


def test_unknown_or_missing_weights_are_refused_before_anything_is_written(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no published weights 'resnet21'"):
        replace(sweep(tmp_path), dense=PublishedDense(name="resnet21", data=tmp_path)).run(tmp_path / "out")
    with pytest.raises(InputError, match="needs its data folder"):
        replace(sweep(tmp_path), dense=PublishedDense(name="own", data=None)).run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_plan_says_that_nothing_is_trained(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    plan = "\n".join(sweep(tmp_path).plan())
    assert "dense: published weights 'own', checked and not trained" in plan
    assert "in all: 20 optimizer steps" in plan


def test_a_task_without_a_training_sample_has_no_figure_for_it(
    weights: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sweep(tmp_path)
    other.task.train_sample = 0
    asked: list[int] = []

    def references() -> dict[str, float]:
        asked.append(1)
        return {"guessing": 1 / 3}

    monkeypatch.setattr(other.task, "references", references)
    records = other.run(tmp_path / "out")
    assert len(asked) == 1, "references may cost a training run: once per sweep, not per record"
    assert {record.train_quality for record in records} == {None}
    assert all(record.references == {"guessing": 1 / 3} for record in records)
