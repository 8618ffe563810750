"""Intervals: known values, coverage, symmetries, refusals."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.statistics import Interval, mean_interval, paired_interval, ratio_interval

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


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: mean_interval([]), "no values"),
        (lambda: mean_interval([1.0, math.nan]), "nan"),
        (lambda: mean_interval([1.0, math.inf]), "inf"),
        (lambda: mean_interval([1.0, 2.0], confidence=95), "pass 0.95"),
        (lambda: ratio_interval([1.0, 0.0], [1.0, 1.0]), r"positive finite costs, got \[0.0\]"),
        (lambda: ratio_interval([1.0, 2.0], [1.0, -1.0]), r"got \[-1.0\]"),
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
