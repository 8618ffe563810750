"""Hypervolume over runs: a peer's implementation, units, pairing, coverage, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.front import Front, Point
from paretorch.evidence.hypervolume import hypervolume_difference, run_hypervolumes

STAIRCASE = [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]
positive_points = st.lists(st.tuples(st.floats(0.1, 90), st.floats(0, 1)), min_size=1, max_size=6)


def generator():
    return np.random.default_rng(5)


def noisy_runs(seeds, *, gain=0.0, noise=0.01, seed=0):
    random = np.random.default_rng(seed)
    return {s: [(c, q + gain + random.normal(0, noise)) for c, q in ((1, 0.5), (2, 0.7), (4, 0.8))] for s in seeds}


@pytest.mark.slow
def test_area_equals_the_peer_library_on_random_sets():
    moocore = pytest.importorskip("moocore", reason="needs the peers extra")
    random = np.random.default_rng(0)
    for _ in range(200):
        points = random.random((random.integers(1, 30), 2)) * 1.2
        ours = Front([(c, q) for c, q in points], higher_is_better=False).hypervolume((1.0, 1.0))
        assert ours == pytest.approx(moocore.hypervolume(points, ref=[1.0, 1.0]), abs=1e-12)
    assert moocore.hypervolume(np.array(STAIRCASE), ref=[4, 4]) == 6.0


def test_area_of_the_staircase_over_plain_cost_is_six_for_each_run():
    runs = {0: STAIRCASE, 1: [Point("a", 1.0, 3.0)], 2: []}
    areas = run_hypervolumes(runs, reference=(4.0, 4.0), higher_is_better=False, log_cost=False)
    assert areas == {0: 6.0, 1: 3.0, 2: 0.0}


def test_area_over_the_logarithm_is_a_sum_of_log_ratios():
    areas = run_hypervolumes({0: [(2.0, 0.5), (8.0, 0.9)]}, reference=(32.0, 0.1))
    assert areas[0] == pytest.approx(math.log(32 / 2) * 0.4 + math.log(32 / 8) * 0.4)


@given(positive_points, st.floats(1e-3, 1e3))
def test_unit_of_cost_changes_no_area(points, unit):
    area = run_hypervolumes({0: points}, reference=(100.0, 0.0))[0]
    scaled = run_hypervolumes({0: [(c * unit, q) for c, q in points]}, reference=(100.0 * unit, 0.0))[0]
    assert scaled == pytest.approx(area, rel=1e-9, abs=1e-9)


def test_difference_is_the_mean_over_paired_seeds():
    candidate = {0: [(1.0, 0.8)], 1: [(2.0, 0.8)], 2: [(1.0, 0.6)]}
    baseline = {0: [(2.0, 0.8)], 1: [(4.0, 0.8)], 2: [(1.0, 0.5)]}
    found = hypervolume_difference(candidate, baseline, reference=(8.0, 0.0), generator=generator())
    differences = [math.log(2) * 0.8, math.log(2) * 0.8, math.log(8) * 0.1]
    assert found.interval.mean == pytest.approx(sum(differences) / 3)
    assert found.interval.n == 3
    assert found.rule == "Student t"


def test_an_arm_against_itself_differs_by_nothing():
    runs = noisy_runs(range(6))
    interval = hypervolume_difference(runs, runs, reference=(8.0, 0.1), generator=generator()).interval
    assert (interval.mean, interval.low, interval.high) == (0.0, 0.0, 0.0)


def test_ten_runs_are_bootstrapped_from_the_generator_and_fewer_are_not():
    few, many = (
        hypervolume_difference(
            noisy_runs(range(n), gain=0.05), noisy_runs(range(n), seed=1), reference=(8.0, 0.1), generator=generator()
        )
        for n in (9, 10)
    )
    assert few.rule.startswith("Student t")
    assert many.rule.startswith("BCa bootstrap")
    again, other = (
        hypervolume_difference(
            noisy_runs(range(10), gain=0.05),
            noisy_runs(range(10), seed=1),
            reference=(8.0, 0.1),
            generator=np.random.default_rng(seed),
        )
        for seed in (5, 6)
    )
    assert again == many
    assert other.interval != many.interval
    assert many.interval.low > 0
    # A gain of .05 in quality over the box from cost 1 to 8 adds .05 * ln 8.
    assert many.interval.contains(0.05 * math.log(8))


def test_swapping_the_arms_changes_the_sign():
    a, b = noisy_runs(range(5), gain=0.02), noisy_runs(range(5), seed=3)
    one, two = (
        hypervolume_difference(x, y, reference=(8.0, 0.1), generator=generator()).interval for x, y in ((a, b), (b, a))
    )
    assert (one.mean, one.low, one.high) == pytest.approx((-two.mean, -two.high, -two.low))


def test_unpaired_arms_may_have_different_seeds_and_paired_may_not():
    a, b = noisy_runs(range(5)), noisy_runs(range(10, 17), seed=1)
    found = hypervolume_difference(a, b, reference=(8.0, 0.1), generator=generator(), paired=False)
    assert found.rule.startswith("Welch t")
    assert found.interval.n == 5
    with pytest.raises(NotComparableError, match="same seeds"):
        hypervolume_difference(a, b, reference=(8.0, 0.1), generator=generator())


def test_direction_and_confidence_count():
    runs, worse = noisy_runs(range(5)), noisy_runs(range(5), gain=-0.1, seed=1)
    mirrored, mirrored_worse = ({s: [(c, -q) for c, q in points] for s, points in arm.items()} for arm in (runs, worse))
    up = hypervolume_difference(runs, worse, reference=(8.0, 0.1), generator=generator()).interval
    down = hypervolume_difference(
        mirrored, mirrored_worse, reference=(8.0, -0.1), generator=generator(), higher_is_better=False
    ).interval
    assert up == down
    narrow = hypervolume_difference(runs, worse, reference=(8.0, 0.1), generator=generator(), confidence=0.5).interval
    assert up.low < narrow.low < up.mean < narrow.high < up.high


def test_run_without_points_stays_in_and_counts_nothing():
    candidate = {0: [(1.0, 0.8)], 1: []}
    found = hypervolume_difference(
        candidate, {0: [(1.0, 0.8)], 1: [(1.0, 0.8)]}, reference=(4.0, 0.0), generator=generator()
    )
    assert found.interval.mean == pytest.approx(-math.log(4) * 0.8 / 2)


def test_bad_input_is_refused_in_words():
    runs = {0: [(1.0, 0.5)], 1: [(1.0, 0.6)]}
    with pytest.raises(InputError, match=r"seed 1: the logarithm needs a positive finite cost, got 0.0"):
        run_hypervolumes({0: [(1.0, 0.5)], 1: [(0.0, 0.5)]}, reference=(8.0, 0.1))
    with pytest.raises(InputError, match=r"reference: the logarithm needs a positive finite cost, got -1"):
        run_hypervolumes(runs, reference=(-1, 0.1))
    with pytest.raises(InputError, match="'seed 0' has cost"):
        run_hypervolumes({0: [(1.0, math.nan)]}, reference=(8.0, 0.1))
    with pytest.raises(InputError, match="the reference must be a finite"):
        run_hypervolumes(runs, reference=(8.0, math.nan))
    with pytest.raises(NotComparableError, match="every area is 0"):
        hypervolume_difference(runs, runs, reference=(0.5, 0.1), generator=generator())
    with pytest.raises(InputError, match="no values"):
        hypervolume_difference({}, {}, reference=(8.0, 0.1), generator=generator())
