"""Zeus' cost: its two ends, the unit, and what a miss costs."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.evidence.scores.zeus import zeus_cost


def test_ends_are_the_energy_and_the_time_at_the_power_limit():
    assert zeus_cost(2000.0, 10.0, eta=1.0, max_power_w=400.0) == 2000.0
    assert zeus_cost(2000.0, 10.0, eta=0.0, max_power_w=400.0) == 4000.0
    assert zeus_cost(2000.0, 10.0, eta=0.25, max_power_w=400.0) == 3500.0


@given(st.floats(0, 1), st.floats(0, 1e6), st.floats(1, 1e5), st.floats(1, 1000))
def test_cost_lies_between_its_ends_and_scales_with_the_length_of_training(eta, energy, seconds, power):
    cost = zeus_cost(energy, seconds, eta=eta, max_power_w=power)
    ends = sorted((energy, power * seconds))
    assert ends[0] * (1 - 1e-12) <= cost <= ends[1] * (1 + 1e-12)
    assert zeus_cost(3 * energy, 3 * seconds, eta=eta, max_power_w=power) == pytest.approx(3 * cost)


def test_weight_of_energy_decides_between_a_slow_frugal_and_a_fast_hungry_run():
    frugal, hungry = (1000.0, 10.0), (1600.0, 6.0)
    assert zeus_cost(*frugal, eta=0.9, max_power_w=300.0) < zeus_cost(*hungry, eta=0.9, max_power_w=300.0)
    assert zeus_cost(*frugal, eta=0.1, max_power_w=300.0) > zeus_cost(*hungry, eta=0.1, max_power_w=300.0)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_missed_target_costs_infinitely_much_whatever_the_weight(eta):
    assert zeus_cost(math.inf, math.inf, eta=eta, max_power_w=300.0) == math.inf


@pytest.mark.parametrize(
    ("energy", "seconds", "eta", "power", "match"),
    [
        (1.0, 1.0, 1.5, 300.0, "eta weighs energy"),
        (1.0, 1.0, math.nan, 300.0, "eta weighs energy"),
        (1.0, 1.0, 0.5, 0.0, "power limit in watts"),
        (1.0, 1.0, 0.5, math.inf, "power limit in watts"),
        (-1.0, 1.0, 0.5, 300.0, "must be at least 0"),
        (1.0, math.nan, 0.5, 300.0, "must be at least 0"),
        (1.0, math.inf, 0.5, 300.0, "both infinite for a miss"),
    ],
)
def test_bad_input_is_refused_in_words(energy, seconds, eta, power, match):
    with pytest.raises(InputError, match=match):
        zeus_cost(energy, seconds, eta=eta, max_power_w=power)
