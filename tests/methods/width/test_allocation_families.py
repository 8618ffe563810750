"""Families of profiles: hulls, Lagrangian corners, nested chains."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.methods.width.allocation.costs import Cost, Monomials, chain, cost_of, separable
from paretorch.methods.width.allocation.elimination import Elimination, least_cost
from paretorch.methods.width.allocation.hull import lower_hull
from paretorch.methods.width.allocation.nested import Point, best_nested_chain
from paretorch.methods.width.allocation.problem import Problem, problem_of
from paretorch.methods.width.profile import allocate, frontier
from paretorch.methods.width.tables import Table
from tests.methods.width.handmade import perceptron_groups
from tests.methods.width.instances import by_trying_all, loss_of, nested, profiles, random_tables


def random_separable(rng: np.random.Generator, groups: int) -> Cost:
    return separable([(lambda w, k=k: k * w) for k in rng.integers(1, 30, groups).tolist()])


def test_on_300_separable_instances_every_point_of_the_hull_is_best_at_its_cost_and_the_chain_is_nested() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        tables = random_tables(rng, groups=3, widths=4)
        cost = random_separable(rng, 3)
        points = frontier(tables, cost, method="hull", nested=False)
        assert points[0].profile == (4, 4, 4)
        assert points[-1].profile == (1, 1, 1)
        assert nested([point.profile for point in points])
        for point in points:
            assert point.loss == pytest.approx(by_trying_all(tables, (cost, point.cost)), abs=1e-12)


def test_the_hull_for_a_budget_says_the_cost_it_is_best_for_and_what_is_still_possible() -> None:
    tables = [Table("a", (1, 2, 3), (1.0, 0.9, 0.0)), Table("b", (1, 2), (0.15, 0.0))]
    cost = separable([lambda w: 10 * w, lambda w: 4 * w])
    found = allocate(tables, cost, 34, method="hull")
    assert (found.profile, found.cost, found.optimal) == ((3, 1), 34, True)
    found = allocate(tables, cost, 30, method="hull")
    assert (found.profile, found.cost, found.optimal) == ((1, 1), 14, False)
    assert found.certificate.startswith("The best of all profiles that cost at most 14. It predicts 1.15;")
    assert found.lower_bound == pytest.approx(0.15 + (34 - 30) * (1.0 / 20))  # the line from (34, 0.15) to (14, 1.15)
    assert found.lower_bound <= allocate(tables, cost, 30).predicted_loss == 0.9


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=9))
def test_no_row_lies_below_the_hull_of_a_table_and_its_corners_are_rows(rows) -> None:
    costs, errors = (np.array(column) for column in zip(*rows, strict=True))
    corners = lower_hull(costs, errors)
    assert errors[corners[0]] == errors.min()
    assert costs[corners[-1]] == costs.min()
    assert all(costs[a] > costs[b] and errors[a] < errors[b] for a, b in itertools.pairwise(corners))
    for a, b in itertools.pairwise(corners):
        normal = errors[b] - errors[a], costs[a] - costs[b]
        assert (normal[0] * (costs - costs[a]) + normal[1] * (errors - errors[a]) >= 0).all()


def hull_of(points) -> list[tuple[float, float]]:
    """The lower convex hull of (cost, error), by scipy: corners at which error falls as cost rises."""
    from scipy.spatial import ConvexHull

    array = np.array(points)
    corners = array[ConvexHull(array).vertices]
    lowest = corners[corners[:, 1] <= corners[:, 1].min() + 1e-12]
    cheapest = corners[corners[:, 0] == corners[:, 0].min()]
    start, end = cheapest[cheapest[:, 1].argmin()], lowest[lowest[:, 0].argmin()]
    line = lambda c: start[1] + (end[1] - start[1]) * (c - start[0]) / (end[0] - start[0])  # noqa: E731
    kept = {(c, e) for c, e in corners.tolist() if c <= end[0] and e <= line(c) + 1e-12}
    return sorted(kept, reverse=True)


@pytest.mark.parametrize("seed", range(12))
def test_the_lagrangian_frontier_is_the_convex_hull_of_all_profiles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tables = random_tables(rng, groups=4, widths=4)
    circle = [Monomials((i, j), (((1, 1), int(rng.integers(1, 9))),)) for i, j in ((0, 1), (1, 2), (0, 2), (2, 3))]
    general = Cost(num_groups=4, parts=(*circle, Monomials((1,), (((2,), 3),))), constant=4)
    for cost in (chain(rng.integers(1, 9, 3).tolist(), rng.integers(1, 9, 4).tolist()), general):
        points = frontier(tables, cost, method="lagrange", nested=False)
        expected = hull_of([(cost(p), loss_of(tables, p)) for p in profiles(tables)])
        assert [point.cost for point in points] == [c for c, _ in expected]
        assert [point.loss for point in points] == pytest.approx([e for _, e in expected], abs=1e-12)


def test_elimination_minimises_error_plus_multiplier_times_cost_over_all_profiles() -> None:
    rng = np.random.default_rng(5)
    tables = random_tables(rng, groups=5, widths=3)
    pairs = ((0, 1), (1, 2), (2, 3), (0, 3), (1, 4), (0, 2, 4))
    parts = tuple(Monomials(scope, (((1,) * len(scope), float(rng.random())),)) for scope in pairs)
    one, other = Cost(num_groups=5, parts=parts), chain([1, 2, 3, 4], [1] * 5)
    problem = problem_of(tables, {"a": one, "b": other}, {"a": 1.0, "b": 1.0})
    multipliers = rng.random((7, 2)) * 0.2
    choices, values = Elimination(problem).minimise(multipliers)
    for rates, choice, value in zip(multipliers, choices, values, strict=True):
        every = [loss_of(tables, p) + rates[0] * one(p) + rates[1] * other(p) for p in profiles(tables)]
        assert value == pytest.approx(min(every))
        profile = problem.profile(choice.tolist())
        assert loss_of(tables, profile) + rates[0] * one(profile) + rates[1] * other(profile) == pytest.approx(value)


def test_the_least_cost_is_found_also_where_it_is_not_at_the_smallest_widths() -> None:
    tables = random_tables(np.random.default_rng(0), groups=3, widths=4)
    cost = Cost(num_groups=3, parts=(Monomials((0, 1), (((1, 1), -2), ((0, 2), 1))), Monomials((2,), (((1,), 1),))))
    choice = least_cost(problem_of(tables, cost, 0))
    assert cost(Problem(tuple(tables), {}, {}).profile(choice)) == min(map(cost, profiles(tables)))


def test_lagrangian_bounds_hold_and_the_profile_is_within_the_budget() -> None:
    rng = np.random.default_rng(1)
    proved = 0
    for _ in range(60):
        tables = random_tables(rng, groups=3, widths=4)
        cost = cost_of(perceptron_groups(5, 4, 4, 4, 3), "params")
        budget = int(rng.integers(cost((1, 1, 1)), cost((4, 4, 4)) + 1))
        best = by_trying_all(tables, (cost, budget))
        found = allocate(tables, cost, budget, method="lagrange")
        assert found.cost <= budget
        assert found.lower_bound <= best + 1e-9
        assert found.predicted_loss >= best - 1e-9
        assert found.optimal == (found.predicted_loss - found.lower_bound < 1e-9)
        proved += found.optimal
    assert 0 < proved < 60


def area(chain: list[Point]) -> float:
    """Loss summed over the budgets between the first and the last."""
    return sum(b.loss * (a.cost - b.cost) for a, b in itertools.pairwise(chain))


def greedy_chain(points: tuple[Point, ...]) -> list[Point]:
    """FlexRank's filter: from the dearest down, keep what is nested in the last kept."""
    kept = [points[0]]
    for point in points[1:]:
        if nested([kept[-1].profile, point.profile]):
            kept.append(point)
    return kept


