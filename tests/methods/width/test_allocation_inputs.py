"""What allocation refuses, and where the coefficients of costs come from."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.methods.width.allocation.costs import Cost, Lookup, Monomials, chain, cost_of, separable
from paretorch.methods.width.allocation.elimination import Elimination
from paretorch.methods.width.allocation.problem import problem_of
from paretorch.methods.width.groups import Count, Term, WidthGroup, WidthGroups
from paretorch.methods.width.profile import allocate, frontier
from paretorch.methods.width.tables import Table
from tests.methods.width.handmade import perceptron_groups
from tests.methods.width.instances import random_tables

TABLES = [Table("0", (1, 2, 4), (0.5, 0.2, 0.0)), Table("2", (2, 4), (0.3, 0.0))]
GROUPS = perceptron_groups(3, 4, 4, 2)


def test_an_infeasible_budget_says_the_smallest_reachable_cost_and_its_widths() -> None:
    least = GROUPS.num_params((1, 2))
    message = rf"no profile of these tables keeps the {{}} within 5; the smallest reachable is {least}, at .*\(1, 2\)"
    for cost in (cost_of(GROUPS, "params"), GROUPS.num_params):
        with pytest.raises(InputError, match=message.format("cost")):
            allocate(TABLES, cost, 5)
        with pytest.raises(InputError, match=message.format("params")):
            allocate(TABLES, {"macs": GROUPS.num_macs, "params": cost}, {"macs": 10**6, "params": 5})
        assert allocate(TABLES, cost, least).profile == (1, 2)


@pytest.mark.parametrize(
    ("tables", "cost", "budget", "message"),
    [
        ([], GROUPS.num_params, 10, "there is no table"),
        ([TABLES[0]] * 2, GROUPS.num_params, 10, "several tables of the width group '0'"),
        (TABLES[:1], cost_of(GROUPS, "params"), 10, "cost is a cost of 2 width groups, but there are 1 tables"),
        (TABLES[::-1], cost_of(GROUPS, "params"), 10, "expects the table of '0' where that of '2' stands"),
        (TABLES, cost_of(GROUPS, "params"), math.nan, "budget of cost must be a finite number; got nan"),
        (TABLES, cost_of(GROUPS, "params"), math.inf, "finite number; got inf"),
        (TABLES, cost_of(GROUPS, "params"), True, "finite number; got True"),
        (TABLES, {"params": GROUPS.num_params}, 10, "in the same form"),
        (TABLES, {"params": GROUPS.num_params}, {"macs": 3}, r"given for \['params'\] and budgets for \['macs'\]"),
        (TABLES, {}, {}, "there is no cost"),
        (TABLES, "params", 10, "a cost is a Cost or a function of a profile; got str"),
        (TABLES, separable([float, lambda w: math.nan]), 10, r"NaN or infinite for some widths of the groups \(1,\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(tables, cost, budget, message) -> None:
    with pytest.raises(InputError, match=message):
        allocate(tables, cost, budget)


def test_unknown_methods_and_misplaced_buckets_are_refused() -> None:
    with pytest.raises(InputError, match="unknown method 'hul'; did you mean 'hull'"):
        allocate(TABLES, GROUPS.num_params, 30, method="hul")
    for method, buckets in (("hull", 10), ("dp", 0), ("dp", 2.0)):
        with pytest.raises(InputError, match=f"buckets is an integer of at least 1.*got {buckets!r}"):
            allocate(TABLES, separable([int, int]), 30, method=method, buckets=buckets)


def test_a_profile_has_one_width_per_table_and_a_table_of_one_width_is_fixed() -> None:
    tables = [TABLES[0], Table("2", (4,), (0.0,))]
    for method in ("auto", "chain_dp", "lagrange", "minmax", "trust_region"):
        found = allocate(tables, cost_of(GROUPS, "params"), GROUPS.num_params((2, 4)), method=method)
        assert found.profile == (2, 4)
    assert [point.profile for point in frontier(tables, cost_of(GROUPS, "params"))] == [(4, 4), (2, 4), (1, 4)]


def test_a_cost_that_couples_too_much_is_refused_by_the_relaxation_and_searched_without_a_bound() -> None:
    tables = random_tables(np.random.default_rng(0), groups=9, widths=8)
    everything = Cost(num_groups=9, parts=(CountedPart(tuple(range(9))),))
    problem = problem_of(tables, everything, 100)
    assert Elimination(problem).entries == 8**9
    with pytest.raises(InputError, match=r"couples so many width groups.*1.3e\+08 numbers.*trust_region"):
        Elimination(problem).minimise(np.zeros((1, 1)))


class CountedPart:
    """A part whose table is never made."""

    def __init__(self, scope: tuple[int, ...]) -> None:
        self.scope = scope

    def at(self, widths):
        return sum(widths)

    def table(self, grids):
        return np.zeros((1,) * len(grids))


def test_costs_of_a_perceptron_form_a_chain_and_equal_an_exact_count() -> None:
    groups = perceptron_groups(7, 5, 6, 4, 3)
    params, macs = cost_of(groups, "params"), cost_of(groups, "macs")
    assert (params.kind, macs.kind) == ("chain", "chain")
    assert params((5, 6, 4)) == 7 * 5 + 5 + 5 * 6 + 6 + 6 * 4 + 4 + 4 * 3 + 3
    assert macs((2, 3, 1)) == 7 * 2 + 2 * 3 + 3 * 1 + 1 * 3
    by_hand = chain([1, 1], [8, 1, 4], constant=3)
    for profile in ((1, 1, 1), (2, 6, 3), (5, 6, 4)):
        assert params(profile) == by_hand(profile) == groups.num_params(profile)
        assert isinstance(params(profile), int)
    with pytest.raises(InputError, match="unknown resource 'flops'; there are 'params', 'macs', 'activations'"):
        cost_of(groups, "flops")


counts = st.builds(Count, st.integers(0, 5), st.dictionaries(st.integers(0, 3), st.integers(0, 4), max_size=3))


@given(
    terms=st.lists(st.builds(Term, st.integers(-3, 9), st.lists(counts, max_size=3).map(tuple)), max_size=4),
    profile=st.tuples(*[st.integers(1, 9)] * 4),
)
def test_any_polynomial_of_counts_is_multiplied_out_exactly(terms, profile) -> None:
    groups = WidthGroups(tuple(WidthGroup(str(i), 9) for i in range(4)), (), activations=tuple(terms))
    cost = cost_of(groups, "activations")
    assert cost(profile) == groups.num_activations(profile)
    grids = [tuple(range(1, 10))] * 4
    from_tables = cost.constant + sum(
        table[tuple(profile[group] - 1 for group in scope)] for scope, table in cost.tables(grids).items()
    )
    assert from_tables == cost(profile)
    scopes = {part.scope for part in cost.parts}
    assert len(scopes) == len(cost.parts)  # one part per scope
    assert (cost.kind == "separable") == all(len(scope) == 1 for scope in scopes)


def test_structure_is_found_in_the_terms() -> None:
    def groups(*terms: Term) -> WidthGroups:
        return WidthGroups(tuple(WidthGroup(str(i), 9) for i in range(3)), (), params=terms)

    one, two, three = (Count(0, {i: 2}) for i in range(3))
    fixed, concatenated = Count(5), Count(1, {0: 2, 1: 3})
    assert cost_of(groups(Term(1, (fixed, one)), Term(3, (three,))), "params").kind == "separable"
    assert (
        cost_of(groups(Term(1, (one, one)), Term(1, (two,))), "params").kind == "separable"
    )  # a square sees one group
    assert cost_of(groups(Term(1, (one, two)), Term(1, (two, three))), "params").kind == "chain"
    assert cost_of(groups(Term(1, (concatenated, three))), "params").kind == "chain"  # two producers, one reader
    assert cost_of(groups(Term(1, (one, two)), Term(1, (concatenated, three))), "params").kind == "general"
    assert cost_of(groups(Term(1, (one, two, three))), "params").kind == "general"
    assert cost_of(groups(Term(4, (fixed,))), "params").constant == 20


def test_a_chain_and_its_scopes_are_checked() -> None:
    with pytest.raises(InputError, match="a chain of 2 groups has 1 products of neighbours; got 2"):
        chain([1, 2], [3, 4])
    for scope in ((1, 0), (0, 0), (0, 2)):
        with pytest.raises(InputError, match=r"sees the groups .*; expected increasing numbers from 0 to 1"):
            Cost(num_groups=2, parts=(Lookup(scope, lambda a, b: a * b),))


def test_parts_keep_integers_exact_and_tables_of_functions_take_their_values() -> None:
    big = Monomials((0, 1), (((1, 2), 10**9),))
    assert big.table([(3,), (7, 11)]).tolist() == [[3 * 49 * 10**9, 3 * 121 * 10**9]]
    assert big.at((3, 11)) == 363 * 10**9
    times = Lookup((0, 2), lambda a, b: 0.5 * a + b)
    assert times.table([(1, 2), (4, 8)]).tolist() == [[4.5, 8.5], [5.0, 9.0]]
    assert Lookup((0,), lambda a: 3 * a).table([(1, 2)]).dtype == np.int64
