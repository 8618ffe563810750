"""Intervals: known values, coverage, symmetries, refusals."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.statistics import (
    Interval,
    logarithms,
    mean_interval,
    paired_differences,
    paired_interval,
    rate_interval,
    ratio_interval,
    time_reduction,
    unpaired_interval,
    unpaired_ratio_interval,
)

values = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8)


def test_interval_of_one_two_three_is_the_textbook_one():
    interval = mean_interval([1.0, 2.0, 3.0])
    half = 4.302652729749464 / math.sqrt(3)  # t(0.975, 2) from tables; s = 1
    assert (interval.mean, interval.n) == (2.0, 3)
    assert interval.low == pytest.approx(2 - half, rel=1e-12)
    assert interval.high == pytest.approx(2 + half, rel=1e-12)


@given(values, st.floats(0.5, 0.99))
def test_interval_equals_scipys_own(sample, confidence):
    interval = mean_interval(sample, confidence=confidence)
    if (scale := scipy.stats.sem(sample)) > 1e-9:
        low, high = scipy.stats.t.interval(confidence, len(sample) - 1, loc=np.mean(sample), scale=scale)
        assert interval.low == pytest.approx(low, rel=1e-9, abs=1e-9)
        assert interval.high == pytest.approx(high, rel=1e-9, abs=1e-9)


def test_three_seed_interval_covers_as_often_as_it_says():
    # 95 % nominal, 4000 draws: standard error 0.35 %; a percentile bootstrap would cover about 73 %.
    draws = np.random.default_rng(0).normal(size=(4000, 3))
    covered = [mean_interval(list(row)).contains(0.0) for row in draws]
    assert 0.935 < np.mean(covered) < 0.965


def test_one_value_has_no_interval_and_excludes_nothing():
    interval = mean_interval([0.9])
    assert (interval.mean, interval.low, interval.high, interval.n) == (0.9, None, None, 1)
    assert interval.half_width is None
    assert interval.contains(123.0)


def test_interval_contains_its_ends_and_nothing_outside():
    interval = Interval(2.0, 1.0, 3.0, 5)
    assert interval.contains(1.0)
    assert interval.contains(3.0)
    assert not interval.contains(0.999)
    assert not interval.contains(3.001)


@pytest.mark.parametrize(("n", "low_n"), [(1, True), (4, True), (5, False), (20, False)])
def test_fewer_than_five_values_are_marked_low_n(n, low_n):
    interval = mean_interval([float(i) for i in range(n)])
    assert interval.low_n is low_n
    assert ("low-n" in interval.text()) is low_n


def test_text_shows_mean_spread_and_number_of_seeds():
    assert Interval(91.31, 90.91, 91.71, 3).text() == "91.3 ± 0.4 (n=3, low-n)"
    assert Interval(91.31, 90.91, 91.71, 6).text(digits=2) == "91.31 ± 0.40 (n=6)"
    assert Interval(91.31, None, None, 1).text() == "91.3 (n=1, low-n)"


def test_scaling_an_interval_scales_mean_and_ends_only():
    assert Interval(0.5, 0.25, 0.75, 3, 0.9).scaled(100) == Interval(50.0, 25.0, 75.0, 3, 0.9)
    assert Interval(0.5, None, None, 1).scaled(100) == Interval(50.0, None, None, 1)


def test_pairing_removes_what_the_seeds_share():
    shared = [0.70, 0.80, 0.90]
    better = [v + d for v, d in zip(shared, [0.010, 0.012, 0.011], strict=True)]
    paired = paired_interval(better, shared)
    assert paired.mean == pytest.approx(0.011)
    assert not paired.contains(0.0)
    assert mean_interval(better).contains(mean_interval(shared).mean)  # unpaired, the seeds' spread hides it


@given(values)
def test_difference_with_itself_is_zero_and_swapping_changes_the_sign(sample):
    assert paired_interval(sample, sample) == Interval(0.0, 0.0, 0.0, len(sample))
    other = sample[::-1]
    there, back = paired_interval(sample, other), paired_interval(other, sample)
    assert there.mean == pytest.approx(-back.mean, abs=1e-12)
    assert there.low == pytest.approx(-back.high, abs=1e-9)


def test_mappings_are_paired_by_seed_not_by_order():
    assert paired_interval({0: 1.0, 1: 5.0}, {1: 4.0, 0: 0.0}).mean == 1.0
    assert paired_interval({0: 1.0, 1: 5.0}, {1: 4.0, 0: 0.0}).half_width == 0.0


@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=6), st.floats(0.1, 10))
def test_ratio_of_a_scaled_cost_is_the_scale(costs, scale):
    ratio = ratio_interval([c * scale for c in costs], costs)
    assert ratio.mean == pytest.approx(scale, rel=1e-9)
    assert ratio.low == pytest.approx(scale, rel=1e-6)
    assert ratio.high == pytest.approx(scale, rel=1e-6)


def test_ratio_is_a_geometric_mean_and_swaps_to_its_reciprocal():
    there, back = ratio_interval([1.0, 4.0], [1.0, 1.0]), ratio_interval([1.0, 1.0], [1.0, 4.0])
    assert there.mean == pytest.approx(2.0)
    assert there.mean * back.mean == pytest.approx(1.0)
    assert there.low * back.high == pytest.approx(1.0)


@given(values, values, st.floats(0.5, 0.99))
def test_unpaired_interval_equals_scipys_welch(a, b, confidence):
    interval = unpaired_interval(a, b, confidence=confidence)
    if min(np.std(a), np.std(b)) > 1e-6:  # scipy warns of lost precision below
        low, high = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval(confidence)
        assert interval.mean == pytest.approx(np.mean(a) - np.mean(b), abs=1e-9)
        assert interval.low == pytest.approx(low, rel=1e-9, abs=1e-9)
        assert interval.high == pytest.approx(high, rel=1e-9, abs=1e-9)


def test_equal_variances_and_sizes_have_the_pooled_degrees_of_freedom():
    interval = unpaired_interval([1.0, 2.0, 3.0], [11.0, 12.0, 13.0])
    assert interval.half_width == pytest.approx(2.7764451051977934 * math.sqrt(2 / 3), rel=1e-12)  # t(0.975, 4)
    assert (interval.mean, interval.n) == (-10.0, 3)


def test_unpaired_interval_holds_its_level_where_variances_and_sizes_differ():
    # The pooled test of equal variances would exclude 0 in 28 % of these cases. 2000 draws: standard error 0.5 %.
    random = np.random.default_rng(1)
    a, b = random.normal(scale=5, size=(2000, 4)), random.normal(scale=1, size=(2000, 12))
    missed = [not unpaired_interval(list(x), list(y)).contains(0.0) for x, y in zip(a, b, strict=True)]
    assert 0.03 < np.mean(missed) < 0.07


def test_paired_interval_holds_its_level_where_seeds_share_a_large_variance():
    random = np.random.default_rng(2)
    shared = random.normal(scale=10, size=(2000, 5))
    a, b = (shared + random.normal(size=(2000, 5)) for _ in range(2))
    missed = [not paired_interval(list(x), list(y)).contains(0.0) for x, y in zip(a, b, strict=True)]
    assert 0.035 < np.mean(missed) < 0.065
    assert np.mean([unpaired_interval(list(x), list(y)).contains(0.0) for x, y in zip(a, b, strict=True)]) > 0.99


def test_arms_without_spread_differ_by_exactly_their_difference():
    assert unpaired_interval([3.0, 3.0], [1.0, 1.0, 1.0]) == Interval(2.0, 2.0, 2.0, 2)
    tiny = unpaired_interval([1.0, 1.0 + 1e-15], [0.0, 1e-160])  # squared variances underflow
    assert math.isfinite(tiny.low)


def test_one_run_in_an_arm_leaves_an_unpaired_difference_without_an_interval():
    interval = unpaired_interval([3.0], {4: 1.0, 5: 2.0})
    assert (interval.mean, interval.low, interval.high, interval.n) == (1.5, None, None, 1)


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=6), st.lists(st.floats(0.1, 10), min_size=2, max_size=6))
def test_unpaired_ratio_is_one_of_geometric_means_and_swaps_to_its_reciprocal(a, b):
    there, back = unpaired_ratio_interval(a, b), unpaired_ratio_interval(b, a)
    assert there.mean == pytest.approx(scipy.stats.gmean(a) / scipy.stats.gmean(b))
    assert there.low * back.high == pytest.approx(1.0)
    assert there.low <= there.mean <= there.high


def test_logarithms_keep_the_seeds():
    assert logarithms({3: math.e, 1: 1.0}) == {3: 1.0, 1: 0.0}
    assert logarithms([1.0, math.e]) == [0.0, 1.0]


def test_differences_of_mappings_are_in_the_order_of_the_seeds():
    assert paired_differences({2: 20.0, 1: 10.0}, {1: 1.0, 2: 2.0}) == [9.0, 18.0]


@given(st.integers(1, 60), st.data())
def test_ends_of_a_rate_are_the_rates_one_quantile_away_from_it(total, data):
    count = data.draw(st.integers(0, total))
    interval = rate_interval(count, total, confidence=0.9)
    z = 1.6448536269514722  # normal quantile of 0.95
    for end in (interval.low, interval.high):
        assert abs(count / total - end) == pytest.approx(z * math.sqrt(end * (1 - end) / total), abs=1e-7)
    assert 0 <= interval.low <= count / total <= interval.high <= 1


def test_no_failure_in_ten_runs_does_not_exclude_a_failure_rate_of_a_quarter():
    interval = rate_interval(0, 10)
    assert (interval.low, interval.n, interval.confidence) == (0.0, 10, 0.95)
    assert interval.high == pytest.approx(0.27753, abs=1e-5)  # z^2 / (10 + z^2)


def test_time_reduction_tells_less_time_from_more_speed():
    assert time_reduction(1.39) == pytest.approx(0.28, abs=0.001)
    assert time_reduction(1.28) == pytest.approx(0.219, abs=0.001)
    assert (time_reduction(1.0), time_reduction(0.5), time_reduction(math.inf)) == (0.0, -1.0, 1.0)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: mean_interval([]), "no values"),
        (lambda: mean_interval([1.0, math.nan]), "nan"),
        (lambda: mean_interval([1.0, math.inf]), "inf"),
        (lambda: mean_interval([1.0, 2.0], confidence=95), "pass 0.95"),
        (lambda: ratio_interval([1.0, 0.0], [1.0, 1.0]), r"positive finite costs, got \[0.0\]"),
        (lambda: ratio_interval([1.0, 2.0], [1.0, -1.0]), r"got \[-1.0\]"),
        (lambda: unpaired_interval([1.0, 2.0], []), "no values"),
        (lambda: unpaired_interval([1.0, 2.0], [1.0], confidence=1.0), "got 1.0"),
        (lambda: unpaired_ratio_interval([math.inf, 2.0], [1.0]), r"got \[inf\]"),
        (lambda: rate_interval(3, 2), "got 3 of 2"),
        (lambda: rate_interval(0, 0), "got 0 of 0"),
        (lambda: rate_interval(-1, 2), "got -1 of 2"),
        (lambda: rate_interval(1, 2, confidence=95), "pass 0.95"),
        (lambda: time_reduction(0.0), "positive ratio of times"),
        (lambda: time_reduction(math.nan), "got nan"),
    ],
)
def test_impossible_values_are_refused(call, match):
    with pytest.raises(InputError, match=match):
        call()


@pytest.mark.parametrize(
    ("a", "b", "match"),
    [
        ([1.0, 2.0], [1.0], "2 values against 1"),
        ({0: 1.0, 1: 2.0}, {0: 1.0, 2: 2.0}, r"\[0, 1\] against \[0, 2\]"),
        ({0: 1.0}, [1.0], "same form"),
    ],
)
def test_runs_of_different_seeds_are_not_paired(a, b, match):
    with pytest.raises(NotComparableError, match=match):
        paired_interval(a, b)