def test_on_300_instances_the_best_nested_chain_is_never_worse_than_the_greedy_filter_and_mostly_better() -> None:
    rng = np.random.default_rng(2)
    better = 0
    for _ in range(300):
        tables = random_tables(rng, groups=4, widths=5)
        cost = random_separable(rng, 4)
        points = frontier(tables, cost, method="dp", nested=False)
        best, greedy = best_nested_chain(points), greedy_chain(points)
        assert nested([point.profile for point in best])
        assert (best[0], best[-1]) == (points[0], points[-1]) == (greedy[0], greedy[-1])
        assert area(best) <= area(greedy) + 1e-9
        better += area(best) < area(greedy) - 1e-9
    assert better > 150


def test_the_best_nested_chain_is_the_best_of_all_chains() -> None:
    rng = np.random.default_rng(7)
    for _ in range(20):
        tables = random_tables(rng, groups=3, widths=3)
        points = frontier(tables, random_separable(rng, 3), method="dp", nested=False)[:11]
        top = points[0].cost
        areas = []
        for size in range(len(points)):
            for some in itertools.combinations(points[:-1], size):
                chain_of = [*some, points[-1]]
                if nested([point.profile for point in chain_of]):
                    areas.append(area(chain_of) + chain_of[0].loss * (top - chain_of[0].cost))
        best = list(best_nested_chain(points))
        assert area(best) + best[0].loss * (top - best[0].cost) == pytest.approx(min(areas))
        assert nested([point.profile for point in best])


