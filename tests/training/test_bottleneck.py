"""The stage that binds is named, with a bound that is the truth on a clock set by hand, and migrates when relieved."""

import copy
import time
from typing import Any

import pytest
import torch

from paretorch.errors import InputError
from paretorch.methods.method import Method
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.training import ablated as ablated_module
from paretorch.training import stopwatch
from paretorch.training.ablated import ablated
from paretorch.training.bottleneck import bottleneck
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer
from tests.training.problems import Recorder, normed_task, plain
from tests.training.slow_stages import slow_trainer
from tests.training.tiny_gan import ADAM, TinyGAN


class Clock:
    """Stands still except where a stage waits."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (stopwatch, ablated_module):
        monkeypatch.setattr(module, "time", made)
    return made


def test_slow_reading_binds_and_its_bound_is_exact(clock: Clock) -> None:
    """Of 16 ms, 8 go to the loader: without it a step is twice as fast, without the update 16 / 12."""
    found = bottleneck(slow_trainer(clock.wait, fetch=0.008, forward=0.004, update=0.004), steps=3, rounds=2)
    assert found.dominant == "data loading"
    assert found.whole == pytest.approx((0.016, 0.016))
    assert found.stage("data loading").bound == pytest.approx(2.0)
    assert found.stage("optimizer step").bound == pytest.approx(16 / 12)
    assert [stage.resource for stage in found.stages] == ["data loading", "optimizer step", "compute"]
    assert [stage.share for stage in found.stages] == pytest.approx([0.5, 0.25, 0.25])
    assert found.predicted("data loading", 2.0) == pytest.approx(16 / 12)


def test_once_reading_is_relieved_the_update_binds(clock: Clock) -> None:
    found = bottleneck(slow_trainer(clock.wait, forward=0.004, update=0.004), steps=3, rounds=2)
    assert found.dominant == "optimizer step"
    assert found.stage("optimizer step").bound == pytest.approx(2.0)
    assert found.stage("data loading").bound == pytest.approx(1.0)


def test_with_neither_compute_is_left(clock: Clock) -> None:
    trainer = slow_trainer(clock.wait, forward=0.004, backward=0.012, fetch=0.001, update=0.0005)
    found = bottleneck(trainer, steps=3, rounds=2)
    assert found.dominant == "compute"
    assert found.stage("compute").share == pytest.approx(16 / 17.5)
    assert found.forward == pytest.approx(0.25)


def test_preparation_is_part_of_data_loading(clock: Clock) -> None:
    found = bottleneck(slow_trainer(clock.wait, fetch=0.002, prepare=0.006, forward=0.008), steps=2, rounds=2)
    assert found.stage("data loading").bound == pytest.approx(2.0)


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_micro_batches_are_counted_each(clock: Clock, accumulate: int) -> None:
    """Reading and passes happen once per micro-batch, the update once per step."""
    trainer = slow_trainer(clock.wait, accumulate=accumulate, fetch=0.004, forward=0.001, backward=0.003, update=0.008)
    found = bottleneck(trainer, steps=2, rounds=1)
    assert found.whole == pytest.approx((0.008 * accumulate + 0.008,))
    assert found.stage("data loading").share == pytest.approx(0.004 * accumulate / found.whole[0])
    assert found.stage("optimizer step").share == pytest.approx(0.008 / found.whole[0])
    assert found.forward == pytest.approx(0.25)


@pytest.mark.slow
def test_slow_stages_are_found_on_a_real_clock_and_the_bottleneck_migrates() -> None:
    """Sleeps far above what the steps themselves take, on a machine that may be busy."""
    before = bottleneck(slow_trainer(time.sleep, fetch=0.08, forward=0.04, update=0.04), steps=3, rounds=5)
    assert before.dominant == "data loading"
    assert before.stage("data loading").bound == pytest.approx(2.0, rel=0.15)
    after = bottleneck(slow_trainer(time.sleep, forward=0.04, update=0.04), steps=3, rounds=5)
    assert after.dominant == "optimizer step"
    assert after.stage("optimizer step").bound == pytest.approx(2.0, rel=0.15)
    left = bottleneck(slow_trainer(time.sleep, forward=0.08), steps=3, rounds=5)
    assert left.dominant == "compute"
    assert left.forward > 0.85


def test_an_ablated_step_leaves_out_what_was_removed_and_nothing_else() -> None:
    parts = ("fetch", "prepare", "update")
    for removed in [(), *[(part,) for part in parts], parts]:
        trainer = slow_trainer(lambda _seconds: None, accumulate=2)
        calls = trainer.task.calls
        made = ablated(trainer, removed)
        made.rehearse(made.model(), num_steps=5)
        expected = {"fetch": 10, "prepare": 10, "forward": 10, "backward": 10, "update": 5}
        given_once = {"fetch": 1, "prepare": 1, "update": 0}
        expected |= {part: given_once[part] for part in removed}
        assert calls == {name: count for name, count in expected.items() if count}


def test_without_the_copy_examples_are_read_and_the_first_batch_stays_on_the_device() -> None:
    trainer = slow_trainer(lambda _seconds: None)
    kept = ablated(trainer, ("copy",)).train_set
    first, second = kept.batch(torch.arange(4)), kept.batch(torch.arange(4, 8))
    assert trainer.task.calls == {"fetch": 2}
    assert torch.equal(second["inputs"], first["inputs"])
    assert second["inputs"].data_ptr() == first["inputs"].data_ptr()
    assert len(kept.batch(torch.arange(6))["inputs"]) == 6
    assert len(kept) == len(trainer.train_set)


def test_the_trainer_and_its_task_are_left_as_they_were() -> None:
    trainer = slow_trainer(lambda _seconds: None)
    attributes, settings = set(vars(trainer.task)), trainer.settings
    bottleneck(trainer, steps=1, rounds=1)
    assert set(vars(trainer.task)) == attributes
    assert trainer.settings is settings
    trainer.task.calls.clear()
    trainer.fit(trainer.model(), phase="dense", num_steps=2)
    assert trainer.task.calls["update"] == 2


def test_nothing_is_evaluated_or_written_and_the_model_stays(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("evaluated")

    monkeypatch.setattr("paretorch.training.trainer.evaluate", refuse)
    with RunDirectory(tmp_path / "run", recipe="") as directory:
        files = sorted(tmp_path.rglob("*"))
        trainer = Trainer(normed_task(), plain(16, checkpoint_seconds=0.0), directory=directory)
        model = trainer.model().eval()
        before = copy.deepcopy(model.state_dict())
        bottleneck(trainer, model, steps=5, rounds=1)  # more than an epoch, which has 4
        assert sorted(tmp_path.rglob("*")) == files
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_methods_act_in_every_kind_of_step() -> None:
    calls: list[tuple[str, str, int]] = []
    bottleneck(slow_trainer(lambda _seconds: None), methods=[Recorder("r", calls)], steps=2, rounds=3)
    hooks = [hook for _, hook, _ in calls]
    turns = 4 * (3 + 1)  # whole, two without a stage, one without all of them; and the round that warms up
    assert hooks.count("start") == hooks.count("finish") == turns
    assert hooks.count("before_update") == hooks.count("penalty") == hooks.count("weigh") == 2 * turns


def test_masks_act_on_copies_and_the_model_stays_dense() -> None:
    trainer = Trainer(normed_task(), plain(16, accumulate=2))
    model = trainer.model()
    masks = magnitude_masks(model, sparsity=0.5)
    found = bottleneck(trainer, model, methods=[MaskEnforcement(masks)], steps=2, rounds=2)
    assert len(found.whole) == 2
    assert all(weight.count_nonzero() == weight.numel() for weight in model.parameters() if weight.dim() == 2)


def test_every_second_round_goes_in_reverse(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[int] = []
    made = Trainer.rehearse

    def note(self: Trainer, *args: Any, **options: Any) -> float:
        order.append(id(self))
        return made(self, *args, **options)

    monkeypatch.setattr(Trainer, "rehearse", note)
    bottleneck(slow_trainer(lambda _seconds: None), steps=1, rounds=2)
    warm, first, second = order[:4], order[4:8], order[8:]
    assert len(set(first)) == 4
    assert warm == second == first[::-1]


def test_a_task_with_a_step_of_its_own_is_refused() -> None:
    with pytest.raises(InputError, match="owns the training step, so that its stages cannot be told apart"):
        bottleneck(Trainer(TinyGAN(), ADAM))


@pytest.mark.parametrize("budget", [{"steps": 0}, {"rounds": 0}])
def test_without_steps_or_rounds_there_is_nothing_to_time(budget: dict[str, int]) -> None:
    with pytest.raises(InputError, match="leave nothing to time"):
        bottleneck(slow_trainer(lambda _seconds: None), **budget)


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = slow_trainer(lambda _seconds: None)
    monkeypatch.setattr(type(trainer.accelerator), "num_processes", 2)
    with pytest.raises(InputError, match="there are 2 processes"):
        bottleneck(trainer)


def test_two_methods_of_one_name_are_refused_as_in_training() -> None:
    with pytest.raises(InputError, match="share a name"):
        bottleneck(slow_trainer(lambda _seconds: None), methods=[Method(), Method()])
