"""Aggregates over runs and tasks: closed forms, loops over pairs, strata, coverage, determinism."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.aggregates import (
    interquartile_mean,
    log_speed,
    normalise,
    optimality_gap,
    probability_of_improvement,
    profile_band,
    score_profile,
    stratified_interval,
)
from paretorch.evidence.resampling import bootstrap_distribution

grades = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])  # few levels, so that ties occur
matrices = arrays(float, st.tuples(st.integers(1, 4), st.just(3)), elements=grades)


def generator(seed=0):
    return np.random.default_rng(seed)


def mean_score(scores):
    return scores.mean(axis=(-2, -1))


@given(arrays(float, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.floats(-10, 10)))
def test_interquartile_mean_is_scipys_trimmed_mean_of_all_scores(scores):
    assert interquartile_mean(scores) == pytest.approx(scipy.stats.trim_mean(scores.ravel(), 0.25), abs=1e-12)


def test_interquartile_mean_cuts_whole_scores_only():
    assert interquartile_mean([[0.0, 1.0, 9.0]]) == pytest.approx(10 / 3)  # 3 / 4 rounds down to nothing
    assert interquartile_mean([[0.0, 1.0], [3.0, 100.0]]) == 2.0
    assert interquartile_mean([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 100.0]]) == 3.0  # one per side of seven


def test_interquartile_mean_pools_tasks_and_not_their_means():
    # The middle half of all scores; the median of the task means would be 50.5.
    scores = np.array([[0.0, 100.0], [1.0, 101.0], [2.0, 99.0], [1.0, 100.0]])
    assert interquartile_mean(scores) == pytest.approx((1 + 2 + 99 + 100) / 4)
    assert interquartile_mean(scores[::-1, ::-1]) == interquartile_mean(scores)


def test_optimality_gap_ignores_what_exceeds_the_target():
    assert optimality_gap([[0.5, 3.0]]) == pytest.approx(0.25)
    assert optimality_gap([[1.0, 2.0]]) == 0.0
    assert optimality_gap([[0.5, 3.0]], target=2.0) == pytest.approx(0.75)


@given(matrices, matrices)
def test_probability_of_improvement_is_the_share_of_won_pairs_ties_half(a, b):
    wins = [
        sum((x > y) + 0.5 * (x == y) for x in a[:, task] for y in b[:, task]) / (len(a) * len(b)) for task in range(3)
    ]
    assert probability_of_improvement(a, b) == pytest.approx(np.mean(wins))
    assert probability_of_improvement(a, b) + probability_of_improvement(b, a) == pytest.approx(1.0)


@given(matrices)
def test_score_profile_is_strict_and_its_area_is_the_mean(scores):
    levels = [0.0, 0.25, 0.5, 0.75, 1.0]
    profile = score_profile(scores, thresholds=levels)
    assert profile.tolist() == [np.mean(scores > level) for level in levels]
    assert profile[-1] == 0.0  # no score exceeds the highest grade
    assert 0.25 * profile[:-1].sum() == pytest.approx(scores.mean())  # the profile is constant between grades


def test_every_aggregate_keeps_leading_axes():
    stack = generator().normal(size=(6, 3, 4))
    for aggregate in (
        interquartile_mean,
        optimality_gap,
        lambda x: probability_of_improvement(x, x[..., ::-1, :] + 0.1),
        lambda x: score_profile(x, thresholds=[0.0, 0.5]),
    ):
        np.testing.assert_allclose(aggregate(stack), [aggregate(matrix) for matrix in stack], rtol=1e-12)


def test_normalised_scores_are_zero_and_one_at_the_anchors_in_either_direction():
    scores = np.array([[0.5, 10.0], [0.9, 4.0], [0.7, 7.0]])  # accuracy, and an error where lower is better
    expected = [[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]]
    np.testing.assert_allclose(normalise(scores, zero=[0.5, 10.0], one=[0.9, 4.0]), expected)


def test_a_score_does_not_depend_on_who_else_is_in_the_pool():
    anchors = {"zero": [0.0, 1.0], "one": [1.0, 3.0]}
    alone = normalise([[0.4, 2.0]], **anchors)
    pool = normalise([[0.4, 2.0], [50.0, -7.0]], **anchors)
    np.testing.assert_array_equal(pool[:1], alone)


def test_log_speed_is_zero_at_the_reference_and_symmetric():
    speeds = log_speed([[10.0, 2.0], [5.0, 8.0]], reference=[10.0, 4.0])
    np.testing.assert_allclose(speeds, [[0.0, math.log(2)], [math.log(2), -math.log(2)]])


def test_runs_are_resampled_independently_within_each_task():
    # Every task has the same scores, so whole runs resampled jointly would give 2.8 times the spread.
    column = generator(1).normal(size=4)
    scores = np.repeat(column[:, None], 8, axis=1)
    interval = stratified_interval(scores, statistic=mean_score, generator=generator())
    standard_error = column.std() / math.sqrt(4 * 8)
    assert interval.half_width == pytest.approx(1.96 * standard_error, rel=0.05)
    assert (interval.mean, interval.n) == (pytest.approx(column.mean()), 4)


def test_no_score_moves_to_another_task():
    scores = np.array([[0.0, 100.0], [1.0, 101.0]])
    seen = []
    stratified_interval(scores, statistic=lambda s: seen.append(s) or mean_score(s), generator=generator())
    drawn = seen[-1]
    assert drawn.shape[1:] == (2, 2)
    assert set(drawn[..., 0].ravel()) == {0.0, 1.0}
    assert set(drawn[..., 1].ravel()) == {100.0, 101.0}


def test_two_arms_with_different_numbers_of_runs_are_resampled_each_by_itself():
    a, b = generator(2).normal(0.5, 1, size=(12, 5)), generator(3).normal(size=(9, 5))
    interval = stratified_interval(a, b, statistic=probability_of_improvement, generator=generator(), resamples=2000)
    assert interval.mean == pytest.approx(probability_of_improvement(a, b))
    assert interval.n == 9
    assert interval.low < interval.mean < interval.high
    swapped = stratified_interval(b, a, statistic=probability_of_improvement, generator=generator(), resamples=2000)
    assert swapped.low == pytest.approx(1 - interval.high, abs=0.02)


def test_same_generator_state_same_interval_and_the_global_one_is_not_touched():
    scores = generator(4).normal(size=(5, 3))
    before = np.random.get_state()[1].copy()

    def interval(seed):
        return stratified_interval(scores, statistic=interquartile_mean, generator=generator(seed), resamples=500)

    assert interval(1) == interval(1)
    assert interval(1) != interval(2)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_interval_of_three_runs_of_eight_tasks_covers_less_than_it_says():
    # The known weakness: 0.88 instead of 0.95. 600 draws: standard error 1.4 %.
    random = generator(5)
    covered = [
        stratified_interval(scores, statistic=interquartile_mean, generator=random, resamples=400).contains(0.0)
        for scores in random.normal(size=(600, 3, 8))
    ]
    assert 0.82 < np.mean(covered) < 0.92


def test_profile_band_holds_the_quantiles_of_resampled_profiles():
    scores = generator(6).uniform(size=(5, 4))
    levels = [0.2, 0.5, 2.0]
    low, high = profile_band(scores, thresholds=levels, generator=generator(1), confidence=0.9, resamples=1000)
    profile = score_profile(scores, thresholds=levels)
    assert (low <= profile).all()
    assert (profile <= high).all()
    assert (low[2], high[2]) == (0.0, 0.0)
    at_half = bootstrap_distribution(
        list(scores.T),
        lambda *tasks: (np.stack(tasks, axis=-1) > 0.5).mean(axis=(1, 2)),
        generator=generator(1),
        resamples=1000,
    )
    assert np.mean(at_half < low[1]) < 0.05 <= np.mean(at_half <= low[1])
    assert np.mean(at_half > high[1]) <= 0.05 <= np.mean(at_half >= high[1])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: normalise([1.0], zero=[0.0], one=[1.0]), r"got shape \(1,\)"),
        (lambda: normalise([[1.0, 2.0]], zero=[0.0], one=[1.0, 1.0]), r"2 in all, got \[0.0\]"),
        (lambda: normalise([[1.0, 2.0]], zero=[0.0, 3.0], one=[1.0, 3.0]), "task 1 are both 3.0"),
        (lambda: normalise([[math.nan]], zero=[0.0], one=[1.0]), "finite"),
        (lambda: log_speed([[0.0]], reference=[1.0]), "times must be positive"),
        (lambda: log_speed([[1.0]], reference=[-1.0]), "times must be positive"),
        (lambda: log_speed([[1.0]], reference=[math.inf]), "one finite number per task"),
        (lambda: stratified_interval([[]], statistic=mean_score, generator=generator()), r"got shape \(1, 0\)"),
        (
            lambda: stratified_interval([[1.0]], statistic=mean_score, generator=generator(), confidence=95),
            "pass 0.95",
        ),
        (lambda: stratified_interval(statistic=mean_score, generator=generator()), "at least one run"),
    ],
)
def test_impossible_input_is_refused(call, match):
    with pytest.raises(InputError, match=match):
        call()


def test_arms_of_different_tasks_are_not_compared():
    with pytest.raises(NotComparableError, match="got 2 and 3"):
        probability_of_improvement(np.zeros((2, 2)), np.zeros((2, 3)))
