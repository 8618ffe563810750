"""Checks of what the cards of the retraining schedules promise."""

import math

import pytest
import torch

from paretorch.errors import InputError
from paretorch.methods.schedules import DenseSchedule, MultiStep, Schedule, norm_drop_of, retraining_schedule
from paretorch.methods.sparsity.masks import Masks
from tests.methods.invariants import invariant

DENSE = MultiStep(num_steps=60, peak=0.2, milestones=(0.5, 0.75), warmup=0.1)
RECORDED = DenseSchedule.of(DENSE)
LENGTHS = (10, 25, 60, 97)


def schedule(name: str, *, num_steps: int, **more) -> Schedule:
    return retraining_schedule(name, num_steps=num_steps, dense=RECORDED, **more)


@invariant("ft", "the learning rate is the same at every step")
def ft_is_constant() -> None:
    for length in LENGTHS:
        assert set(schedule("FT", num_steps=length).trace()) == {min(DENSE.trace()[6:])}


@invariant("lrw", "as many steps as the dense run replay all of it")
def lrw_replays_everything() -> None:
    assert schedule("LRW", num_steps=60).trace() == DENSE.trace()
    assert schedule("LRW", num_steps=25).trace() == DENSE.trace()[-25:]


@invariant("lrw", "more steps than the dense run are refused")
def lrw_refuses_more() -> None:
    with pytest.raises(InputError, match="had only 60"):
        schedule("LRW", num_steps=61)


@invariant("slr", "without warm-up and with as many steps as the dense run it is the dense schedule")
def slr_is_the_dense_schedule() -> None:
    dense = MultiStep(num_steps=60, peak=0.2, milestones=(0.5, 0.75))
    made = retraining_schedule("SLR", num_steps=60, dense=DenseSchedule.of(dense), warmup=0.0)
    assert made.trace() == dense.trace()


@invariant("clr", "the learning rate is never above the peak or, after the ramp, below the floor")
def clr_stays_between_floor_and_peak() -> None:
    for length in LENGTHS:
        rates = schedule("CLR", num_steps=length).trace()
        assert max(rates) <= RECORDED.peak
        assert min(rates[math.floor(0.1 * length) :]) >= RECORDED.floor


@invariant("llr", "with a ramp of at least one step the learning rates sum to peak * steps / 2")
def llr_has_half_the_area() -> None:
    for length in LENGTHS:
        assert math.fsum(schedule("LLR", num_steps=length).trace()) == pytest.approx(0.2 * length / 2, rel=1e-12)


@invariant("allr", "the peak is min(1, max(norm drop, budget ratio)) times the dense peak")
def allr_has_the_peak_of_its_formula() -> None:
    for drop in (0.0, 0.2, 0.7, 1.0):
        for ratio in (0.05, 0.5, 3.0):
            made = schedule("ALLR", num_steps=40, norm_drop=drop, budget_ratio=ratio)
            assert max(made.trace()) == min(1.0, max(drop, ratio)) * 0.2


@invariant("allr", "with a factor of 1 it is LLR")
def allr_becomes_llr() -> None:
    for length in LENGTHS:
        assert schedule("ALLR", num_steps=length, norm_drop=1.0).trace() == schedule("LLR", num_steps=length).trace()


@invariant("allr", "the norm drop is unchanged by scaling or permuting the weights")
def the_norm_drop_ignores_scale_and_order() -> None:
    torch.manual_seed(0)
    weight, order = torch.randn(8, 9, dtype=torch.float64), torch.randperm(72)
    mask = weight.abs() > 0.7

    def drop(values: torch.Tensor, kept: torch.Tensor) -> float:
        layer = torch.nn.Linear(9, 8, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(values)
        return norm_drop_of(layer, masks=Masks({"weight": kept}))

    expected = drop(weight, mask)
    assert 0 < expected < 1
    assert drop(4.0 * weight, mask) == expected  # a power of two: the same bits
    shuffled = weight.flatten()[order].view(8, 9), mask.flatten()[order].view(8, 9)
    assert drop(*shuffled) == pytest.approx(expected, rel=1e-12)
