"""Attainment surfaces: counts by brute force, a peer's implementation, and their order."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.evidence.attainment import attained_share, attainment_surface
from paretorch.evidence.front import Front, Point

THREE = {0: [(1.0, 0.5), (4.0, 0.9)], 1: [(2.0, 0.6), (3.0, 0.8)], 2: [(3.0, 0.7)]}
runs_strategy = st.dictionaries(
    st.integers(0, 20),
    st.lists(st.tuples(st.integers(1, 6).map(float), st.integers(1, 6).map(float)), max_size=5),
    min_size=1,
    max_size=6,
)
levels = st.floats(0.01, 1)


def on_surface(corners, cost):
    """Quality of the step curve at a cost; None before its first corner."""
    before = [quality for c, quality in corners if c <= cost]
    return before[-1] if before else None


def test_surfaces_of_three_runs_by_hand():
    assert attainment_surface(THREE, level=1 / 3) == ((1.0, 0.5), (2.0, 0.6), (3.0, 0.8), (4.0, 0.9))
    assert attainment_surface(THREE) == ((2.0, 0.5), (3.0, 0.7), (4.0, 0.8))
    assert attainment_surface(THREE, level=1.0) == ((3.0, 0.5), (4.0, 0.7))


def test_share_counts_the_runs_with_one_point_in_the_corner():
    assert attained_share(THREE, cost=3.0, quality=0.7) == pytest.approx(2 / 3)
    assert attained_share(THREE, cost=2.99, quality=0.55) == pytest.approx(1 / 3)
    assert attained_share(THREE, cost=0.5, quality=0.0) == 0.0


@given(runs_strategy, levels)
def test_surface_is_the_best_quality_that_enough_runs_attain_at_every_cost(runs, level):
    corners = attainment_surface(runs, level=level)
    for cost in np.arange(0.5, 7, 0.5):
        attained = [q for q in range(1, 7) if attained_share(runs, cost=cost, quality=q) >= level - 1e-9]
        assert on_surface(corners, cost) == (max(attained) if attained else None)


@given(runs_strategy, levels)
def test_corners_rise_in_both_coordinates_and_direction_only_mirrors_them(runs, level):
    corners = attainment_surface(runs, level=level)
    for (c0, q0), (c1, q1) in itertools.pairwise(corners):
        assert c0 < c1
        assert q0 < q1
    mirrored = {s: [(c, -q) for c, q in points] for s, points in runs.items()}
    down = attainment_surface(mirrored, level=level, higher_is_better=False)
    assert [(c, -q) for c, q in down] == list(corners)
    for c, q in corners:
        assert attained_share(mirrored, cost=c, quality=-q, higher_is_better=False) >= level - 1e-9


@given(runs_strategy, levels, levels)
def test_surface_of_more_runs_lies_below_that_of_fewer(runs, one, two):
    low, high = sorted((one, two))
    for cost in range(1, 7):
        strict, easy = (on_surface(attainment_surface(runs, level=level), cost) for level in (high, low))
        assert strict is None or (easy is not None and easy >= strict)


@given(runs_strategy.filter(lambda runs: any(runs.values())))
def test_lowest_surface_is_the_front_of_all_runs_together(runs):
    corners = attainment_surface(runs, level=1e-6)
    front = {(p.cost, p.quality) for p in Front(itertools.chain(*runs.values())).optimal}
    assert set(corners) == front


@pytest.mark.slow
def test_surfaces_equal_the_peer_librarys():
    moocore = pytest.importorskip("moocore", reason="needs the peers extra")
    random = np.random.default_rng(0)
    for _ in range(50):
        n = int(random.integers(2, 8))
        runs = {s: [tuple(p) for p in random.random((int(random.integers(1, 7)), 2))] for s in range(n)}
        points = np.array([p for s in runs for p in runs[s]])
        sets = [s for s in runs for _ in runs[s]]
        peer = moocore.eaf(points, sets)
        for k in range(1, n + 1):
            corners = attainment_surface(runs, level=k / n, higher_is_better=False)
            expected = sorted((c, q) for c, q, percent in peer if math.isclose(percent, 100 * k / n))
            assert list(corners) == expected


def test_level_that_is_no_exact_fraction_asks_for_no_run_more():
    runs = {s: [(1.0, float(s))] for s in range(100)}
    assert attainment_surface(runs, level=0.07) == ((1.0, 93.0),)  # 0.07 * 100 is above 7 in floating point


def test_run_without_points_counts_as_one_that_attains_nothing():
    runs = {0: [(1.0, 0.9)], 1: []}
    assert attained_share(runs, cost=9.0, quality=0.0) == 0.5
    assert attainment_surface(runs, level=1.0) == ()
    assert attainment_surface(runs) == ((1.0, 0.9),)


def test_named_points_are_taken_like_pairs():
    assert attainment_surface({0: [Point("a", 1.0, 0.9)]}) == ((1.0, 0.9),)


def test_bad_input_is_refused_in_words():
    with pytest.raises(InputError, match="at least one run"):
        attainment_surface({})
    with pytest.raises(InputError, match="at least one run"):
        attained_share({}, cost=1.0, quality=1.0)
    for level in (0.0, 1.5, math.nan):
        with pytest.raises(InputError, match="level is a share of the runs"):
            attainment_surface(THREE, level=level)
    with pytest.raises(InputError, match="'seed 7' has cost = inf"):
        attainment_surface({7: [(math.inf, 0.5)]})
