"""Profiles for many budgets from one problem, by each of the solvers."""

from collections.abc import Sequence

import numpy as np

from paretorch.methods.width.allocation import exact, lagrange, minmax, trust_region
from paretorch.methods.width.allocation.costs import AnyCost
from paretorch.methods.width.allocation.hull import hull_chain
from paretorch.methods.width.allocation.nested import Point
from paretorch.methods.width.allocation.problem import Choice, Problem, checked
from paretorch.methods.width.allocation.solvers import kind_of, require
from paretorch.methods.width.tables import Table

BUDGETS = 33  # of a frontier by local search: steps of about 3 % of the range of costs


def frontier_points(tables: Sequence[Table], cost: AnyCost, *, method: str) -> tuple[Point, ...]:
    """Points by decreasing cost, none dominated; `method` as in `paretorch.methods.width.profile.frontier`."""
    good, costs = checked(tables, {"cost": cost})
    largest = tuple(len(table.widths) - 1 for table in good)
    problem = Problem(good, costs, {"cost": cost(Problem(good, costs, {}).profile(largest))})
    kind = kind_of(problem)
    if method == "auto":
        method = "trust_region" if not problem.structured else "hull" if kind == "separable" else "lagrange"
    losses: dict[Choice, float] = {}
    for choice in _choices(problem, method):
        errors = [table.errors[row] for table, row in zip(good, choice, strict=True)]
        losses[choice] = max(errors) if method == "minmax" else problem.loss(choice)
    kept = lagrange.not_dominated({choice: (float(problem.cost(choice)["cost"]), losses[choice]) for choice in losses})
    return tuple(
        Point(profile=problem.profile(choice), cost=problem.cost(choice)["cost"], loss=losses[choice])
        for choice in kept
    )


def _choices(problem: Problem, method: str) -> list[Choice]:
    if method == "hull":
        require(problem, method)
        return hull_chain(problem)
    if method in ("dp", "chain_dp"):
        require(problem, method)
        labels = exact.best_choices(problem)
        return [exact.chosen(labels, index) for index in range(len(labels))]
    if method == "lagrange":
        require(problem, method)
        return lagrange.hull(problem)
    if method == "minmax":
        return [minmax.at_threshold(problem, tau) for tau in minmax.thresholds(problem)]
    return _by_local_search(problem)


def _by_local_search(problem: Problem) -> list[Choice]:
    """From the least budget up; each search starts from the profile before, too."""
    least, most = problem.cost(problem.smallest)["cost"], problem.budgets["cost"]
    found = [problem.smallest]
    for budget in np.linspace(float(least), float(most), BUDGETS)[1:-1].tolist():
        found.append(trust_region.solve(Problem(problem.tables, problem.costs, {"cost": budget}), (found[-1],)))
    return [*found, problem.largest]
