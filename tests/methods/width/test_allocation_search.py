"""The local search, for any cost and several constraints, against trying every profile."""

import numpy as np
import pytest

from paretorch.methods.width.allocation.costs import Cost, Monomials, cost_of
from paretorch.methods.width.allocation.polish import polished
from paretorch.methods.width.allocation.problem import problem_of
from paretorch.methods.width.profile import allocate
from tests.methods.width.handmade import perceptron_groups
from tests.methods.width.instances import by_trying_all, random_tables


def residual_cost(rng: np.random.Generator) -> Cost:
    """Three groups in a circle and the square of one of them, as of a residual stage between two others."""
    parts = [Monomials(pair, (((1, 1), int(rng.integers(1, 9))),)) for pair in ((0, 1), (0, 2), (1, 2), (2, 3))]
    return Cost(num_groups=4, parts=(*parts, Monomials((0,), (((2,), 5), ((1,), 3)))), constant=11)


def test_on_general_polynomials_the_search_keeps_the_budget_and_is_near_the_best_profile() -> None:
    rng = np.random.default_rng(0)
    ratios, best_found = [], 0
    for _ in range(25):
        tables, cost = random_tables(rng, groups=4, widths=4), residual_cost(rng)
        budget = int(rng.integers(cost((2,) * 4), cost((4,) * 4)))
        best = by_trying_all(tables, (cost, budget))
        known = allocate(tables, cost, budget, method="trust_region")
        plain = allocate(tables, lambda p, cost=cost: cost(p), budget)
        assert (known.method, plain.method) == ("trust_region", "trust_region")
        for found in (known, plain):
            assert found.cost == cost(found.profile) <= budget
            assert found.predicted_loss >= best - 1e-9
        assert known.lower_bound <= best + 1e-9
        assert known.predicted_loss <= plain.predicted_loss + 1e-9  # it starts from a corner of the hull as well
        assert (plain.optimal, plain.lower_bound) == (False, None)
        assert plain.certificate == "A local search. Nothing is proved about other profiles."
        ratios.append(known.predicted_loss / best)
        best_found += known.predicted_loss < best + 1e-9
    assert np.mean(ratios) < 1.03
    assert best_found >= 15


def test_several_constraints_are_all_kept_and_the_bound_holds_for_all_together() -> None:
    rng = np.random.default_rng(1)
    groups, ratios, binding = perceptron_groups(9, 5, 5, 5, 4), [], 0
    costs = {"params": cost_of(groups, "params"), "narrow": lambda p: float(p[0] ** 1.5 + 2 * p[2])}
    both_known = {"params": costs["params"], "macs": residual_like()}
    for _ in range(12):
        tables = random_tables(rng, groups=3, widths=5)
        for named in (costs, both_known):
            full, least = ({n: c(p) for n, c in named.items()} for p in ((5, 5, 5), (1, 1, 1)))
            budgets = {n: float(least[n] + rng.uniform(0.3, 0.6) * (full[n] - least[n])) for n in named}
            limits = [(named[n], budgets[n]) for n in named]
            found = allocate(tables, named, budgets)
            best = by_trying_all(tables, *limits)
            assert found.cost == {n: c(found.profile) for n, c in named.items()}
            assert all(found.cost[n] <= budgets[n] for n in named)
            assert found.predicted_loss >= best - 1e-9
            ratios.append(found.predicted_loss / best)
            binding += best > max(by_trying_all(tables, limit) for limit in limits) + 1e-9
            if named is both_known:
                assert found.lower_bound <= best + 1e-9
                assert found.lower_bound > 0
    assert binding >= 3  # the constraints are harder together than each alone
    assert np.mean(ratios) < 1.05


def residual_like() -> Cost:
    parts = (Monomials((0, 1), (((1, 1), 2),)), Monomials((0, 2), (((1, 1), 7),)), Monomials((1,), (((2,), 3),)))
    return Cost(num_groups=3, parts=parts)


def test_several_constraints_reduce_to_the_one_that_binds() -> None:
    groups = perceptron_groups(9, 5, 5, 5, 4)
    tables = random_tables(np.random.default_rng(2), groups=3, widths=5)
    cost = cost_of(groups, "params")
    one = allocate(tables, cost, 60, method="lagrange")
    both = allocate(
        tables, {"params": cost, "macs": cost_of(groups, "macs")}, {"params": 60, "macs": 10**9}, method="lagrange"
    )
    assert both.profile == one.profile
    assert both.lower_bound == pytest.approx(one.lower_bound)
    assert both.budget == {"params": 60, "macs": 10**9}


def test_after_polishing_no_change_of_one_group_lowers_the_loss_within_the_budget() -> None:
    rng = np.random.default_rng(3)
    for _ in range(10):
        tables, cost = random_tables(rng, groups=4, widths=5), residual_cost(rng)
        problem = problem_of(tables, cost, int(rng.integers(cost((1,) * 4), cost((5,) * 4))))
        if not problem.feasible(problem.smallest):
            continue
        choice = polished(problem, problem.smallest)
        assert problem.feasible(choice)
        for group in range(4):
            for row in range(5):
                other = (*choice[:group], row, *choice[group + 1 :])
                assert problem.loss(other) >= problem.loss(choice) or not problem.feasible(other)


def test_a_budget_that_holds_everything_keeps_the_full_profile_whatever_the_method() -> None:
    groups = perceptron_groups(9, 5, 5, 4)
    tables = random_tables(np.random.default_rng(2), groups=2, widths=5)
    cost = cost_of(groups, "params")
    for method in ("auto", "chain_dp", "lagrange", "minmax", "trust_region"):
        found = allocate(tables, cost, groups.num_params((5, 5)), method=method)
        assert (found.profile, found.predicted_loss, found.optimal) == ((5, 5), 0.0, True)
    assert allocate(tables, groups.num_params, 10**6).profile == (5, 5)
