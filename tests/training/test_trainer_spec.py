"""A trainer as JSON, and settings as plain values: what comes back is equal; what could not come back is refused."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from paretorch.errors import InputError
from paretorch.methods.distillation.settings import DistillationSettings
from paretorch.methods.schedules import DenseSchedule, Linear
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.pruning_step import Selection
from paretorch.pipelines.retraining import Retraining
from paretorch.training.plain import from_plain, to_plain
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.tasks.registry import make_task
from paretorch.training.trainer import Trainer
from paretorch.training.trainer_spec import TrainerSpec
from tests.pipelines.sms_problem import SOURCE, task

SETTINGS = TrainSettings(
    batch_size=24,
    optimizer=OptimizerSpec(name="adamw", lr=0.01, weight_decay=0.02),
    clip_norm=1.5,
    accumulate=2,
    precision="bf16",
    device="cpu",
    checkpoint_seconds=0.0,
    evaluate_epochs=3,
)


def through_json(value: Any) -> Any:
    return from_plain(json.loads(json.dumps(to_plain(value, where="value"))))


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        0.1,
        "text",
        [1, (2, "3"), {"a": None}],
        {"class": "no class", "fields": {}},
        Path("some/where"),
        SETTINGS,
        DenseSchedule.of(Linear(num_steps=7, peak=0.3)),
        IMP(
            sparsity=None,
            epochs=2,
            cycles=2,
            selection=Selection(allocation={"a*": 0.5}, exclude=["b"]),
            retraining=Retraining(distillation=DistillationSettings(features=("norm",)), average_from=0.5),
        ),
    ],
)
def test_a_value_comes_back_equal(value: Any) -> None:
    found = through_json(value)
    assert found == value
    assert type(found) is type(value)


def test_numbers_come_back_with_all_their_bits() -> None:
    values = [0.1 + 0.2, 1e-310, -0.0, 2.0**70]
    assert [value.hex() for value in through_json(values)] == [value.hex() for value in values]


@dataclass(frozen=True)
class Holder:
    content: Any


@pytest.mark.parametrize("content", [torch.zeros(2), print, {1: 2}, {"a"}, object])
def test_what_has_no_words_in_json_is_refused_by_its_place(content: Any) -> None:
    with pytest.raises(InputError, match=r"here\.content\[1\]"):
        to_plain(Holder([0, content]), where="here")


def test_a_trainer_comes_back_with_its_task_settings_and_seed() -> None:
    options = {"kind": "infinite", "step": 2, "seeds": [1, 2]}
    trainer = Trainer(make_task(SOURCE, options=options), SETTINGS, seed=11, workers=2, metered=True)
    spec = from_plain(json.loads(json.dumps(TrainerSpec.of(trainer).to_json())))
    assert spec == TrainerSpec.of(trainer)
    built = spec.build()
    assert (built.settings, built.seed, built.directory) == (SETTINGS, 11, None)
    assert (built.workers, built.metered) == (1, False)
    assert built.task.source == trainer.task.source
    assert built.task.methods()[0].settings == trainer.task.methods()[0].settings
    mine, theirs = trainer.model().state_dict(), built.model().state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    every = torch.arange(len(trainer.train_set))
    assert torch.equal(trainer.train_set.batch(every)["inputs"], built.train_set.batch(every)["inputs"])


def test_a_task_is_built_once_per_process() -> None:
    specs = [TrainerSpec.of(Trainer(make_task(SOURCE), SETTINGS, seed=seed)) for seed in (0, 1)]
    assert specs[0].build().task is specs[1].build().task


def test_a_trainer_that_another_process_could_not_build_is_refused() -> None:
    with pytest.raises(InputError, match=r"'supervised' was built by hand.*file\.py:factory.*workers=1"):
        TrainerSpec.of(Trainer(task(), SETTINGS))
    own = TrainSettings(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1), device="cpu", batch_size=20)
    with pytest.raises(InputError, match="OptimizerSpec"):
        TrainerSpec.of(Trainer(make_task(SOURCE), own))
    given = Trainer(make_task(SOURCE), SETTINGS)
    given.accelerator.state.num_processes = 2
    try:
        with pytest.raises(InputError, match="spread over 2 processes"):
            TrainerSpec.of(given)
    finally:
        given.accelerator.state.num_processes = 1


def test_a_trainer_is_called_by_its_label_or_its_seed() -> None:
    made = make_task(SOURCE)
    assert Trainer(made, SETTINGS, seed=4).label == "seed 4"
    assert Trainer(made, SETTINGS, seed=4, label="copy 1 of cycle 0").in_directory(None).label == "copy 1 of cycle 0"
