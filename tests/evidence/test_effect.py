"""The rule for the number of seeds: which one is used, that it is the right one, and that it says so."""

import numpy as np
import pytest

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.effect import effect
from paretorch.evidence.resampling import bca_interval
from paretorch.evidence.significance import permutation_p_value, smallest_p_value
from paretorch.evidence.statistics import (
    paired_differences,
    paired_interval,
    ratio_interval,
    unpaired_interval,
    unpaired_ratio_interval,
)


def generator(seed=0):
    return np.random.default_rng(seed)


def arms(n, other=None):
    random = generator(n)
    return list(np.exp(random.normal(size=n))), list(np.exp(random.normal(size=other or n)))


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize(
    ("paired", "scale", "interval", "name"),
    [
        (True, "difference", paired_interval, "Student t"),
        (True, "ratio", ratio_interval, "Student t"),
        (False, "difference", unpaired_interval, "Welch t"),
        (False, "ratio", unpaired_ratio_interval, "Welch t"),
    ],
)
def test_under_five_seeds_the_rule_is_student_or_welch_alone_and_low_n(n, paired, scale, interval, name):
    a, b = arms(n)
    result = effect(a, b, generator=generator(), scale=scale, paired=paired, confidence=0.9)
    assert result.interval == interval(a, b, confidence=0.9)
    assert (result.rule, result.p_value, result.interval.low_n) == (name, None, True)
    assert result.smallest_p == smallest_p_value(n, None if paired else n)


@pytest.mark.parametrize("n", [5, 9])
@pytest.mark.parametrize("paired", [True, False])
def test_from_five_seeds_an_exact_p_value_joins_the_interval(n, paired):
    a, b = arms(n)
    random = generator()
    state = random.bit_generator.state
    result = effect(a, b, generator=random, scale="ratio", paired=paired)
    assert random.bit_generator.state == state
    assert result.interval == (ratio_interval if paired else unpaired_ratio_interval)(a, b)
    assert result.p_value == permutation_p_value(np.log(a), np.log(b), paired=paired, generator=generator())
    assert result.rule == ("Student t, permutation test" if paired else "Welch t, permutation test")
    assert not result.interval.low_n


@pytest.mark.parametrize("paired", [True, False])
def test_from_ten_seeds_the_interval_is_a_bootstrap_that_the_generator_determines(paired):
    a, b = arms(12)
    result = effect(a, b, generator=generator(4), paired=paired)
    random = generator(4)
    p_value = permutation_p_value(a, b, paired=paired, generator=random)
    samples = [paired_differences(a, b)] if paired else [a, b]
    assert result.interval == bca_interval(samples, generator=random)
    assert (result.p_value, result.rule) == (p_value, "BCa bootstrap, permutation test")
    assert result == effect(a, b, generator=generator(4), paired=paired)
    assert result.interval != effect(a, b, generator=generator(5), paired=paired).interval


def test_ratios_are_compared_on_the_logarithm():
    a, b = arms(15)
    result = effect(a, b, generator=generator(), scale="ratio")
    logs = effect(list(np.log(a)), list(np.log(b)), generator=generator())
    assert result.interval.mean == pytest.approx(np.exp(logs.interval.mean))
    assert result.interval.low == pytest.approx(np.exp(logs.interval.low))
    assert result.interval.high == pytest.approx(np.exp(logs.interval.high))
    assert result.p_value == logs.p_value


def test_the_smaller_arm_decides_the_rule():
    a, b = arms(4, 30)
    result = effect(a, b, generator=generator(), paired=False)
    assert (result.rule, result.interval.n, result.p_value) == ("Welch t", 4, None)
    assert result.smallest_p == smallest_p_value(4, 30)


def test_the_same_difference_in_every_seed_is_said_not_to_be_a_bootstrap():
    costs = [0.1 * i for i in range(1, 12)]
    result = effect([3 * c for c in costs], costs, generator=generator(), scale="ratio")
    assert result.interval.low == pytest.approx(3.0)
    assert result.interval.high == pytest.approx(3.0)
    assert result.rule == "Student t, permutation test"
    assert result.p_value == smallest_p_value(11)


def test_mappings_are_paired_by_seed():
    a, b = {s: 10.0 * s + 1 for s in range(12)}, {s: 10.0 * s for s in reversed(range(12))}
    assert effect(a, b, generator=generator()).interval.mean == pytest.approx(1.0)
    with pytest.raises(NotComparableError, match="same seeds"):
        effect(a, dict.fromkeys(range(1, 13), 1.0), generator=generator())


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: effect([1.0, -1.0], [1.0, 2.0], generator=generator(), scale="ratio"), r"got \[-1.0\]"),
        (lambda: effect([1.0], [2.0], generator=generator(), scale="log"), "'difference' or 'ratio', got 'log'"),
        (lambda: effect([], [], generator=generator()), "no values"),
    ],
)
def test_impossible_input_is_refused(call, match):
    with pytest.raises(InputError, match=match):
        call()
