"""What the sum of errors is worth: exact for branches that are added, far too high for layers in series."""

import numpy as np
import pytest

from paretorch.methods.width.allocation.costs import chain, cost_of, separable
from paretorch.methods.width.profile import allocate, frontier
from paretorch.methods.width.tables import Table
from tests.methods.width.handmade import perceptron_groups
from tests.methods.width.instances import nested, profiles, random_tables

RNG = np.random.default_rng(0)


def truncated(matrix: np.ndarray, rank: int) -> np.ndarray:
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return left[:, :rank] * values[:rank] @ right[:rank]


def knapsack_of_singular_values(matrices: list[np.ndarray], budget: int) -> float:
    """Least sum of dropped squared singular values, by the textbook table over integer budgets."""
    best = np.zeros(budget + 1)
    for matrix in matrices:
        squares, price = np.linalg.svd(matrix, compute_uv=False) ** 2, sum(matrix.shape)
        fresh = np.full(budget + 1, np.inf)
        for rank in range(1, len(squares) + 1):
            if (paid := rank * price) <= budget:
                fresh[paid:] = np.minimum(fresh[paid:], best[: budget + 1 - paid] + squares[rank:].sum())
        best = fresh
    return float(best[budget])


def test_ranks_of_added_branches_are_the_knapsack_on_their_true_singular_values_at_every_budget() -> None:
    """y = sum_l A_l x_l with independent isotropic inputs: E |error|^2 = sum over branches of |A_l - (A_l)_r|^2."""
    matrices = [RNG.normal(size=shape) for shape in ((5, 4), (5, 7), (5, 3), (5, 5))]
    ranks = [tuple(range(1, min(matrix.shape) + 1)) for matrix in matrices]
    tables = [
        Table(f"branch {i}", r, tuple(float(((m - truncated(m, k)) ** 2).sum()) for k in r))
        for i, (m, r) in enumerate(zip(matrices, ranks, strict=True))
    ]
    prices = [sum(matrix.shape) for matrix in matrices]
    cost = separable([(lambda rank, price=price: price * rank) for price in prices])
    joint = np.hstack(matrices)
    for budget in range(sum(prices), cost(tuple(r[-1] for r in ranks)) + 1):
        found = allocate(tables, cost, budget)
        assert (found.method, found.optimal) == ("dp", True)
        assert found.predicted_loss == pytest.approx(knapsack_of_singular_values(matrices, budget), abs=1e-9)
        cut = np.hstack([truncated(m, k) for m, k in zip(matrices, found.profile, strict=True)])
        assert ((joint - cut) ** 2).sum() == pytest.approx(found.predicted_loss, abs=1e-9)


SINGULAR = np.array([2.0, 1.5, 1.1, 0.8, 0.5, 0.3])
LAYERS = 4  # hidden layers, so five factors


def serial_loss(profile: tuple[int, ...]) -> float:
    """Excess squared error of five balanced factors diag(s^(1/5)) in series with the hidden layers cut to `profile`."""
    factor, product = np.diag(SINGULAR ** (1 / (LAYERS + 1))), np.eye(6)
    for width in profile:
        product = np.diag((np.arange(6) < width).astype(float)) @ factor @ product
    return float(((np.diag(SINGULAR) - factor @ product) ** 2).sum())


def serial_tables() -> list[Table]:
    def alone(layer: int, width: int) -> float:
        return max(0.0, serial_loss(tuple(width if i == layer else 6 for i in range(LAYERS))))

    return [
        Table(str(2 * i), tuple(range(1, 7)), tuple(alone(i, w) if w < 6 else 0.0 for w in range(1, 7)))
        for i in range(LAYERS)
    ]


def test_for_layers_in_series_the_sum_of_errors_predicts_up_to_as_many_times_the_loss_as_there_are_layers() -> None:
    tables = serial_tables()
    for width in range(1, 6):
        profile = (width,) * LAYERS
        additive = sum(table.errors[width - 1] for table in tables)
        assert additive == pytest.approx(LAYERS * serial_loss(profile))
    assert serial_loss((5, 2, 4, 3)) == pytest.approx(serial_loss((2, 2, 2, 2)))  # only the narrowest layer counts


def test_for_layers_in_series_the_greatest_error_predicts_the_loss_and_saves_more_at_the_same_loss() -> None:
    tables, groups = serial_tables(), perceptron_groups(6, 6, 6, 6, 6, 6)
    cost = cost_of(groups, "macs")
    for budget in range(cost((1,) * 4), cost((6,) * 4) + 1, 7):
        greatest, summed = (allocate(tables, cost, budget, method=method) for method in ("minmax", "auto"))
        assert greatest.predicted_loss == pytest.approx(serial_loss(greatest.profile), abs=1e-12)
        assert summed.predicted_loss >= serial_loss(summed.profile) - 1e-12
        assert serial_loss(greatest.profile) <= serial_loss(summed.profile) + 1e-12
        assert greatest.cost == groups.num_macs(greatest.profile) <= budget
        assert greatest.optimal
        assert greatest.certificate.startswith("Of the greatest error, not of the sum: No profile")


def test_minmax_is_the_least_greatest_error_of_all_profiles_and_nested_over_budgets() -> None:
    for seed in range(10):
        tables = random_tables(np.random.default_rng(seed), groups=3, widths=5)
        cost = chain([2, 3], [1, 4, 2])
        every = [(cost(p), max(t.errors[w - 1] for t, w in zip(tables, p, strict=True))) for p in profiles(tables)]
        budgets = sorted({c for c, _ in every}, reverse=True)[::3]
        found = [allocate(tables, cost, budget, method="minmax") for budget in budgets]
        for budget, allocation in zip(budgets, found, strict=True):
            assert allocation.predicted_loss == min(e for c, e in every if c <= budget)
        assert nested([allocation.profile for allocation in found])
        points = frontier(tables, cost, method="minmax")
        assert {allocation.profile for allocation in found} <= {point.profile for point in points}


def test_minmax_of_a_plain_function_says_what_it_supposes() -> None:
    found = allocate(serial_tables(), perceptron_groups(6, 6, 6, 6, 6, 6).num_macs, 60, method="minmax")
    assert not found.optimal
    assert "if no cost falls when a width grows" in found.certificate
