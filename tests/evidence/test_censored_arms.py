"""Two arms with misses: symmetries, brute force, coverage, and what is refused instead of reported."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.censored import TargetTime, restricted_mean
from paretorch.evidence.censored_arms import (
    common_horizon,
    restricted_mean_ratio,
    unequal_cadence,
    win_probability,
)


def hits(*times):
    return [TargetTime(0.0, float(t)) for t in times]


def misses(*times):
    return [TargetTime(float(t), None) for t in times]


def generator():
    return np.random.default_rng(7)


arms = st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=6).map(
    lambda pairs: [TargetTime(0.0, float(t)) if ok else TargetTime(float(t), None) for t, ok in pairs]
)


def test_ratio_is_that_of_the_two_restricted_means_and_says_who_missed():
    candidate, baseline = hits(1, 2) + misses(6), hits(4, 5) + misses(6, 8)
    found = restricted_mean_ratio(candidate, baseline, generator=generator())
    assert found.horizon == 6.0
    assert found.ratio.mean == pytest.approx(((4 + 5 + 6 + 6) / 4) / ((1 + 2 + 6) / 3))
    assert (found.missed_candidate, found.missed_baseline, found.ratio.n) == (1, 2, 3)
    expected = restricted_mean(baseline, horizon=6.0) / restricted_mean(candidate, horizon=6.0)
    assert found.ratio.mean == pytest.approx(expected)
    assert found.ratio.low < found.ratio.mean < found.ratio.high


def test_hit_after_the_horizon_counts_the_horizon():
    found = restricted_mean_ratio(hits(1, 9), hits(3, 9), generator=generator(), horizon=4.0)
    assert found.ratio.mean == pytest.approx((3 + 4) / (1 + 4))
    assert (found.missed_candidate, found.missed_baseline) == (1, 1)


def test_horizon_is_the_shortest_miss_or_else_the_last_hit():
    assert common_horizon(hits(1, 50), misses(9, 7)) == 7.0
    assert common_horizon(hits(1, 50), hits(3)) == 50.0


def test_the_same_generator_state_gives_the_same_interval_and_another_does_not():
    a, b = hits(3, 4, 6, 9), hits(5, 7, 8, 8)
    first, again, other = (
        restricted_mean_ratio(a, b, generator=np.random.default_rng(seed), resamples=500).ratio for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_swapping_the_arms_inverts_the_ratio_and_its_interval():
    a, b = hits(3, 4, 6, 9, 5, 5), hits(5, 7, 8, 8, 4, 9) + misses(20)
    one, two = (restricted_mean_ratio(x, y, generator=generator()).ratio for x, y in ((a, b), (b, a)))
    assert two.mean == pytest.approx(1 / one.mean)
    assert two.low == pytest.approx(1 / one.high, rel=0.03)  # other resamples
    assert two.high == pytest.approx(1 / one.low, rel=0.03)


def test_interval_of_ten_runs_covers_about_as_often_as_it_says_with_misses():
    # True times are exponential with means 2 and 1, runs end at 4: E min(T, 4) = m (1 - exp(-4 / m)).
    random = np.random.default_rng(0)
    truth = 2 * (1 - math.exp(-2)) / (1 - math.exp(-4))
    covered = 0
    for _ in range(300):
        slow, fast = (
            [TargetTime(0.0, t) if t <= 4 else TargetTime(4.0, None) for t in random.exponential(mean, 20)]
            for mean in (2, 1)
        )
        found = restricted_mean_ratio(fast, slow, generator=random, resamples=400, horizon=4.0)
        covered += found.ratio.low <= truth <= found.ratio.high
    assert 0.88 < covered / 300 < 0.99  # a percentile bootstrap of 20 runs: about 0.93


@given(arms, arms)
def test_win_probability_equals_the_count_over_pairs_and_swapping_complements_it(candidate, baseline):
    total = 0.0
    for a in candidate:
        for b in baseline:
            if a.reached and b.reached:
                total += 0.5 if a.high == b.high else float(a.high < b.high)
            elif a.reached:
                total += 1.0 if a.high <= b.low else 0.5
            elif b.reached:
                total += 0.0 if b.high <= a.low else 0.5
            else:
                total += 0.5
    expected = total / (len(candidate) * len(baseline))
    assert win_probability(candidate, baseline) == pytest.approx(expected)
    assert win_probability(baseline, candidate) == pytest.approx(1 - expected)


def test_two_misses_are_a_draw_and_a_hit_beats_a_longer_miss():
    assert win_probability(misses(4), misses(9)) == 0.5
    assert win_probability(hits(3), misses(9)) == 1.0
    assert win_probability(hits(3), misses(2)) == 0.5  # stopped too early to know


def test_win_probability_without_misses_is_mann_whitneys():
    from scipy.stats import mannwhitneyu

    a, b = [1.0, 4.0, 6.0, 6.5], [2.0, 4.0, 9.0]
    statistic = mannwhitneyu(b, a).statistic
    assert win_probability(hits(*a), hits(*b)) == pytest.approx(statistic / 12)


def test_more_frequent_looks_at_one_arm_are_reported_with_both_gaps():
    sparse, dense = [[10.0, 20.0, 30.0]], [[5.0, 10.0, 15.0], [5.0, 10.0]]
    assert unequal_cadence(sparse, sparse) is None
    assert unequal_cadence(sparse, [[10.0, 21.0, 32.0]]) is None
    assert unequal_cadence(sparse, [[10.0, 21.0, 32.0]], tolerance=1.05) is not None
    warning = unequal_cadence(sparse, dense)
    assert "every 10 s (candidate) and every 5 s (baseline)" in warning


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: restricted_mean_ratio(hits(1), hits(1, 2), generator=generator()), "at least two per arm, got 1"),
        (
            lambda: restricted_mean_ratio(hits(1, 2) + misses(5), hits(1, 2), generator=generator(), horizon=6.0),
            r"\(0, 5.0\], the shortest try",
        ),
        (lambda: restricted_mean_ratio(hits(1, 2), hits(1, 2), generator=generator(), horizon=0.0), "horizon"),
        (lambda: restricted_mean_ratio(hits(1, 2), hits(1, 2), generator=generator(), horizon=math.inf), "horizon"),
        (lambda: restricted_mean_ratio(hits(1, 2), hits(1, 2), generator=generator(), confidence=95), "confidence"),
        (lambda: restricted_mean_ratio(hits(1, 2), hits(1, 2), generator=generator(), resamples=0), "resamples"),
        (lambda: restricted_mean_ratio(hits(0, 2), hits(1, 2), generator=generator()), "hit at time 0"),
        (lambda: win_probability([], hits(1)), "both arms need runs, got 0 and 1"),
        (lambda: unequal_cadence([[1.0]], [[1.0, 2.0]]), "at least two in some run"),
        (lambda: unequal_cadence([[1.0, 2.0]], [[1.0, 2.0]], tolerance=0.5), "tolerance"),
    ],
)
def test_bad_input_is_refused_in_words(call, match):
    with pytest.raises(InputError, match=match):
        call()


def test_ratio_is_refused_where_nobody_reached_the_target():
    with pytest.raises(NotComparableError, match=r"no run of either arm reached the target by 5.0"):
        restricted_mean_ratio(misses(5, 5), misses(9, 9), generator=generator())
