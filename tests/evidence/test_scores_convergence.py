"""MLPerf's rules: the Olympic mean by hand, and how often honest runs are called too good."""

import math

import numpy as np
import pytest
from scipy import stats

from paretorch.errors import InputError
from paretorch.evidence.scores.convergence import olympic_mean, too_good


def test_olympic_mean_leaves_out_the_fastest_and_the_slowest():
    assert olympic_mean([9.0, 1.0, 4.0, 2.0]) == 3.0
    assert olympic_mean([5.0, 1.0, 100.0]) == 5.0


def test_one_miss_is_the_slowest_and_two_leave_no_mean():
    assert olympic_mean([1.0, 2.0, 4.0, math.inf]) == 3.0
    assert olympic_mean([1.0, 2.0, math.inf, math.inf]) == math.inf


def test_p_value_is_that_of_welchs_one_sided_test_by_its_formula():
    runs, reference = [9.0, 10.0, 9.5], [11.0, 10.5, 12.0, 11.5, 9.8, 11.2]
    u, v = np.var(runs, ddof=1) / 3, np.var(reference, ddof=1) / 6
    degrees = (u + v) ** 2 / (u**2 / 2 + v**2 / 5)
    statistic = (np.mean(runs) - np.mean(reference)) / math.sqrt(u + v)
    found = too_good(runs, reference)
    assert found.p_value == pytest.approx(stats.t.cdf(statistic, degrees))
    assert found.too_good
    assert found.factor == pytest.approx(np.mean(reference) / np.mean(runs))
    assert not too_good(runs, reference, level=found.p_value * 0.99).too_good


def test_slower_runs_are_never_too_good_and_gain_nothing():
    found = too_good([12.0, 13.0, 12.5], [11.0, 10.5, 12.0, 11.5, 9.8, 11.2])
    assert found.p_value > 0.9
    assert (found.too_good, found.factor) == (False, 1.0)


def test_runs_like_the_reference_are_called_too_good_as_often_as_the_level_says():
    random = np.random.default_rng(0)
    draws = random.normal(100, 5, size=(1000, 15))
    called = np.mean([too_good(row[:5], row[5:]).too_good for row in draws])
    assert 0.03 < called < 0.07  # 5 %, standard error 0.7 %


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: olympic_mean([1.0, 2.0]), "at least three"),
        (lambda: olympic_mean([1.0, 2.0, math.nan]), "positive times"),
        (lambda: too_good([1.0], [1.0, 2.0]), "twice as many of the reference, got 1 and 2"),
        (lambda: too_good([1.0, 2.0], [1.0, 2.0, 3.0]), "twice as many of the reference, got 2 and 3"),
        (lambda: too_good([1.0, math.inf], [1.0, 2.0, 3.0, 4.0]), "positive and finite"),
        (lambda: too_good([1.0, 2.0], [1.0, 2.0, 3.0, 4.0], level=5), "level is a probability"),
        (lambda: too_good([1.0, 1.0], [2.0] * 4), "without variation nothing can be tested"),
    ],
)
def test_bad_input_is_refused_in_words(call, match):
    with pytest.raises(InputError, match=match):
        call()
