"""Checks of what the card of profile search promises, on a circle of groups and on a path."""

from functools import cache

import numpy as np

from paretorch.methods.width.allocation.costs import Cost, Monomials, chain
from paretorch.methods.width.profile import Allocation, allocate, frontier
from paretorch.methods.width.tables import Table
from tests.methods.invariants import invariant
from tests.methods.width.instances import by_trying_all, nested, random_tables

PAIRS = ((0, 1), (1, 2), (0, 2))
CIRCLE = Cost(num_groups=3, parts=tuple(Monomials(pair, (((1, 1), 2 + sum(pair)),)) for pair in PAIRS), constant=3)
PATH = chain([3, 2], [1, 5, 4])


@cache
def solved() -> list[tuple[list[Table], Cost, int, Allocation]]:
    """Random problems with what every method answers."""
    rng, found = np.random.default_rng(0), []
    for _ in range(8):
        tables = random_tables(rng, groups=3, widths=5)
        for cost, methods in (
            (CIRCLE, ("auto", "lagrange", "minmax", "trust_region")),
            (PATH, ("auto", "chain_dp", "lagrange")),
        ):
            budget = int(rng.integers(cost((1, 1, 1)), cost((5, 5, 5))))
            found += [(tables, cost, budget, allocate(tables, cost, budget, method=method)) for method in methods]
    return found


@invariant("profile-search", "the cost of the profile, counted anew, is within every budget")
def within_the_budget() -> None:
    for _, cost, budget, allocation in solved():
        assert allocation.cost == cost(allocation.profile) <= budget
    tables = solved()[0][0]
    budgets = {"path": PATH((3, 3, 3)), "circle": CIRCLE((2, 4, 3))}
    both = allocate(tables, {"path": PATH, "circle": CIRCLE}, budgets)
    assert PATH(both.profile) == both.cost["path"] <= budgets["path"]
    assert CIRCLE(both.profile) == both.cost["circle"] <= budgets["circle"]


@invariant("profile-search", "a profile called optimal predicts no more than any other profile within the budget")
def optimal_is_optimal() -> None:
    called = [item for item in solved() if item[-1].optimal and item[-1].method != "minmax"]
    assert {allocation.method for *_, allocation in called} >= {"chain_dp", "lagrange", "trust_region"}
    for tables, cost, budget, allocation in called:
        assert allocation.predicted_loss <= by_trying_all(tables, (cost, budget)) + 1e-9


@invariant("profile-search", "no profile within the budget predicts less than the lower bound")
def bound_holds() -> None:
    for tables, cost, budget, allocation in solved():
        if allocation.method != "minmax":
            assert allocation.lower_bound <= by_trying_all(tables, (cost, budget)) + 1e-9


@invariant("profile-search", "profiles of a family are nested, from the greatest cost to the least")
def families_are_nested() -> None:
    for tables, cost, *_ in solved():
        points = frontier(tables, cost)
        assert nested([point.profile for point in points])
        assert points[0].profile == (5, 5, 5)
        assert points[-1].profile == (1, 1, 1)
