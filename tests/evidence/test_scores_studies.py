"""Tuned submissions: the best trial by time, the median over studies, misses in both."""

import math

import pytest

from paretorch.errors import InputError
from paretorch.evidence.censored import TargetTime, time_to_target
from paretorch.evidence.scores.studies import study_time


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
