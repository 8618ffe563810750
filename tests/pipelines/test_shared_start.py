"""Arms that start from one shared training: it is run once per seed, charged to each, and no contestant itself."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from paretorch.errors import InputError, NotFiniteError
from paretorch.evidence.sources import load_sources
from paretorch.methods.schedules import Constant, DenseSchedule, Schedule
from paretorch.pipelines import pricing
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.compression import Compressed, Compression, Start
from paretorch.pipelines.dense import DenseResult
from paretorch.pipelines.phases import Phase, train_phase
from paretorch.pipelines.sweep import Sweep
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.trainer import Trainer

TRAININGS: list[str] = []


@dataclass(frozen=True, kw_only=True)
class Longer(Compression):
    """Trains one model from scratch for all arms of a key, and takes a multiple of its weights."""

    factor: float
    epochs: float | None = 0.0
    from_dense: bool = False
    shared_key: str | None = "longer"
    diverges: bool = False

    def method_ids(self) -> list[str]:
        return []

    def plan(self, trainer: Trainer) -> tuple[str, int | None]:
        return f"weights times {self.factor:g}", 0

    def check(self, trainer: Trainer, model: nn.Module, *, dense: DenseSchedule) -> None:
        pass

    def at_rate(self, rate: float) -> "Longer":
        return self

    def plan_shared(self, trainer: Trainer) -> tuple[str, int | None]:
        return "trained from scratch", 4

    def train_shared(self, trainer: Trainer, dense: DenseResult) -> Start:
        TRAININGS.append(f"{self.shared_key} {trainer.seed}")
        if self.diverges:
            raise NotFiniteError("the loss became NaN")
        model = trainer.model()
        phase = Phase(name="shared", num_steps=4, schedule=Constant(num_steps=4, peak=0.1))
        entry, _ = train_phase(trainer, model, phase, details={"kind": "shared"})
        return Start(model=model, schedule=dense.schedule, entries=[entry], found={"answer": 42})

    def run_from(self, trainer: Trainer, start: Start) -> Compressed:
        assert start.found == {"answer": 42}
        model = copy.deepcopy(start.model)
        with torch.no_grad():
            model.weight.mul_(self.factor)
        validation = trainer.evaluate(model)[trainer.task.metric]
        return Compressed(model=model, entries=[{"phase": "scale", "kind": "scale", "validation": validation}])


def model() -> nn.Linear:
    return nn.Linear(4, 3)


def task() -> SupervisedTask:
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    y = (x @ torch.randn(4, 3, generator=torch.Generator().manual_seed(1))).argmax(1)
    return SupervisedTask(model, train=(x[:40], y[:40]), evaluation=(x[40:50], y[40:50]), test=(x[50:], y[50:]))


def sweep(*arms: Arm, seeds: tuple[int, ...] = (0, 1)) -> Sweep:
    def schedule(num_steps: int) -> Schedule:
        return Constant(num_steps=num_steps, peak=0.1)

    return Sweep(
        name="s",
        task=task(),
        settings=TrainSettings(batch_size=20, optimizer=OptimizerSpec(lr=0.1)),
        seeds=seeds,
        dense_epochs=2,
        dense_schedule=schedule,
        arms=arms,
        recipe="x",
        recipe_hash="x",
        command="x",
    )


def arm(name: str, **settings: Any) -> Arm:
    compression = Longer(**({"factor": 1.0} | settings))
    return Arm(id=name, label=name, factors={"method": "longer", "name": name}, compression=compression)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    TRAININGS.clear()
    monkeypatch.setattr(pricing, "BATCH_SIZES", (1,))
    monkeypatch.setattr(pricing, "SECONDS_PER_ROUND", 1e-4)


def test_arms_of_one_key_share_one_training_per_seed_which_has_no_record(tmp_path: Path) -> None:
    arms = [arm("once"), arm("twice", factor=2.0), arm("other", shared_key="else")]
    records = sweep(*arms).run(tmp_path / "out")
    assert TRAININGS == ["longer 0", "else 0", "longer 1", "else 1"]
    runs = tmp_path / "out" / "runs"
    assert (runs / "longer-s0" / "ledger.jsonl").is_file()
    assert not (runs / "longer-s0" / "record.json").exists()
    assert [record.arm for record in records] == ["dense", "once", "twice", "other"] * 2
    assert len(load_sources([tmp_path / "out"])["out"]) == 8


def test_the_shared_training_is_charged_in_full_to_each_arm_and_the_dense_training_to_none(tmp_path: Path) -> None:
    records = sweep(arm("once"), arm("twice", factor=2.0), arm("other", shared_key="else"), seeds=(0,)).run(tmp_path)
    dense, once, twice, other = records
    assert dense.cost["steps"] == 4
    assert [record.cost["steps"] for record in (once, twice, other)] == [4, 4, 4]
    assert [phase["phase"] for phase in once.phases if "steps" in phase] == ["shared"]
    assert [record.phases[0]["shared_by"] for record in (once, twice, other)] == [2, 2, 1]
    note = "Phases trained once for 2 arms, and charged in full to each of them: 'shared'."
    assert note in once.notes
    assert note in twice.notes
    assert not any("trained once" in text for text in other.notes)


def test_a_method_that_starts_from_the_dense_model_is_charged_for_it_too(tmp_path: Path) -> None:
    _, record = sweep(arm("once", from_dense=True), seeds=(0,)).run(tmp_path)
    assert [phase["phase"] for phase in record.phases if "steps" in phase] == ["dense", "shared"]
    assert record.cost["steps"] == 8


def test_resuming_loads_the_shared_training_and_gives_the_same_weights(tmp_path: Path) -> None:
    whole = sweep(arm("once"), arm("twice", factor=2.0), seeds=(0,)).run(tmp_path / "whole")
    sweep(arm("once"), arm("twice", factor=2.0), seeds=(0,)).run(tmp_path / "cut")
    (tmp_path / "cut" / "runs" / "twice-s0" / "record.json").unlink()
    again = sweep(arm("once"), arm("twice", factor=2.0), seeds=(0,)).run(tmp_path / "cut", resume=True)
    assert [record.quality for record in again] == [record.quality for record in whole]
    ledger = (tmp_path / "cut" / "runs" / "longer-s0" / "ledger.jsonl").read_text().splitlines()
    assert len(ledger) == 1


def test_a_shared_training_that_diverges_is_a_failure_of_each_of_its_arms_and_is_tried_once(tmp_path: Path) -> None:
    arms = [arm("once", diverges=True), arm("twice", factor=2.0, diverges=True), arm("other", shared_key="else")]
    records = sweep(*arms, seeds=(0,)).run(tmp_path)
    assert [record.status for record in records] == ["ok", "diverged", "diverged", "ok"]
    assert TRAININGS == ["longer 0", "else 0"]


def test_the_plan_counts_a_shared_training_once(tmp_path: Path) -> None:
    lines = sweep(arm("once"), arm("twice", factor=2.0), seeds=(0,)).plan()
    assert lines[2] == "longer, once for 2 arms: trained from scratch"
    assert lines[-1].startswith("in all: 8 optimizer steps")


def test_an_arm_that_shares_a_training_cannot_be_timed_for_a_comparison() -> None:
    with pytest.raises(InputError, match="Longer cannot be an arm of a comparison"):
        Longer(factor=1.0).rehearsal(Trainer(task(), TrainSettings(batch_size=20), seed=0))
