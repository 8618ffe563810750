"""Cosine with warm restarts: troughs, closed form, points read at troughs only, refusals."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.methods.schedules.base import Cosine
from paretorch.methods.schedules.cyclic import CyclicCosine

EXAMPLE = CyclicCosine(num_steps=120, peak=0.2, first_cycle=8)


def test_the_troughs_of_the_published_schedule():
    assert EXAMPLE.troughs() == (8, 24, 56, 120)
    assert CyclicCosine(num_steps=504, peak=0.2, first_cycle=8).troughs() == (8, 24, 56, 120, 248, 504)


def test_a_cycle_that_is_not_finished_has_no_trough():
    assert CyclicCosine(num_steps=119, peak=0.2, first_cycle=8).troughs() == (8, 24, 56)


@given(st.integers(2, 40), st.integers(1, 3), st.integers(1, 4), st.sampled_from([0.0, 0.1, 0.25]))
def test_each_cycle_is_the_cosine_of_its_length(first, multiplier, cycles, warmup):
    after = sum(first * multiplier**k for k in range(cycles))
    total = math.ceil(after / (1 - warmup)) + 1
    schedule = CyclicCosine(
        num_steps=total, peak=0.3, floor=0.01, warmup=warmup, first_cycle=first, multiplier=multiplier
    )
    troughs = schedule.troughs()[:cycles]
    start = schedule.warmup_steps
    for k, end in enumerate(troughs):
        length = first * multiplier**k
        assert end - start == length
        one = Cosine(num_steps=length, peak=0.3, floor=0.01)
        assert [schedule(t) for t in range(start, end)] == pytest.approx(list(one.trace()), rel=1e-12)
        start = end
    assert len(troughs) == cycles


def test_the_step_before_a_trough_is_the_lowest_of_its_cycle_and_the_next_is_the_peak():
    start = 0
    for end in EXAMPLE.troughs():
        values = [EXAMPLE(t) for t in range(start, end)]
        assert values[0] == max(values) == 0.2
        assert values[-1] == min(values)
        start = end


def test_the_ramp_comes_first_and_shifts_the_troughs():
    schedule = CyclicCosine(num_steps=130, peak=0.2, warmup=10 / 130, first_cycle=8)
    assert schedule.troughs() == (18, 34, 66, 130)
    assert schedule(0) == 0.0
    assert schedule(10) == 0.2


def test_one_run_costs_about_half_of_the_runs_it_stands_for():
    schedule = CyclicCosine(num_steps=504, peak=0.2, first_cycle=8)
    assert schedule.num_steps / sum(schedule.troughs()) == pytest.approx(0.525)
    assert 504 / sum((16, 32, 64, 128, 256, 512)) == 0.5  # the authors' standard grid


def test_a_longer_run_of_longer_cycles_is_the_same_curve_stretched():
    long = CyclicCosine(num_steps=360, peak=0.2, first_cycle=24)
    assert long.troughs() == tuple(3 * t for t in EXAMPLE.troughs())
    assert [long(3 * t) for t in range(120)] == pytest.approx(list(EXAMPLE.trace()), rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first_cycle": 1}, "first_cycle is at least 2, got 1"),
        ({"first_cycle": 2.5}, r"first_cycle is a whole number, got 2\.5"),
        ({"multiplier": 0}, "multiplier is at least 1, got 0"),
        ({"first_cycle": 121}, "first cycle of 121 steps does not fit into the 120 steps"),
        ({"first_cycle": 110, "warmup": 0.1}, "does not fit into the 108 steps"),
        ({"floor": 0.3}, r"floor 0\.3 is above peak 0\.2"),
    ],
)
def test_cycles_that_make_no_sense_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        CyclicCosine(**{"num_steps": 120, "peak": 0.2, "first_cycle": 8} | change)
