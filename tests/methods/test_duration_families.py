"""Schedules at other durations: the curve is the same, stretched, its ramp included, and its area grows in proportion.

A family of durations compares runs whose schedules differ in their length only: with alpha_s the schedule of s times as
many steps, alpha_s(s t) = alpha(t) at every step t.
"""

import dataclasses
import inspect
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.methods.schedules import (
    Constant,
    Cosine,
    DenseSchedule,
    Linear,
    MultiStep,
    Schedule,
    retraining_schedule,
)
from paretorch.methods.schedules.cyclic import CyclicCosine
from paretorch.methods.schedules.stretched import Stretched
from paretorch.methods.schedules.truncated import Truncated

STEPS = 120  # divisible by all fractions below
DENSE_STEPS = 600
END = {"Linear": 0.0, "LLR": 0.0, "ALLR": 0.0}  # what the curve tends to behind its last step


def dense(scale):
    return DenseSchedule.of(MultiStep(num_steps=scale * DENSE_STEPS, peak=0.2, milestones=(1 / 3, 3 / 4), warmup=0.1))


def schedule_of(name, scale, *, shape="linear"):
    """A schedule of `scale` times as many steps; the dense run of a retraining schedule is as many times as long."""
    n = scale * STEPS
    ramp = {"num_steps": n, "peak": 0.3, "warmup": 0.1, "warmup_shape": shape}
    kinds = {
        "Constant": lambda: Constant(**ramp),
        "Linear": lambda: Linear(**ramp),
        "Cosine": lambda: Cosine(**ramp, floor=0.01),
        "MultiStep": lambda: MultiStep(**ramp, milestones=(0.3, 1 / 3, 0.75), factor=0.5),
        "CyclicCosine": lambda: CyclicCosine(**ramp, floor=0.01, first_cycle=scale * 12),
        "Truncated": lambda: Truncated(num_steps=n, whole=Linear(**ramp | {"num_steps": 2 * n})),
        "Stretched": lambda: Stretched(num_steps=n, dense=dense(scale), peak=0.3),
    }
    if name in kinds:
        return kinds[name]()
    return retraining_schedule(name, num_steps=n, dense=dense(scale), norm_drop=0.3)


NAMES = ("Constant", "Linear", "Cosine", "MultiStep", "CyclicCosine", "Truncated", "Stretched")
NAMES += ("FT", "LRW", "SLR", "CLR", "LLR", "ALLR")


def test_every_schedule_that_ships_is_looked_at():
    def leaves(kind):
        found = [leaf for sub in kind.__subclasses__() for leaf in leaves(sub)]
        return [*found, *([kind] if not inspect.isabstract(kind) else [])]

    shipped = {kind.__name__ for kind in leaves(Schedule) if kind.__module__.startswith("paretorch.")}
    assert shipped == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@given(scale=st.integers(2, 12))
def test_a_longer_schedule_is_the_same_curve_stretched(name, scale):
    short, long = schedule_of(name, 1), schedule_of(name, scale)
    assert long.num_steps == scale * short.num_steps
    assert [long(scale * t) for t in range(STEPS)] == pytest.approx(list(short.trace()), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("name", ["Constant", "Linear", "Cosine", "MultiStep", "CyclicCosine"])
@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_the_ramp_is_stretched_with_the_rest(name, shape):
    short, long = schedule_of(name, 1, shape=shape), schedule_of(name, 7, shape=shape)
    assert (short.warmup_steps, long.warmup_steps) == (12, 84)
    assert [long(7 * t) for t in range(12)] == pytest.approx([short(t) for t in range(12)], rel=1e-12)
    # No jump where the ramp ends: a switch-over time that is not scaled would leave the ramp at 1/7 of the peak.
    assert long(83) == pytest.approx(long(84), rel=0.02)
    assert long(84) == short(12) == 0.3


def area(schedule):
    """Trapezoids between the steps; behind the last step the curve goes on to its end."""
    values = list(schedule.trace())
    end = END.get(type(schedule).__name__, getattr(schedule, "floor", values[-1]))
    return math.fsum(values) - (values[0] - end) / 2


@pytest.mark.parametrize("name", ["Linear", "Cosine", "LLR", "CLR", "ALLR"])
@pytest.mark.parametrize("scale", [2, 5, 12])
def test_the_area_of_a_decay_grows_with_the_duration(name, scale):
    assert area(schedule_of(name, scale)) == pytest.approx(scale * area(schedule_of(name, 1)), rel=1e-9)


@pytest.mark.parametrize("scale", [2, 5, 12])
def test_the_area_of_steps_and_constants_grows_with_the_duration_in_every_piece(scale):
    for name in ("Constant", "MultiStep"):
        short, long = schedule_of(name, 1), schedule_of(name, scale)
        pieces = [(12, STEPS)] if name == "Constant" else [(12, 36), (36, 40), (40, 90), (90, STEPS)]
        for a, b in pieces:
            expected = scale * math.fsum(short(t) for t in range(a, b))
            assert math.fsum(long(t) for t in range(scale * a, scale * b)) == pytest.approx(expected, rel=1e-12)
    for name in ("FT", "LRW"):
        ends = [math.fsum(schedule_of(name, s).trace()) for s in (1, scale)]
        assert ends[1] == pytest.approx(scale * ends[0], rel=1e-12)


@given(st.integers(10, 500), st.fractions(Fraction(1, 2), Fraction(6)))
def test_at_any_ratio_of_durations_a_ramp_ends_within_a_step_of_its_place(steps, scale):
    other = max(1, round(steps * scale))
    for n in (steps, other):
        assert 0 <= n * 0.1 - Linear(num_steps=n, peak=1.0, warmup=0.1).warmup_steps < 1
    drops = [MultiStep(num_steps=n, peak=1.0, milestones=(0.5,)).drops[0] / n for n in (steps, other)]
    assert abs(drops[0] - drops[1]) <= 1 / min(steps, other)


def test_allr_keeps_its_shape_and_changes_its_peak_when_only_the_retraining_gets_longer():
    # d2 is the share of the dense run, so a longer retraining after the same dense run may use a higher peak.
    short, long = (retraining_schedule("ALLR", num_steps=n, dense=dense(1), norm_drop=0.1) for n in (120, 240))
    assert (short.factor, long.factor) == (0.2, 0.4)
    assert [long(2 * t) for t in range(120)] == pytest.approx([2 * short(t) for t in range(120)], rel=1e-9)


def test_schedules_are_rebuilt_at_another_length_with_everything_else_as_it_was():
    cosine = Cosine(num_steps=STEPS, peak=0.3, floor=0.01, warmup=0.1)
    assert dataclasses.replace(cosine, num_steps=3 * STEPS) == schedule_of("Cosine", 3)
