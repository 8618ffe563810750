"""Performance profiles: the closed form against integrals, and that the order of two depends on a third."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.scores.profiles import profile, profile_score, profile_scores, ratios_to_best
from paretorch.evidence.scores.ratios import mean_ratio

ratio_lists = st.lists(st.one_of(st.floats(1, 7), st.just(math.inf)), min_size=1, max_size=8)
times = st.one_of(st.floats(0.5, 50), st.just(math.inf))


@given(ratio_lists, st.floats(1.5, 6))
def test_score_is_the_integral_of_the_profile(ratios, r_max):
    steps = sorted({r for r in ratios if 1 < r < r_max})
    integral, _ = quad(lambda tau: profile(ratios, tau=max(tau, 1.0)), 1, r_max, points=steps or None, limit=200)
    assert profile_score(ratios, r_max=r_max) == pytest.approx(integral / (r_max - 1), abs=1e-7)


@given(ratio_lists)
def test_hundred_point_trapezoid_differs_by_at_most_half_a_grid_step(ratios):
    taus = np.linspace(1, 4, 100)
    trapezoid = np.trapezoid([profile(ratios, tau=tau) for tau in taus], taus) / 3
    assert abs(profile_score(ratios) - trapezoid) <= 1 / 198 + 1e-12


def test_trapezoid_error_reaches_that_bound():
    taus = np.linspace(1, 4, 100)
    just_above_a_node = [taus[40] + 1e-9]
    trapezoid = np.trapezoid([profile(just_above_a_node, tau=tau) for tau in taus], taus) / 3
    assert profile_score(just_above_a_node) - trapezoid == pytest.approx(1 / 198, abs=1e-6)


def test_score_of_three_workloads_by_hand():
    assert profile_score([1.0, 2.5, math.inf]) == pytest.approx((1 + 0.5 + 0) / 3)
    assert profile_score([4.0]) == profile_score([9.0]) == 0.0
    assert profile_score([9.0], r_max=17.0) == 0.5


def test_profile_counts_ratios_up_to_tau_and_never_a_miss():
    ratios = [1.0, 2.0, math.inf]
    assert [profile(ratios, tau=tau) for tau in (1.0, 1.99, 2.0, math.inf)] == pytest.approx(
        [1 / 3, 1 / 3, 2 / 3, 2 / 3]
    )


@given(st.lists(st.lists(times, min_size=3, max_size=3), min_size=1, max_size=5))
def test_ratios_are_at_least_one_and_the_best_of_a_workload_has_one_unless_all_miss(rows):
    pool = {f"s{i}": dict(zip("abc", row, strict=True)) for i, row in enumerate(rows)}
    ratios = ratios_to_best(pool)
    for w in "abc":
        column = [ratios[s][w] for s in pool]
        best = min(t[w] for t in pool.values())
        assert min(column) == (1.0 if math.isfinite(best) else math.inf)
        for s in pool:
            assert ratios[s][w] == (pool[s][w] / best if math.isfinite(pool[s][w]) else math.inf)


@given(st.lists(st.lists(times, min_size=2, max_size=2), min_size=1, max_size=4), st.floats(0.01, 100))
def test_scores_do_not_depend_on_the_unit_of_time(rows, unit):
    pool = {f"s{i}": dict(zip("ab", row, strict=True)) for i, row in enumerate(rows)}
    scaled = {s: {w: t * unit for w, t in row.items()} for s, row in pool.items()}
    assert profile_scores(scaled) == pytest.approx(profile_scores(pool), abs=1e-9)


def test_removing_a_third_flips_two_under_the_profile_and_not_under_a_fixed_reference():
    first = {"speech": 10.0, "images": 20.0}
    second = {"speech": 30.0, "images": 10.0}
    third = {"speech": 2.5, "images": math.inf}  # so fast on one workload that nobody else scores there
    alone = profile_scores({"first": first, "second": second})
    together = profile_scores({"first": first, "second": second, "third": third})
    assert list(alone) == ["first", "second"]
    assert together["second"] > together["first"]
    assert alone["first"] == pytest.approx((1 + 2 / 3) / 2)
    assert together["first"] == pytest.approx((0 + 2 / 3) / 2)

    reference = {"speech": 20.0, "images": 20.0}
    ratios = [mean_ratio(times, reference, budgets={}).ratio for times in (first, second)]
    assert ratios == pytest.approx([math.sqrt(0.5), math.sqrt(0.75)])  # whoever else was in the pool


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: ratios_to_best({}), InputError, "at least one submission"),
        (lambda: ratios_to_best({"a": {}}), InputError, "a has no workloads"),
        (lambda: ratios_to_best({"a": {"w": 0.0}}), InputError, "times must be positive"),
        (lambda: ratios_to_best({"a": {"w": math.nan}}), InputError, "times must be positive"),
        (lambda: ratios_to_best({"a": {"w": 1.0}, "b": {"v": 1.0}}), NotComparableError, "b has the workloads"),
        (lambda: profile([], tau=2.0), InputError, "one per workload"),
        (lambda: profile([1.0], tau=0.5), InputError, "tau is a factor"),
        (lambda: profile_score([0.5]), InputError, "at least 1"),
        (lambda: profile_score([math.nan]), InputError, "at least 1"),
        (lambda: profile_score([1.0], r_max=1.0), InputError, "r_max is a finite factor"),
        (lambda: profile_score([1.0], r_max=math.inf), InputError, "r_max is a finite factor"),
    ],
)
def test_bad_input_is_refused_in_words(call, error, match):
    with pytest.raises(error, match=match):
        call()
