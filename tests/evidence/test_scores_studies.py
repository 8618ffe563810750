"""Tuned submissions: the best trial by time, the median over studies, misses in both."""

import itertools
import math

import numpy as np
import pytest

from paretorch.errors import InputError
from paretorch.evidence.censored import TargetTime, time_to_target
from paretorch.evidence.scores.studies import study_interval, study_time


def trial(time):
    return TargetTime(99.0, None) if time is None else TargetTime(0.0, float(time))


def studies(*rows):
    return [[trial(t) for t in row] for row in rows]


def test_median_over_studies_of_the_best_trial():
    assert study_time(studies([9, 4, None], [None, 7, 8], [5, 5, 6])) == 5.0


def test_best_trial_is_the_earliest_in_time_and_not_after_the_fewest_evaluations():
    slow = time_to_target([(50.0, 0.9)], 0.9)  # at its first evaluation, after 50 s
    fast = time_to_target([(10.0, 0.5), (20.0, 0.9)], 0.9)  # at its second, after 20 s
    assert study_time([[slow, fast]]) == 20.0


def test_trial_whose_loss_is_nan_never_hits_a_minimised_target():
    broken = time_to_target([(1.0, math.nan)], 0.12, higher_is_better=False)
    good = time_to_target([(1.0, 0.5), (2.0, 0.11)], 0.12, higher_is_better=False)
    assert study_time([[broken, good]]) == 2.0
    assert study_time([[broken]]) == math.inf


@pytest.mark.parametrize(
    ("best", "expected"),
    [([1, 2, None], 2), ([1, None, None], math.inf), ([1, 2, None, None], math.inf), ([1, 3, None, 2], 2.5)],
)
def test_missed_studies_enter_the_median_as_infinite(best, expected):
    assert study_time(studies(*[[t] for t in best])) == expected


@pytest.mark.parametrize("rows", [[], [[]], [[1, 2], [1]]])
def test_studies_of_unequal_or_no_trials_are_refused(rows):
    with pytest.raises(InputError, match="same number of trials"):
        study_time(studies(*rows))
    with pytest.raises(InputError, match="same number of trials"):
        study_interval(studies(*rows), generator=np.random.default_rng(0))


def test_interval_has_the_quantiles_of_all_possible_resamples():
    rows = [(9, 4, None), (6, 7, 8), (5, None, 10)]
    best = [
        [min(math.inf if t is None else t for t in draw) for draw in itertools.product(row, repeat=3)] for row in rows
    ]
    medians = [np.median(draw) for draw in itertools.product(*best)]
    low, high = np.quantile(medians, [0.05, 0.95], method="inverted_cdf")
    found = study_interval(studies(*rows), generator=np.random.default_rng(0), confidence=0.9)
    assert (found.mean, found.low, found.high, found.n) == (5.0, low, high, 3)


def test_interval_of_trials_that_mostly_miss_ends_at_infinity_and_never_before_the_best():
    found = study_interval(studies([3, None, None], [4, None, None]), generator=np.random.default_rng(0))
    assert (found.mean, found.low, found.high) == (3.5, 3.5, math.inf)


def test_interval_comes_from_the_generator_and_is_absent_with_one_trial():
    many = studies(*np.random.default_rng(9).exponential(10, size=(4, 20)))
    one, again, other = (
        study_interval(many, generator=np.random.default_rng(seed), resamples=100) for seed in (1, 1, 2)
    )
    assert one == again
    assert one != other
    single = study_interval(studies([3], [4]), generator=np.random.default_rng(0))
    assert (single.mean, single.low, single.high) == (3.5, None, None)
