"""The torch scheduler made from a pure schedule: phases on one optimizer, groups, resume."""

import dataclasses

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from paretorch.errors import InputError
from paretorch.methods.schedules import ALLR, FT, LLR, Constant, DenseSchedule, Linear, Schedule, as_scheduler


def optimizer_of(*groups):
    return SGD([{"params": [torch.nn.Parameter(torch.ones(2))], **group} for group in groups], lr=7.0)


def lrs_while_training(scheduler, optimizer, num_steps):
    seen = []
    for _ in range(num_steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_a_second_phase_on_the_same_optimizer_starts_at_zero():
    optimizer = optimizer_of({})
    first = FT(num_steps=5, lr=0.01)
    second = LLR(num_steps=20, peak=0.1)
    assert lrs_while_training(as_scheduler(first, optimizer), optimizer, 5) == list(first.trace())
    assert lrs_while_training(as_scheduler(second, optimizer), optimizer, 20) == list(second.trace())
    assert second(0) == 0.0


def test_an_initial_lr_left_by_a_torch_scheduler_has_no_influence_and_none_is_left():
    schedule = LLR(num_steps=10, peak=0.1)
    stale = optimizer_of({})
    LambdaLR(stale, lambda _: 1.0)
    assert stale.param_groups[0]["initial_lr"] == 7.0
    assert lrs_while_training(as_scheduler(schedule, stale), stale, 10) == list(schedule.trace())
    fresh = optimizer_of({})
    as_scheduler(schedule, fresh)
    assert "initial_lr" not in fresh.param_groups[0]


def test_a_group_is_scaled_by_its_own_factor():
    optimizer = optimizer_of({}, {"lr_scale": 0.1}, {"lr_scale": 0.0})
    scheduler = as_scheduler(Constant(num_steps=3, peak=0.5), optimizer)
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.05, 0.0]
    assert scheduler.get_last_lr() == [0.5, 0.05, 0.0]


@pytest.mark.parametrize("stop", [0, 1, 9, 20])
def test_a_resumed_phase_has_the_remaining_learning_rates_bitwise(stop):
    schedule = ALLR(num_steps=20, dense_peak=0.1, norm_drop=0.7, budget_ratio=0.1)
    optimizer = optimizer_of({})
    scheduler = as_scheduler(schedule, optimizer)
    lrs_while_training(scheduler, optimizer, stop)
    saved = scheduler.state_dict()
    assert all(isinstance(value, (int, float)) for value in saved.values())
    resumed = optimizer_of({})
    again = as_scheduler(schedule, resumed)
    again.load_state_dict(saved)
    assert again.get_last_lr() == scheduler.get_last_lr() == [resumed.param_groups[0]["lr"]]
    assert lrs_while_training(again, resumed, 20 - stop) == list(schedule.trace()[stop:])


def test_a_learning_rate_that_is_a_tensor_is_written_in_place():
    lr = torch.tensor(7.0)
    optimizer = SGD([torch.nn.Parameter(torch.ones(2))], lr=lr)
    scheduler = as_scheduler(Linear(num_steps=4, peak=0.5), optimizer)
    assert lr.item() == 0.5
    optimizer.step()
    scheduler.step()
    assert lr.item() == 0.375
    scheduler.load_state_dict({"step": 2, "num_steps": 4, "lr": 0.25})
    assert lr.item() == 0.25
    assert optimizer.param_groups[0]["lr"] is lr


def test_the_last_learning_rate_stays_after_the_last_step_and_training_on_is_refused():
    optimizer = optimizer_of({})
    schedule = Linear(num_steps=4, peak=0.5)
    scheduler = as_scheduler(schedule, optimizer)
    lrs_while_training(scheduler, optimizer, 4)
    assert optimizer.param_groups[0]["lr"] == schedule(3)
    optimizer.step()
    with pytest.raises(InputError, match="step 5 is outside"):
        scheduler.step()


def test_the_state_of_another_schedule_is_refused():
    scheduler = as_scheduler(Linear(num_steps=4, peak=0.5), optimizer_of({}))
    with pytest.raises(InputError, match="had 5 steps, this one has 4"):
        scheduler.load_state_dict({"step": 1, "num_steps": 5, "lr": 0.5})
    with pytest.raises(InputError, match=r"learning rate of 0\.4 at step 1, this one has 0\.375"):
        scheduler.load_state_dict({"step": 1, "num_steps": 4, "lr": 0.4})


def test_an_empty_schedule_and_a_bad_scale_are_refused():
    with pytest.raises(InputError, match="0 steps has no learning rate"):
        as_scheduler(Constant(num_steps=0, peak=0.5), optimizer_of({}))
    with pytest.raises(InputError, match=r"parameter group 1 .* got -1\.0"):
        as_scheduler(Constant(num_steps=3, peak=0.5), optimizer_of({}, {"lr_scale": -1.0}))


def test_a_curve_of_ones_own_works_everywhere():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Halving(Schedule):
        def lr_at(self, step):
            return 0.5**step

    optimizer = optimizer_of({})
    assert lrs_while_training(as_scheduler(Halving(num_steps=3), optimizer), optimizer, 3) == [1.0, 0.5, 0.25]
    assert DenseSchedule.of(Halving(num_steps=3)).floor == 0.25
