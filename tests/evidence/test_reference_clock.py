"""The reference clock: published tables, the slipped decimal point in one of them, interpolation, budgets."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.evidence.scores.clock import Charge, ReferenceClock

# Seconds of a forward and backward pass of BERT over 128 sequences with 1 to 16 active layers, as published.
BERT_AS_PUBLISHED = dict(
    enumerate(
        [
            *(0.02521, 0.03837, 0.05177, 0.06508, 0.07847, 0.09188, 0.01052, 0.1186),
            *(0.1319, 0.1454, 0.1589, 0.1722, 0.1857, 0.1988, 0.212, 0.2253),
        ],
        start=1,
    )
)
BERT = BERT_AS_PUBLISHED | {7: 0.1052}
T5 = dict(
    enumerate([0.129, 0.209, 0.291, 0.373, 0.455, 0.538, 0.619, 0.703, 0.783, 0.865, 0.947, 1.031], start=1)
)  # batch 144


@pytest.fixture(scope="module")
def bert():
    return ReferenceClock({"step": BERT, "forward": {16: 0.09285}}, batch=128)


def test_slipped_decimal_point_in_the_published_table_is_refused_and_named():
    with pytest.raises(InputError, match=r"does not rise: 0.09188 s at size 6, 0.01052 s at size 7"):
        ReferenceClock({"step": BERT_AS_PUBLISHED}, batch=128)


def test_corrected_tables_are_accepted_and_give_their_own_entries(bert):
    for layers, seconds in BERT.items():
        assert bert.seconds(Charge("step", layers, 128)) == seconds
    t5 = ReferenceClock({"step": T5}, batch=144)
    assert t5.seconds(Charge("step", 12, 144, steps=1000)) == pytest.approx(1031.0)


@given(st.floats(1, 16))
def test_between_the_measured_depths_time_is_interpolated_linearly(size):
    clock = ReferenceClock({"step": BERT}, batch=128)
    expected = np.interp(size, list(BERT), list(BERT.values()))
    assert clock.seconds(Charge("step", size, 128)) == pytest.approx(expected, rel=1e-12)


def test_order_of_the_entries_does_not_matter():
    shuffled = dict(sorted(BERT.items(), key=lambda item: -item[1]))
    assert ReferenceClock({"step": shuffled}, batch=128).seconds(Charge("step", 2.5, 128)) == pytest.approx(
        (BERT[2] + BERT[3]) / 2
    )


def test_step_of_several_microbatches_is_charged_for_each(bert):
    # 1536 sequences are 12 microbatches of 128.
    assert bert.seconds(Charge("step", 16, 1536, steps=10)) == pytest.approx(12 * 10 * 0.2253)


def test_run_is_charged_for_its_scoring_passes_too(bert):
    steps, scoring = Charge("step", 16, 128, steps=100), Charge("forward", 16, 256, steps=100)
    assert bert.total([steps, scoring]) == pytest.approx(100 * 0.2253 + 200 * 0.09285)
    assert bert.total([]) == 0.0


def test_run_that_drops_layers_costs_the_sum_over_its_steps(bert):
    active = np.random.default_rng(0).integers(1, 17, size=200)
    assert bert.total(Charge("step", int(k), 128) for k in active) == pytest.approx(sum(BERT[int(k)] for k in active))


@given(st.floats(0, 500), st.integers(1, 16), st.integers(1, 4))
def test_steps_within_a_budget_fit_and_one_more_does_not(budget, layers, microbatches):
    clock = ReferenceClock({"step": BERT}, batch=128)
    step = Charge("step", layers, 128 * microbatches)
    steps = clock.steps_within(budget, step)
    assert steps * clock.seconds(step) <= budget * (1 + 1e-9)
    assert (steps + 1) * clock.seconds(step) > budget * (1 - 1e-9)


def test_budget_that_is_a_multiple_of_the_step_is_used_up():
    clock = ReferenceClock({"step": {1: 0.1}}, batch=1)
    assert clock.steps_within(0.3, Charge("step", 1, 1)) == 3  # 0.3 / 0.1 is below 3 in floating point


def test_table_that_bends_is_refused_unless_it_is_allowed_to():
    bent = {k: 0.01 * k**3 for k in range(1, 9)}
    with pytest.raises(InputError, match=r"not near a straight line \(R\^2 = 0.8"):
        ReferenceClock({"step": bent}, batch=1)
    assert ReferenceClock({"step": bent}, batch=1, min_r2=0.8).seconds(Charge("step", 2, 1)) == pytest.approx(0.08)


@pytest.mark.parametrize(
    ("tables", "batch", "match"),
    [
        ({}, 1, "at least one table"),
        ({"step": {1: 0.1}}, 0, "batch of at least 1"),
        ({"step": {}}, 1, "positive finite seconds"),
        ({"step": {1: -0.1}}, 1, "positive finite seconds"),
        ({"step": {1: math.nan}}, 1, "positive finite seconds"),
        ({"step": {1: 0.1, 2: 0.1}}, 1, "does not rise"),
    ],
)
def test_tables_that_are_none_are_refused(tables, batch, match):
    with pytest.raises(InputError, match=match):
        ReferenceClock(tables, batch=batch)


@pytest.mark.parametrize(
    ("charge", "match"),
    [
        (Charge("backward", 16, 128), "no table 'backward'; it has step, forward"),
        (Charge("step", 17, 128), "outside the measured 1 to 16"),
        (Charge("step", 0.5, 128), "outside the measured 1 to 16"),
        (Charge("forward", 8, 128), "outside the measured 16 to 16"),
        (Charge("step", 16, 100), "no multiple of the reference batch of 128"),
        (Charge("step", 16, 0), "no multiple of the reference batch"),
        (Charge("step", 16, 128, steps=-1), "steps must be at least 0"),
    ],
)
def test_charges_that_were_not_measured_are_refused(bert, charge, match):
    with pytest.raises(InputError, match=match):
        bert.seconds(charge)


@pytest.mark.parametrize("budget", [-1.0, math.inf, math.nan])
def test_budgets_that_are_none_are_refused(bert, budget):
    with pytest.raises(InputError, match="finite budget"):
        bert.steps_within(budget, Charge("step", 16, 128))
    with pytest.raises(InputError, match="a charge that costs"):
        bert.steps_within(1.0, Charge("step", 16, 128, steps=0))
