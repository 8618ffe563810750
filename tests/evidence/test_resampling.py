"""Bootstrap: exact distributions of small samples, coverage, determinism, refusals."""

import math

import numpy as np
import pytest
import scipy.stats

from paretorch.errors import InputError
from paretorch.evidence.resampling import bca_interval, bootstrap_distribution, percentile_interval


def generator(seed=0):
    return np.random.default_rng(seed)


def mean(sample):
    return sample.mean(axis=1)


def test_resampled_means_of_three_values_have_their_exact_probabilities():
    # 27 equally likely resamples of {0, 1, 3}; 40 000 draws: standard error at most 0.25 %.
    exact = {(x + y + z) for x in (0, 1, 3) for y in (0, 1, 3) for z in (0, 1, 3)}
    share = {s: sum(x + y + z == s for x in (0, 1, 3) for y in (0, 1, 3) for z in (0, 1, 3)) / 27 for s in exact}
    sums = bootstrap_distribution([[0.0, 1.0, 3.0]], lambda x: x.sum(axis=1), generator=generator(), resamples=40_000)
    assert set(sums) == exact
    for value, probability in share.items():
        assert np.mean(sums == value) == pytest.approx(probability, abs=0.012)


def test_samples_are_resampled_each_by_itself():
    digits = np.arange(5.0)
    pairs = bootstrap_distribution(
        [digits, digits + 10], lambda a, b: np.stack([a[:, 0], b[:, 0]], axis=1), generator=generator()
    )
    assert pairs.shape == (9999, 2)
    assert set(pairs[:, 0]) == set(digits)
    assert set(pairs[:, 1]) == set(digits + 10)
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 0.04


def test_what_belongs_to_one_run_stays_together():
    runs = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    drawn = bootstrap_distribution([runs], lambda x: x, generator=generator(), resamples=200)
    assert drawn.shape == (200, 3, 2)
    np.testing.assert_array_equal(drawn[..., 1], 10 * drawn[..., 0])


def test_batches_change_nothing_but_memory(monkeypatch):
    sample = [list(generator().normal(size=7))]
    whole = bootstrap_distribution(sample, mean, generator=generator(3), resamples=1000)
    monkeypatch.setattr("paretorch.evidence.resampling._BATCH_ELEMENTS", 7 * 300)
    parts = bootstrap_distribution(sample, mean, generator=generator(3), resamples=1000)
    assert parts.shape == (1000,)
    np.testing.assert_array_equal(parts, whole)


def test_percentile_interval_agrees_with_scipys():
    sample = list(generator(5).normal(size=12))
    ours = percentile_interval([sample], mean, generator=generator(), confidence=0.9)
    theirs = scipy.stats.bootstrap(
        (sample,), np.mean, method="percentile", confidence_level=0.9, rng=generator(1)
    ).confidence_interval
    assert (ours.mean, ours.n, ours.confidence) == (pytest.approx(np.mean(sample)), 12, 0.9)
    assert ours.low == pytest.approx(theirs.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.high, abs=0.02)


def test_ends_may_be_infinite_where_runs_did_not_arrive():
    interval = percentile_interval([[1.0, 2.0, math.inf]], lambda x: np.median(x, axis=1), generator=generator())
    assert (interval.low, interval.mean, interval.high) == (1.0, 2.0, math.inf)


def test_one_run_per_sample_has_no_interval():
    interval = percentile_interval([[4.0], [1.0]], lambda a, b: (a - b)[:, 0], generator=generator())
    assert (interval.mean, interval.low, interval.high, interval.n) == (3.0, None, None, 1)


def test_same_generator_state_same_interval_and_the_global_one_is_not_touched():
    sample = [list(generator(7).normal(size=11))]
    before = np.random.get_state()[1].copy()
    for interval in (
        lambda seed: percentile_interval(sample, mean, generator=generator(seed)),
        lambda seed: bca_interval(sample, generator=generator(seed)),
    ):
        assert interval(1) == interval(1)
        assert interval(1) != interval(2)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_percentile_bootstrap_of_three_seeds_covers_far_less_than_it_says():
    # The reason for Student's interval below ten seeds: 0.73 instead of 0.95.
    random = generator(11)
    covered = [
        percentile_interval([row], mean, generator=random, resamples=500).contains(0.0)
        for row in random.normal(size=(1500, 3))
    ]
    assert 0.68 < np.mean(covered) < 0.78


def test_bca_of_ten_seeds_covers_nearly_as_often_as_it_says():
    random = generator(12)
    covered = [
        bca_interval([row], generator=random, resamples=500).contains(0.0) for row in random.normal(size=(600, 10))
    ]
    assert 0.88 < np.mean(covered) < 0.95


def test_bca_follows_the_skew_of_the_data():
    skewed = list(generator(13).lognormal(sigma=1.2, size=30))
    bca = bca_interval([skewed], generator=generator())
    assert bca.high - bca.mean > 1.2 * (bca.mean - bca.low)
    plain = percentile_interval([skewed], mean, generator=generator())
    assert bca.low > plain.low
    assert bca.high > plain.high


def test_bca_of_two_samples_is_of_the_difference_of_their_means():
    a, b = generator(14).normal(5, 1, size=(2, 200))
    interval = bca_interval([a, b[:150]], generator=generator())
    assert interval.mean == pytest.approx(a.mean() - b[:150].mean())
    assert interval.n == 150
    half = 1.96 * math.sqrt(a.var(ddof=1) / 200 + b[:150].var(ddof=1) / 150)  # normal approximation
    assert interval.half_width == pytest.approx(half, rel=0.05)


def test_bca_of_values_that_are_all_the_same_does_not_exist():
    assert bca_interval([[0.1 * 3, 0.3, 0.3]], generator=generator()) is None
    assert bca_interval([[1.0, 1.0], [2.0, 2.0]], generator=generator()) is None
    assert bca_interval([[1.0, 1.0], [2.0, 3.0]], generator=generator()) is not None


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: bootstrap_distribution([], mean, generator=generator()), "at least one run"),
        (lambda: bootstrap_distribution([[1.0], []], mean, generator=generator()), "leave empty arms out"),
        (lambda: bootstrap_distribution([[1.0, math.nan]], mean, generator=generator()), "NaN"),
        (lambda: bootstrap_distribution([[1.0]], mean, generator=generator(), resamples=99), "100 resamples, got 99"),
        (lambda: percentile_interval([[1.0]], mean, generator=generator(), confidence=95), "pass 0.95"),
        (lambda: bca_interval([[1.0, 2.0]], generator=generator(), confidence=0), "got 0"),
        (lambda: bca_interval([[1.0]], generator=generator()), r"sizes \[1\]"),
        (lambda: bca_interval([[1.0, 2.0]] * 3, generator=generator()), r"sizes \[2, 2, 2\]"),
    ],
)
def test_impossible_input_is_refused(call, match):
    with pytest.raises(InputError, match=match):
        call()