def test_a_chain_needs_points_of_one_length() -> None:
    with pytest.raises(InputError, match="no profile to build a nested chain from"):
        best_nested_chain([])
    points = [Point(profile=(1, 2), cost=2, loss=0.0), Point(profile=(1,), cost=1, loss=1.0)]
    with pytest.raises(InputError, match=r"one length; got lengths \[1, 2\]"):
        best_nested_chain(points)


@pytest.mark.parametrize("method", ["auto", "chain_dp", "lagrange", "minmax", "trust_region"])
def test_every_frontier_falls_in_cost_rises_in_loss_and_is_nested_when_asked(method: str) -> None:
    groups = perceptron_groups(8, 6, 6, 6, 4)
    tables = random_tables(np.random.default_rng(4), groups=3, widths=6)
    cost = cost_of(groups, "params")
    for points in (frontier(tables, cost, method=method, nested=False), frontier(tables, cost, method=method)):
        assert len(points) > 3
        for a, b in itertools.pairwise(points):
            assert a.cost > b.cost
            assert a.loss < b.loss
        assert all(point.cost == groups.num_params(point.profile) for point in points)
        assert points[0].profile == (6, 6, 6)
        assert points[-1].profile == (1, 1, 1)
    assert nested([point.profile for point in points])


def test_the_frontier_of_a_plain_function_lies_between_the_exact_one_and_the_hull() -> None:
    groups = perceptron_groups(8, 6, 6, 4)
    tables = random_tables(np.random.default_rng(6), groups=2, widths=6)
    for point in frontier(tables, groups.num_params, nested=False):
        assert point.loss >= by_trying_all(tables, (groups.num_params, point.cost)) - 1e-12


def test_lagrange_and_a_method_that_does_not_exist_are_refused_by_name() -> None:
    groups = perceptron_groups(8, 6, 6, 4)
    tables = random_tables(np.random.default_rng(6), groups=2, widths=6)
    with pytest.raises(InputError, match='"lagrange" needs costs whose structure is known'):
        frontier(tables, groups.num_params, method="lagrange")
    with pytest.raises(InputError, match="unknown method 'lagrangian'; did you mean 'lagrange'"):
        frontier(tables, groups.num_params, method="lagrangian")
