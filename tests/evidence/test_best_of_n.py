"""Expected best of n trials: brute force, published numbers, order, failed trials, intervals."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.evidence.best_of_n import TuningPoint, expected_best, tuned_interval, tuning_curve
from paretorch.evidence.censored import TargetTime
from paretorch.evidence.scores.studies import study_time

TRIALS = [3.0, 1.0, 4.0, 1.5, 9.0]
trials_and_n = st.lists(st.floats(-100, 100), min_size=1, max_size=6).flatmap(
    lambda values: st.tuples(st.just(values), st.integers(1, len(values)))
)


def generator(seed=0):
    return np.random.default_rng(seed)


def test_known_values_of_the_best_three_of_five():
    assert expected_best(TRIALS, 3, higher_is_better=True) == pytest.approx(6.9, abs=1e-12)
    assert expected_best(TRIALS, 3, higher_is_better=True, estimator="plug-in") == pytest.approx(6.124, abs=1e-12)
    assert expected_best(TRIALS, 3, higher_is_better=False) == pytest.approx(1.35, abs=1e-12)


@given(trials_and_n, st.booleans())
def test_unbiased_form_is_the_mean_best_of_all_subsets(case, higher_is_better):
    values, n = case
    best = max if higher_is_better else min
    subsets = [best(chosen) for chosen in itertools.combinations(values, n)]
    ours = expected_best(values, n, higher_is_better=higher_is_better)
    assert ours == pytest.approx(np.mean(subsets), rel=1e-9, abs=1e-9)


@given(trials_and_n.filter(lambda case: len(case[0]) ** case[1] <= 4096), st.booleans())
def test_plug_in_form_is_the_mean_best_of_all_draws_with_replacement(case, higher_is_better):
    values, n = case
    best = max if higher_is_better else min
    draws = [best(drawn) for drawn in itertools.product(values, repeat=n)]
    ours = expected_best(values, n, higher_is_better=higher_is_better, estimator="plug-in")
    assert ours == pytest.approx(np.mean(draws), rel=1e-9, abs=1e-9)


def test_smallest_time_has_the_published_closed_form():
    times = sorted(TRIALS)
    for n in range(1, 6):
        closed = sum(t * math.comb(5 - i, n - 1) for i, t in enumerate(times, start=1)) / math.comb(5, n)
        assert expected_best(TRIALS, n, higher_is_better=False) == pytest.approx(closed, rel=1e-12)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8))
def test_more_trials_are_never_expected_to_be_worse_and_the_plug_in_underrates_them(values):
    unbiased = [expected_best(values, n, higher_is_better=True) for n in range(1, len(values) + 1)]
    plug_in = [expected_best(values, n, higher_is_better=True, estimator="plug-in") for n in range(1, len(values) + 1)]
    assert unbiased[0] == pytest.approx(np.mean(values), abs=1e-9)
    assert unbiased[-1] == pytest.approx(max(values), abs=1e-9)
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(unbiased))
    assert all(p <= u + 1e-9 for p, u in zip(plug_in, unbiased, strict=True))


def test_unbiased_form_is_right_on_average_where_the_plug_in_is_not():
    # Expected maximum of 4 standard normals: 1.0294. 4000 searches of 6 trials: standard error about 0.010.
    searches = generator(1).normal(size=(4000, 6))
    unbiased = np.mean([expected_best(row, 4, higher_is_better=True) for row in searches])
    plug_in = np.mean([expected_best(row, 4, higher_is_better=True, estimator="plug-in") for row in searches])
    assert unbiased == pytest.approx(1.0294, abs=0.04)
    assert plug_in < 0.95


def test_curve_gives_expected_best_against_the_cost_of_all_trials():
    curve = tuning_curve([0.5, 0.9, 0.7], [10.0, 20.0, 30.0], higher_is_better=True)
    assert [point.cost for point in curve] == [20.0, 40.0, 60.0]
    assert [point.n for point in curve] == [1, 2, 3]
    assert [point.expected for point in curve] == [
        pytest.approx(0.7),
        pytest.approx((0.9 + 0.7 + 0.9) / 3),
        pytest.approx(0.9),
    ]
    plug_in = tuning_curve([1.0, 2.0], [0.0, 1.0], higher_is_better=False, estimator="plug-in")
    assert plug_in == (TuningPoint(1, 0.5, 1.5), TuningPoint(2, 1.0, 1.25))


def test_failed_trials_count_until_n_trials_cannot_all_fail():
    times = [5.0, math.inf, 3.0, math.inf]
    assert expected_best(times, 2, higher_is_better=False) == math.inf
    assert expected_best(times, 3, higher_is_better=False) == pytest.approx((3 + 3 + 3 + 5) / 4)
    assert expected_best([0.5, -math.inf], 1, higher_is_better=True) == -math.inf
    assert expected_best([0.5, -math.inf], 2, higher_is_better=True) == 0.5


def test_interval_of_one_search_has_the_exact_quantiles_of_a_resampled_best():
    # Best of 5 drawn from 1..5: P(best <= k) = (k / 5)^5; 0.0003, 0.0102, 0.0778, 0.3277, 1.
    interval = tuned_interval([[4.0, 1.0, 5.0, 2.0, 3.0]], 5, higher_is_better=True, generator=generator())
    assert (interval.low, interval.mean, interval.high, interval.n) == (3.0, 5.0, 5.0, 5)
    narrower = tuned_interval(
        [[4.0, 1.0, 5.0, 2.0, 3.0]], 5, higher_is_better=True, generator=generator(), confidence=0.5
    )
    assert (narrower.low, narrower.confidence) == (4.0, 0.5)
    times = tuned_interval([[4.0, 1.0, 5.0, 2.0, 3.0]], 5, higher_is_better=False, generator=generator())
    assert (times.low, times.mean, times.high) == (1.0, 1.0, 3.0)


def test_studies_are_joined_by_their_median():
    interval = tuned_interval([[1.0], [2.0, 2.0], [90.0]], 1, higher_is_better=False, generator=generator())
    assert (interval.low, interval.mean, interval.high, interval.n) == (2.0, 2.0, 2.0, 1)


def test_interval_of_several_searches_has_the_quantiles_of_all_possible_resamples():
    missed = TargetTime(99.0, None)
    searches = [(9.0, 4.0, math.inf), (6.0, 7.0, 8.0), (5.0, math.inf, 10.0)]
    best = [[min(draw) for draw in itertools.product(times, repeat=3)] for times in searches]
    medians = [np.median(draw) for draw in itertools.product(*best)]
    low, high = np.quantile(medians, [0.05, 0.95], method="inverted_cdf")
    interval = tuned_interval(searches, 3, higher_is_better=False, generator=generator(), confidence=0.9)
    assert (interval.mean, interval.low, interval.high, interval.n) == (5.0, low, high, 3)
    assert interval.mean == study_time([[missed if t == math.inf else TargetTime(0.0, t) for t in s] for s in searches])


def test_searches_of_one_trial_have_no_interval():
    interval = tuned_interval([[3.0], [4.0]], 1, higher_is_better=False, generator=generator())
    assert (interval.mean, interval.low, interval.high) == (3.5, None, None)


def test_fewer_trials_than_were_run_are_expected_to_reach_less():
    values = list(generator(2).normal(size=20))
    best = [
        tuned_interval([values], n, higher_is_better=True, generator=generator(), resamples=500) for n in (1, 5, 20)
    ]
    assert best[0].mean < best[1].mean < best[2].mean == max(values)
    assert best[0].mean == pytest.approx(np.mean(values))
    assert best[2].high == max(values)  # nothing beyond the best trial seen


def test_an_end_is_infinite_where_a_search_may_miss_its_target():
    interval = tuned_interval([[3.0, math.inf, 5.0, math.inf]], 4, higher_is_better=False, generator=generator())
    assert (interval.low, interval.mean, interval.high) == (3.0, 3.0, math.inf)


def test_same_generator_state_same_interval():
    values = [list(generator(3).normal(size=8))]

    def interval(seed):
        return tuned_interval(values, 4, higher_is_better=True, generator=generator(seed), resamples=300)

    assert interval(1) == interval(1)
    assert interval(1) != interval(2)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: expected_best([1.0, 2.0], 3, higher_is_better=True), "the 2 that were run, got 3"),
        (lambda: expected_best([1.0, 2.0], 0, higher_is_better=True), "got 0"),
        (lambda: expected_best([1.0, math.nan], 1, higher_is_better=True), "cannot be NaN"),
        (lambda: expected_best([1.0, math.inf], 1, higher_is_better=True), "a failed trial is -inf"),
        (lambda: expected_best([1.0, -math.inf], 1, higher_is_better=False), "a failed trial is inf"),
        (lambda: expected_best([1.0], 1, higher_is_better=True, estimator="mean"), "unknown estimator 'mean'"),
        (lambda: tuning_curve([1.0, 2.0], [1.0], higher_is_better=True), "2 values and 1 costs"),
        (lambda: tuning_curve([1.0], [-1.0], higher_is_better=True), r"got \[-1.0\]"),
        (lambda: tuning_curve([], [], higher_is_better=True), "no trials"),
        (lambda: tuned_interval([], 1, higher_is_better=True, generator=generator()), "at least one run"),
        (lambda: tuned_interval([[1.0]], 2, higher_is_better=True, generator=generator()), "the 1 that were run"),
    ],
)
def test_impossible_input_is_refused(call, match):
    with pytest.raises(InputError, match=match):
        call()
