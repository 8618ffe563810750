"""The values of a grid: best rates, how far they move, searches in turn and at random, means over seeds."""

import itertools
import math
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.grid_values import GridValues, Point, least_decades, mean_values

RATES, EPSILONS = (0.1, 1.0, 10.0), (None, 0.01, 1.0)
grids = st.tuples(
    st.lists(st.none() | st.integers(-5, 20), min_size=9, max_size=9), st.booleans(), st.sampled_from([0.0, math.inf])
)


def grid_of(found: list[int | None], higher: bool, floor: float, points: list[Point] | None = None) -> GridValues:
    points = points or list(itertools.product(RATES, EPSILONS))
    floor = -floor if higher else floor
    return GridValues(values=dict(zip(points, found, strict=True)), floor=floor, higher_is_better=higher)


@given(grids)
def test_everything_is_that_of_the_points_looked_at_one_by_one(case: tuple[list[int | None], bool, float]) -> None:
    grid = grid_of(*case)
    sign = 1 if grid.higher_is_better else -1

    def score(point: Point) -> float:
        value = grid.values[point]
        return sign * grid.floor if value is None else max(sign * value, sign * grid.floor)

    def first_best(points: list[Point]) -> Point:
        return next(point for point in points if score(point) == max(map(score, points)))

    best = {}
    for epsilon in EPSILONS:
        point = first_best([(rate, epsilon) for rate in RATES])
        best[epsilon] = None if score(point) == sign * grid.floor else point[0]
        assert grid.best_rate(epsilon) == best[epsilon]
        assert grid.in_turn(epsilon) == first_best([(point[0], other) for other in EPSILONS])
        assert grid.trials_in_turn(epsilon) == 5
    assert grid.best() == first_best([(rate, epsilon) for epsilon in EPSILONS for rate in RATES])
    known = [math.log10(rate) for epsilon in (0.01, 1.0) if (rate := best[epsilon]) is not None]
    assert grid.moved() == (pytest.approx(max(known) - min(known)) if len(known) == 2 else None)
    assert grid.moved(above=0.5) is None
    values = [sign * score(point) for point in grid.values]
    for count in (1, 9):
        chosen = [max(sign * value for value in some) for some in itertools.combinations(values, count)]
        assert sign * grid.random_points(count) == pytest.approx(fmean(chosen))


def test_a_point_that_leaves_the_model_worse_than_it_was_counts_as_the_untrained_model() -> None:
    grid = grid_of([2, 7, None], False, 5.0, [(0.1, 1.0), (1.0, 1.0), (10.0, 1.0)])
    assert [grid.value(point) for point in grid.points] == [2, 5, 5]
    assert grid_of([6, None], False, 5.0, [(0.1, 1.0), (1.0, 1.0)]).best_rate(1.0) is None


def test_points_may_be_missing_and_a_search_tries_those_that_are_there() -> None:
    grid = grid_of([1, 2, 3, 4], True, 0.0, [(0.1, 1.0), (1.0, 1.0), (10.0, 1.0), (10.0, 2.0)])
    assert grid.trials_in_turn(1.0) == 4
    assert grid.trials_in_turn(2.0) == 2
    assert grid.in_turn(2.0) == (10.0, 2.0)


def test_a_mean_needs_the_point_with_every_seed() -> None:
    points: list[Point] = [(0.1, None), (1.0, None)]
    mean = mean_values([grid_of([1, 2], False, 4.0, points), grid_of([3, None], False, 8.0, points)])
    assert mean.values == {(0.1, None): 2.0, (1.0, None): None}
    assert mean.floor == 6.0
    with pytest.raises(NotComparableError, match="needs the same grid with each"):
        mean_values([grid_of([1, 2], False, 4.0, points), grid_of([1], False, 4.0, points[:1])])


@given(st.lists(st.sets(st.integers(-3, 3), min_size=1), min_size=1, max_size=4))
def test_the_least_decades_are_the_least_over_all_choices(choices: list[set[int]]) -> None:
    spans = [max(choice) - min(choice) for choice in itertools.product(*choices)]
    assert least_decades([{10.0**power for power in choice} for choice in choices]) == pytest.approx(min(spans))


@pytest.mark.parametrize(
    ("values", "match"),
    [({}, "at least one point"), ({(0.1, None): math.nan}, "is finite"), ({(0.1, None): math.inf}, "None is a point")],
)
def test_values_that_are_none_are_refused(values: dict[Point, float | None], match: str) -> None:
    with pytest.raises(InputError, match=match):
        GridValues(values=values, floor=0.0, higher_is_better=True)
