"""Fronts: closed forms, a brute-force oracle on a grid, and the properties a hypervolume must have."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.evidence.front import Front, Point

WIDE, HIGH = REFERENCE = (8, 5)  # sides of different length, so that the two coordinates cannot be mixed up
grid_points = st.lists(st.tuples(st.integers(0, WIDE + 2), st.integers(0, HIGH + 2)), max_size=7)
real_points = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), max_size=8)


def minimising(points):
    return Front([(float(c), float(q)) for c, q in points], higher_is_better=False)


def test_area_of_the_three_point_staircase_is_six():
    assert minimising([(1, 3), (2, 2), (3, 1)]).hypervolume((4, 4)) == 6.0


def test_area_of_the_three_point_staircase_is_six_when_quality_is_maximised():
    assert Front([(1, -3), (2, -2), (3, -1)]).hypervolume((4, -4)) == 6.0


@given(grid_points)
def test_area_equals_the_count_of_dominated_unit_squares(points):
    # Oracle: a unit square with lower corner (x, y) is covered when some point is at or below both coordinates.
    covered = sum(any(c <= x and q <= y for c, q in points) for x, y in itertools.product(range(WIDE), range(HIGH)))
    assert minimising(points).hypervolume(REFERENCE) == covered


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), max_size=5))
def test_area_equals_inclusion_exclusion_over_boxes(points):
    def box(subset):
        return max(0.0, 9 - max(c for c, _ in subset)) * max(0.0, 9 - max(q for _, q in subset))

    total = sum(
        (-1) ** (size + 1) * box(subset)
        for size in range(1, len(points) + 1)
        for subset in itertools.combinations(points, size)
    )
    assert minimising(points).hypervolume((9, 9)) == pytest.approx(total, abs=1e-9)


@given(real_points, st.randoms(use_true_random=False))
def test_area_and_front_ignore_order_and_duplicates(points, random):
    shuffled = points + points[:3]
    random.shuffle(shuffled)
    assert minimising(shuffled).hypervolume((9, 9)) == minimising(points).hypervolume((9, 9))
    assert set(minimising(shuffled).optimal) == set(minimising(points).optimal)


@given(real_points.filter(bool), st.floats(0, 3), st.floats(0, 3))
def test_dominated_point_leaves_the_area_unchanged(points, worse_cost, worse_quality):
    dominated = (points[0][0] + worse_cost, points[0][1] + worse_quality)
    assert minimising([*points, dominated]).hypervolume((9, 9)) == minimising(points).hypervolume((9, 9))


@given(grid_points)
def test_non_dominated_point_strictly_increases_the_area(points):
    new = (WIDE - 0.5, -1.0)  # better in quality than everything, dearer than most, still inside the reference
    assert minimising([*points, new]).hypervolume(REFERENCE) > minimising(points).hypervolume(REFERENCE)


@given(grid_points)
def test_optimal_points_are_exactly_those_no_other_point_dominates(points):
    front = minimising(points)
    expected = [p for p in front.points if not any(front.dominates(other, p) for other in front.points)]
    assert sorted(front.optimal, key=repr) == sorted(expected, key=repr)


@given(grid_points)
def test_direction_of_the_quality_only_mirrors_the_front(points):
    up = Front([(float(c), -float(q)) for c, q in points])
    assert [(p.cost, -p.quality) for p in up.optimal] == [(p.cost, p.quality) for p in minimising(points).optimal]


def test_dominance_is_strict_in_at_least_one_coordinate():
    front = Front([])
    point = Point("a", 2.0, 0.9)
    assert not front.dominates(point, Point("equal", 2.0, 0.9))
    assert front.dominates(point, Point("dearer", 3.0, 0.9))
    assert front.dominates(point, Point("worse", 2.0, 0.8))
    assert not front.dominates(point, Point("trade", 1.0, 0.8))
    assert not front.dominates(point, Point("better", 2.0, 0.95))


def test_points_no_better_than_the_reference_contribute_nothing():
    inside = [(1, 1)]
    for outside in [(4, 0), (5, 0), (0, 4), (0, 5), (6, 6)]:
        assert minimising([*inside, outside]).hypervolume((4, 4)) == minimising(inside).hypervolume((4, 4)) == 9.0
        assert minimising([outside]).hypervolume((4, 4)) == 0.0
    assert minimising([]).hypervolume((4, 4)) == 0.0


def test_labels_survive_and_ties_are_both_optimal():
    front = Front([Point("b", 1.0, 0.9), Point("a", 1.0, 0.9), Point("c", 1.0, 0.8)])
    assert [p.label for p in front.optimal] == ["a", "b"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_points_that_are_not_finite_are_refused_by_name(value):
    with pytest.raises(InputError, match="point 'bad' has bytes = "):
        Front([Point("bad", value, 0.9)], cost="bytes")
    with pytest.raises(InputError, match=f"accuracy = {value}"):
        Front([Point("bad", 1.0, value)], quality="accuracy")
    with pytest.raises(InputError, match="reference must be a finite"):
        Front([]).hypervolume((1.0, value))
