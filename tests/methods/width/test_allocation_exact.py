"""The exact solvers against trying every profile."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.methods.width.allocation import exact
from paretorch.methods.width.allocation.cliques import clique_tree
from paretorch.methods.width.allocation.completion import Bound, Completion
from paretorch.methods.width.allocation.costs import Cost, Lookup, Monomials, chain, cost_of, separable
from paretorch.methods.width.allocation.exact import _cost_table, rounded_up
from paretorch.methods.width.allocation.labels import Labels, TooManyLabelsError
from paretorch.methods.width.allocation.problem import problem_of
from paretorch.methods.width.profile import allocate, frontier
from paretorch.methods.width.tables import Table
from tests.methods.width.handmade import perceptron_groups
from tests.methods.width.instances import by_trying_all, loss_of, profiles, random_tables


@st.composite
def width_tables(draw, *, most_groups=4, most_widths=5, monotone=True):
    tables = []
    for group in range(draw(st.integers(1, most_groups))):
        widths = sorted(draw(st.sets(st.integers(1, 40), min_size=1, max_size=most_widths)))
        errors = draw(st.lists(st.integers(0, 50), min_size=len(widths), max_size=len(widths)))
        errors = sorted(errors, reverse=True) if monotone else errors
        tables.append(Table(str(2 * group), tuple(widths), tuple(float(e) for e in errors)))
    return tables


@settings(max_examples=60, deadline=None)
@given(tables=width_tables(), data=st.data())
def test_a_chain_of_layers_is_solved_as_by_trying_every_profile(tables, data) -> None:
    size = [1, *(table.widths[-1] for table in tables), 1]
    groups = perceptron_groups(*[data.draw(st.integers(1, 30)) if n == 1 else n for n in size])
    cost = cost_of(groups, "params")
    costs = [cost(p) for p in profiles(tables)]
    budget = data.draw(st.integers(min(costs), max(costs)))
    found = allocate(tables, cost, budget)
    assert found.optimal
    assert found.predicted_loss == pytest.approx(by_trying_all(tables, (groups.num_params, budget)))
    assert found.predicted_loss == pytest.approx(loss_of(tables, found.profile))
    assert found.cost == groups.num_params(found.profile) <= budget


@settings(max_examples=60, deadline=None)
@given(tables=width_tables(monotone=False), data=st.data())
def test_separable_costs_are_solved_as_by_trying_every_profile_whatever_their_shape(tables, data) -> None:
    values = [{w: data.draw(st.integers(-20, 90)) for w in table.widths} for table in tables]
    cost = separable([value.__getitem__ for value in values], constant=5)
    costs = [cost(p) for p in profiles(tables)]
    budget = data.draw(st.integers(min(costs), max(costs)))
    found = allocate(tables, cost, budget, method="dp")
    assert found.optimal
    assert found.predicted_loss == pytest.approx(by_trying_all(tables, (cost, budget)))
    assert found.cost == cost(found.profile) <= budget


@pytest.mark.parametrize("seed", range(10))
def test_a_star_and_two_chains_side_by_side_are_forests_and_solved_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tables = random_tables(rng, groups=5, widths=4)
    a = [float(x) for x in rng.random(8)]
    for edges in ([(0, 2), (1, 2), (2, 3), (2, 4)], [(0, 4), (1, 3)]):
        pairs = [Monomials(edge, (((1, 1), x),)) for edge, x in zip(edges, a, strict=False)]
        single = Lookup((1,), lambda w: 0.1 * w**0.5)
        cost = Cost(num_groups=5, parts=(*pairs, single), constant=0.25)
        assert cost.kind == "chain"
        budget = float(np.quantile([cost(p) for p in profiles(tables)], rng.random()))
        found = allocate(tables, cost, budget)
        assert (found.method, found.optimal) == ("chain_dp", True)
        assert found.predicted_loss == pytest.approx(by_trying_all(tables, (cost, budget)), abs=1e-12)
        assert found.cost <= budget


def test_the_whole_exact_frontier_of_a_chain_is_that_of_all_profiles() -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        tables = random_tables(rng, groups=4, widths=4)
        cost = chain(rng.integers(1, 9, 3).tolist(), rng.integers(1, 9, 4).tolist(), constant=7)
        best: list[tuple[float, float]] = []
        for c, e in sorted((cost(p), loss_of(tables, p)) for p in profiles(tables)):
            if not best or e < best[-1][1] - 1e-12:
                best.append((c, e))
        points = frontier(tables, cost, method="chain_dp", nested=False)
        assert [point.cost for point in points] == [c for c, _ in reversed(best)]
        assert [point.loss for point in points] == pytest.approx([e for _, e in reversed(best)])
        assert all(point.cost == cost(point.profile) for point in points)


def test_the_frontier_of_flexranks_own_example() -> None:
    tables = [Table("a", (1, 2), (0.2, 0.0)), Table("b", (1, 2), (0.1, 0.0))]
    cost = separable([{1: 0, 2: 4}.__getitem__, {1: 0, 2: 3}.__getitem__])

    def drops(nested: bool) -> list[tuple[int, ...]]:
        return [
            tuple(saving if width == 1 else 0 for width, saving in zip(point.profile, (4, 3), strict=True))
            for point in frontier(tables, cost, method="dp", nested=nested)
        ]

    assert sorted(drops(nested=False)) == [(0, 0), (0, 3), (4, 0), (4, 3)]
    assert drops(nested=True) == [(0, 0), (0, 3), (4, 3)]


def additive_savings(tables, cost) -> Cost:
    """The wrong cost: that of the full profile less what each cut saves alone."""
    full = tuple(table.widths[-1] for table in tables)

    def saved(group: int, width: int) -> int:
        return cost((*full[:group], width, *full[group + 1 :])) - cost(full)

    return separable([lambda w, g=g: saved(g, w) for g in range(len(full))], constant=cost(full))


def test_savings_of_widths_do_not_add_up_so_additive_savings_exceed_the_budget() -> None:
    groups = perceptron_groups(32, 96, 96, 96, 96, 10)
    cost = cost_of(groups, "params")
    tables = [Table(name, tuple(range(8, 97, 8)), tuple(1 - w / 96 for w in range(8, 97, 8))) for name in groups.names]
    wrong = additive_savings(tables, cost)
    assert (wrong((48,) * 4), cost((48,) * 4), cost(groups.full)) == (2218, 9130, 32074)
    violated = allocate(tables, wrong, 9130, method="dp")
    assert violated.cost <= 9130 < cost(violated.profile)
    assert allocate(tables, cost, 9130).cost <= 9130


def test_buckets_never_exceed_the_budget_where_rounding_to_the_nearest_does() -> None:
    rng = np.random.default_rng(0)
    exceeded = 0
    for _ in range(40):
        tables = random_tables(rng, groups=5, widths=5)
        seconds = [dict(zip(range(1, 6), np.sort(rng.random(5)).tolist(), strict=True)) for _ in range(5)]
        cost = separable([row.__getitem__ for row in seconds])
        budget = 0.4 * cost((1,) * 5) + 0.6 * cost((5,) * 5)
        found = allocate(tables, cost, budget, method="dp", buckets=10)
        best = allocate(tables, cost, budget, method="dp")
        assert found.cost == cost(found.profile) <= budget
        assert found.lower_bound <= best.predicted_loss <= found.predicted_loss
        size = budget / 10
        nearest = separable([{w: round(x / size) for w, x in row.items()}.__getitem__ for row in seconds])
        exceeded += cost(allocate(tables, nearest, 10, method="dp").profile) > budget
    assert exceeded > 5
    fine = allocate(tables, cost, budget, method="dp", buckets=100_000)
    assert fine.predicted_loss == best.predicted_loss


def test_bucketed_tables_are_rounded_up_by_less_than_a_bucket() -> None:
    tables = random_tables(np.random.default_rng(1), groups=3, widths=4)
    problem = problem_of(tables, chain([0.3, 0.7], [0.1, 0.2, 0.9]), 9.0)
    rounded, limit, size = rounded_up(problem, buckets=50)
    assert limit == pytest.approx(50)
    for scope, table in problem.parts[0].items():
        above = rounded[scope] * size - (table - table.min())
        assert (above > -1e-12).all()
        assert (above < size).all()


def test_a_search_that_would_not_fit_in_memory_says_what_to_do() -> None:
    many = Labels(np.arange(5000), -np.arange(5000.0), np.zeros((5000, 1)))
    with pytest.raises(TooManyLabelsError, match=r"5000 x 5000 partial profiles; give `buckets`, or use"):
        many.plus(many)


def test_dominated_labels_are_dropped_and_of_equals_the_first_stays() -> None:
    costs, errors = np.array([3, 1, 2, 2, 1]), np.array([0.0, 5.0, 5.0, 1.0, 5.0])
    kept = Labels(costs, errors, np.arange(5)).pareto()
    assert kept.choices.tolist() == [1, 3, 0]


@pytest.mark.parametrize("method", ["hull", "dp"])
def test_a_method_for_separable_costs_refuses_width_costs(method: str) -> None:
    tables = random_tables(np.random.default_rng(0), groups=2, widths=3)
    with pytest.raises(
        InputError, match=f'"{method}" needs a separable cost, and this one is of chain structure; use "chain_dp"'
    ):
        allocate(tables, chain([1], [1, 1]), 12, method=method)


def random_structure(rng: np.random.Generator, groups: int) -> Cost:
    """Parts of one, two and three groups, at random: circles, several trees and squares among them."""
    parts = []
    for _ in range(int(rng.integers(1, 7))):
        scope = tuple(sorted(rng.choice(groups, size=int(rng.integers(1, 4)), replace=False).tolist()))
        powers = tuple(int(p) for p in rng.integers(1, 3, len(scope)))
        parts.append(Monomials(scope, ((powers, int(rng.integers(1, 9))),)))
    return Cost(num_groups=groups, parts=tuple(parts), constant=3)


@pytest.mark.parametrize("seed", range(25))
def test_any_known_structure_is_solved_as_by_trying_every_profile(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tables, cost = random_tables(rng, groups=5, widths=3), random_structure(rng, 5)
    costs = sorted({cost(p) for p in profiles(tables)})
    for budget in rng.choice(costs, 3).tolist():
        found = allocate(tables, cost, budget, method="chain_dp")
        assert found.optimal
        assert found.predicted_loss == pytest.approx(by_trying_all(tables, (cost, budget)), abs=1e-12)
        assert found.cost == cost(found.profile) <= budget
    points = frontier(tables, cost, method="chain_dp", nested=False)
    assert [p.loss for p in points] == pytest.approx([by_trying_all(tables, (cost, p.cost)) for p in points], abs=1e-12)
    assert points[-1].cost == costs[0]


@pytest.mark.parametrize("seed", range(10))
def test_the_tree_of_cliques_counts_every_part_once_and_every_group_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scopes = list({part.scope for part in random_structure(rng, 6).parts})
    cliques = clique_tree([4] * 6, scopes)
    assert sorted(scope for clique in cliques for scope in clique.parts) == sorted(scopes)
    assert sorted(clique.group for clique in cliques if clique.group is not None) == list(range(6))
    above = [number for clique in cliques for number in clique.below]
    assert sorted(above) == list(range(len(cliques) - 1))  # one clique above each but the root
    for at, clique in enumerate(cliques):
        assert all(set(scope) <= set(clique.scope) for scope in clique.parts)
        assert set(clique.separator) == set(clique.scope) - {clique.group}
        assert all(number < at and set(cliques[number].separator) <= set(clique.scope) for number in clique.below)
    for group in range(6):  # the cliques that see a group hang together: one of them alone passes it no further
        assert sum(group in c.scope and group not in c.separator for c in cliques) == 1


def test_messages_bound_what_is_still_to_come_exactly() -> None:
    rng = np.random.default_rng(2)
    tables, cost = random_tables(rng, groups=5, widths=3), random_structure(rng, 5)
    problem = problem_of(tables, cost, 0)
    cliques = clique_tree([3] * 5, list(problem.parts[0]))
    costs = [_cost_table(clique, problem.parts[0], [3] * 5) for clique in cliques]
    values = {p: loss_of(tables, p) + 0.1 * (cost(p) - cost.constant) for p in profiles(tables)}
    for most in np.quantile(list(values.values()), [0.0, 0.3, 0.8]):
        completion = Completion(Bound(1.0, 0.1, float(most) + 1e-9), cliques, costs, problem.errors)
        for at, clique in enumerate(cliques):
            kept = {tuple(p[group] - 1 for group in clique.scope) for p, value in values.items() if value <= most}
            assert {tuple(row) for row in np.argwhere(completion.possible(at)).tolist()} == kept


def test_where_the_exact_search_would_take_too_long_the_local_search_answers_and_says_so(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    tables = random_tables(rng, groups=4, widths=5)
    cost = chain([3, 1, 4], [1, 5, 9, 2])
    monkeypatch.setattr(exact, "MAX_STATES", 3)
    found = allocate(tables, cost, 120)
    assert found.method == "trust_region"
    assert "The exact solver: " in found.certificate
    assert "states would have to be searched, more than 3" in found.certificate
    assert found.lower_bound <= by_trying_all(tables, (cost, 120)) <= found.predicted_loss
    with pytest.raises(TooManyLabelsError, match='more than 3; offer fewer widths, or use method="trust_region"'):
        allocate(tables, cost, 120, method="chain_dp")


def test_circles_and_plain_functions_have_no_chain_and_exact_solvers_take_a_single_cost() -> None:
    tables = random_tables(np.random.default_rng(0), groups=3, widths=3)
    cost = Cost(
        num_groups=3, parts=tuple(Monomials(pair, (((1, 1), 1),)) for pair in itertools.combinations(range(3), 2))
    )
    assert cost.kind == "general"
    assert allocate(tables, cost, 20).optimal
    with pytest.raises(InputError, match='"chain_dp" needs costs whose structure is known'):
        allocate(tables, lambda p: cost(p), 20, method="chain_dp")
    for method in ("hull", "dp", "chain_dp"):
        with pytest.raises(InputError, match=f'"{method}" needs a single cost, and there are 2: a, b'):
            allocate(tables, {"a": cost, "b": cost}, {"a": 20, "b": 20}, method=method)
