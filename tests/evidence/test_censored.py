"""Times to target: what counts as a hit, estimators by closed forms, brute force and scipy, misses never dropped."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import CensoredData, ecdf

from paretorch.errors import InputError
from paretorch.evidence.censored import (
    TargetTime,
    earliest,
    expected_running_time,
    median_time,
    penalised_mean,
    restricted_mean,
    success_rate,
    survival,
    time_to_target,
)

TEXTBOOK = [TargetTime(0, 1), TargetTime(1, 2), TargetTime(2, 3), TargetTime(4, None), TargetTime(4, None)]


def hit(time, before=0.0):
    return TargetTime(before, time)


def missed(time):
    return TargetTime(time, None)


ends = st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=9)


def runs_of(pairs):
    return [hit(float(time)) if reached else missed(float(time)) for time, reached in pairs]


def test_first_evaluation_at_the_target_is_the_hit_and_the_one_before_bounds_it():
    curve = [(10.0, 0.5), (20.0, 0.8), (30.0, 0.7), (40.0, 0.9)]
    assert time_to_target(curve, 0.8) == TargetTime(10.0, 20.0)
    assert time_to_target(curve, 0.5) == TargetTime(0.0, 10.0)
    assert time_to_target(curve, 0.81) == TargetTime(30.0, 40.0)
    assert time_to_target(curve, 0.95) == TargetTime(40.0, None)


def test_two_consecutive_evaluations_are_reached_at_the_second_of_them():
    curve = [(1.0, 0.9), (2.0, 0.1), (3.0, 0.9), (4.0, 0.9), (5.0, 0.9)]
    assert time_to_target(curve, 0.9, consecutive=2) == TargetTime(3.0, 4.0)
    assert time_to_target(curve[:3], 0.9, consecutive=2) == TargetTime(3.0, None)


def test_nan_meets_no_target_in_either_direction_and_breaks_a_streak():
    curve = [(1.0, math.nan), (2.0, math.nan)]
    assert not time_to_target(curve, 0.0).reached
    assert not time_to_target(curve, 0.0, higher_is_better=False).reached
    assert not time_to_target([(1.0, 0.9), (2.0, math.nan), (3.0, 0.9)], 0.9, consecutive=2).reached


def test_diverged_run_counts_as_missing_for_its_whole_budget():
    curve = [(1.0, 0.2), (2.0, math.nan)]
    assert time_to_target(curve, 0.9, tried_until=100.0) == TargetTime(100.0, None)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=12), st.floats(-1, 1), st.integers(1, 3))
def test_hit_equals_a_search_over_all_windows_and_direction_only_mirrors_it(metrics, target, consecutive):
    curve = [(float(k + 1), m) for k, m in enumerate(metrics)]
    windows = [k for k in range(consecutive, len(metrics) + 1) if min(metrics[k - consecutive : k]) >= target]
    found = time_to_target(curve, target, consecutive=consecutive)
    assert found.time == (windows[0] if windows else math.inf)
    assert found.low == (windows[0] - 1 if windows else len(metrics))
    mirrored = [(t, -m) for t, m in curve]
    assert time_to_target(mirrored, -target, higher_is_better=False, consecutive=consecutive) == found


def test_kaplan_meier_of_three_hits_and_two_misses_is_the_textbook_one():
    curve = survival(TEXTBOOK)
    assert curve.times == (1.0, 2.0, 3.0, 4.0)
    assert curve.share == pytest.approx((0.8, 0.6, 0.4, 0.4), rel=1e-12)
    assert median_time(TEXTBOOK) == 3.0
    assert restricted_mean(TEXTBOOK, horizon=4.0) == pytest.approx(1 + 0.8 + 0.6 + 0.4, rel=1e-12)
    assert expected_running_time(TEXTBOOK) == pytest.approx(14 / 3, rel=1e-12)
    assert penalised_mean(TEXTBOOK, budget=4.0, factor=2.0) == pytest.approx((1 + 2 + 3 + 8 + 8) / 5)
    assert penalised_mean(TEXTBOOK, budget=4.0) == pytest.approx((1 + 2 + 3 + 40 + 40) / 5)


@given(ends)
def test_kaplan_meier_equals_the_product_over_the_hits_so_far(pairs):
    curve = survival(runs_of(pairs))
    for time in np.arange(0, 7, 0.5):
        product = 1.0
        for moment in sorted({t for t, reached in pairs if reached and t <= time}):
            at_risk = sum(t >= moment for t, _ in pairs)
            product *= 1 - sum(t == moment and reached for t, reached in pairs) / at_risk
        assert curve.at(time) == pytest.approx(product, abs=1e-12)


@given(ends)
def test_kaplan_meier_equals_scipys(pairs):
    reference = ecdf(
        CensoredData(
            uncensored=[float(t) for t, reached in pairs if reached],
            right=[float(t) for t, reached in pairs if not reached],
        )
    ).sf
    curve = survival(runs_of(pairs))
    assert curve.times == tuple(reference.quantiles)
    assert [curve.at(t) for t in (0.0, 2.5, 99.0)] == pytest.approx(reference.evaluate([0.0, 2.5, 99.0]))


def test_survival_interval_is_exponential_greenwood_and_absent_where_it_has_no_value():
    curve = survival([hit(1.0), hit(2.0), missed(2.0)])
    # S(1) = 2/3, sum d / (n (n - d)) = 1/6; log(-log S) has standard error sqrt(1/6) / log(2/3)
    z, log_share = 1.959963984540054, math.log(2 / 3)
    low, high = (math.exp(log_share * math.exp(sign * z * math.sqrt(1 / 6) / -log_share)) for sign in (1, -1))
    assert (curve.low[0], curve.high[0]) == pytest.approx((low, high), rel=1e-9)
    assert survival([missed(3.0)]).low == (None,)
    assert survival([hit(1.0)]).high == (None,)
    narrow = survival([hit(1.0), hit(2.0), missed(2.0)], confidence=0.5)
    assert curve.low[0] < narrow.low[0] < 2 / 3 < narrow.high[0] < curve.high[0]


@given(ends, st.floats(0.5, 6))
def test_restricted_mean_equals_a_fine_sum_under_the_curve(pairs, horizon):
    runs = runs_of(pairs)
    curve = survival(runs)
    assume(horizon <= curve.known_until)
    cuts = sorted({0.0, horizon, *(t for t in curve.times if t < horizon)})
    area = sum((b - a) * curve.at((a + b) / 2) for a, b in pairwise(cuts))
    assert restricted_mean(runs, horizon=horizon) == pytest.approx(area, rel=1e-9)


@given(st.lists(st.floats(0.1, 20), min_size=1, max_size=9), st.floats(0.5, 15))
def test_restricted_mean_is_the_plain_mean_where_every_time_up_to_the_horizon_is_known(times, horizon):
    runs = [hit(t) if t <= horizon else missed(horizon) for t in times]
    expected = np.mean([min(t, horizon) for t in times])
    assert restricted_mean(runs, horizon=horizon) == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.floats(0.1, 9), min_size=1, max_size=9), st.integers(1, 6))
def test_leaving_misses_out_would_flatter_every_estimate(times, misses):
    hits = [hit(t) for t in times]
    everybody = hits + [missed(10.0)] * misses
    assert median_time(everybody) >= median_time(hits)
    assert restricted_mean(everybody, horizon=10.0) > restricted_mean(hits, horizon=10.0)
    assert expected_running_time(everybody) > expected_running_time(hits)
    assert penalised_mean(everybody, budget=10.0) > penalised_mean(hits, budget=10.0)
    assert success_rate(everybody).mean < success_rate(hits).mean == 1.0


@pytest.mark.parametrize(
    ("times", "expected"), [([1, 2, 3, 4], 2), ([1, 2, 3], 2), ([1, 2, None, None], 2), ([1, None, None], math.inf)]
)
def test_median_is_the_first_time_at_which_half_of_the_runs_have_hit(times, expected):
    assert median_time([missed(9.0) if t is None else hit(float(t)) for t in times]) == expected


@given(st.lists(st.floats(1, 9), min_size=1, max_size=9), st.integers(0, 9))
def test_median_with_one_budget_is_the_lower_median_of_the_times_with_misses_infinite(times, misses):
    runs = [hit(t) for t in times] + [missed(10.0)] * misses
    ordered = sorted([*times, *[math.inf] * misses])
    assert median_time(runs) == ordered[(len(ordered) - 1) // 2]


def test_expected_running_time_counts_hits_after_the_budget_as_misses():
    assert expected_running_time([hit(1.0), hit(5.0)], budget=2.0) == 3.0  # (1 + 2) / 1
    assert expected_running_time([missed(4.0)]) == math.inf
    assert expected_running_time([hit(5.0)], budget=2.0) == math.inf


@given(st.integers(0, 12), st.integers(1, 12), st.floats(0.5, 0.99))
def test_success_rate_has_wilsons_interval(hits, n, confidence):
    assume(hits <= n)
    found = success_rate([hit(1.0)] * hits + [missed(3.0)] * (n - hits), confidence=confidence)
    from scipy.special import ndtri

    z, p = ndtri((1 + confidence) / 2), hits / n
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert (found.mean, found.n) == (p, n)
    assert found.low == pytest.approx((centre - half) / (1 + z * z / n), abs=1e-9)
    assert found.high == pytest.approx((centre + half) / (1 + z * z / n), abs=1e-9)


def test_success_within_a_budget_counts_later_hits_as_misses():
    assert success_rate([hit(1.0), hit(5.0), missed(9.0)], budget=4.0).mean == pytest.approx(1 / 3)


def test_earliest_possible_hits_bound_every_estimate_from_below():
    runs = [TargetTime(1.0, 2.0), TargetTime(3.0, 5.0), missed(6.0)]
    early = earliest(runs)
    assert [t.time for t in early] == [1.0, 3.0, math.inf]
    assert restricted_mean(early, horizon=6.0) == pytest.approx((1 + 3 + 6) / 3)
    assert restricted_mean(runs, horizon=6.0) == pytest.approx((2 + 5 + 6) / 3)


def test_time_comes_from_the_hits_of_a_record():
    assert TargetTime.of_hit({"target": 0.9, "step": 7, "t_lo": 1.0, "t_hi": 2.5}) == TargetTime(1.0, 2.5)
    assert not TargetTime.of_hit({"target": 0.9, "step": None, "t_lo": 8.0, "t_hi": None}).reached
    with pytest.raises(InputError, match=r"\['t_hi'\] is missing"):
        TargetTime.of_hit({"t_lo": 1.0})


def test_horizon_beyond_the_longest_miss_is_refused_and_beyond_the_last_hit_is_not():
    with pytest.raises(InputError, match=r"tried longest missed and stopped at 4.0"):
        restricted_mean(TEXTBOOK, horizon=4.5)
    assert restricted_mean([hit(1.0), hit(3.0)], horizon=100.0) == 2.0


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (2, 1), (math.nan, 1), (0, math.inf), (math.inf, None)])
def test_times_that_are_no_interval_are_refused(low, high):
    with pytest.raises(InputError, match="reached between two finite times"):
        TargetTime(low, high)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: time_to_target([], 0.5), "at least one evaluation"),
        (lambda: time_to_target([(1.0, 0.1), (1.0, 0.2)], 0.5), "increasing times"),
        (lambda: time_to_target([(1.0, 0.1)], math.nan), "target must be finite"),
        (lambda: time_to_target([(1.0, 0.1)], 0.5, consecutive=0), "consecutive"),
        (lambda: time_to_target([(9.0, 0.1)], 0.5, tried_until=8.0), "before the last evaluation at 9.0"),
        (lambda: survival([]), "no runs were given"),
        (lambda: survival(TEXTBOOK, confidence=95), "for 95 % pass 0.95"),
        (lambda: restricted_mean(TEXTBOOK, horizon=0.0), "horizon must be a positive"),
        (lambda: expected_running_time([]), "no runs were given"),
        (lambda: expected_running_time(TEXTBOOK, budget=-1.0), "budget must be a positive"),
        (lambda: penalised_mean(TEXTBOOK, budget=math.inf), "PAR-k needs a finite budget"),
        (lambda: penalised_mean(TEXTBOOK, budget=4.0, factor=0.5), "PAR-k"),
        (lambda: penalised_mean(TEXTBOOK, budget=5.0), "before the budget of 5.0"),
        (lambda: success_rate(TEXTBOOK, budget=5.0), "before the budget of 5.0"),
        (lambda: success_rate(TEXTBOOK, confidence=1.0), "confidence"),
    ],
)
def test_bad_input_is_refused_in_words(call, match):
    with pytest.raises(InputError, match=match):
        call()
