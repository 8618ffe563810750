"""All best profiles, exactly, for a cost of known structure: lists of not dominated labels up a tree of cliques.

For every clique and every value s of its separator, a list of all not dominated ways (cost, error) to choose the groups
that are decided there and below:

    F(s) = Pareto over w of ( (c(w, s), e(w)) + sum over cliques below of F_u(s_u) )

Without parts of several groups this is the knapsack of FlexRank (Zaccone et al., ICML 2026); along a path of layers it
is the label-setting form that width costs a_l w_(l-1) w_l need, where a saving depends on the neighbours; residual
networks need cliques of three groups. Lists can grow exponentially. For a single budget most labels are dropped by
bounds that are linear in error and cost (see `completion`). Costs can be rounded *up* to multiples of a bucket, so that
a budget is never exceeded (SPDY, Frantar and Alistarh, ICML 2022, rounds to nearest).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from paretorch.methods.width.allocation.cliques import Clique, Scope, clique_tree
from paretorch.methods.width.allocation.completion import Bound, Completion, aligned
from paretorch.methods.width.allocation.costs import Array
from paretorch.methods.width.allocation.labels import Labels, TooManyLabelsError, together
from paretorch.methods.width.allocation.problem import Choice, Problem

MAX_STATES = 50_000  # values of cliques that are searched one by one, each with several array operations


def best_choices(
    problem: Problem, *, parts: Mapping[Scope, Array] | None = None, bounds: Sequence[Bound] = ()
) -> Labels:
    """All not dominated choices of a problem with one structured cost, at increasing cost.

    Args:
        problem: with one cost of known structure.
        parts: other cost tables, such as those of `rounded_up`.
        bounds: what a label must keep to; those that cannot are dropped, with all profiles they lead to.

    Returns:
        Labels that decide every group; costs leave the constant out. None at all if the bounds exclude everything.

    Raises:
        TooManyLabelsError: if there are too many states, or their lists grow too long.
    """
    tables = problem.parts[0] if parts is None else parts
    sizes = [len(grid) for grid in problem.grids]
    cliques = clique_tree(sizes, list(tables))
    costs = [_cost_table(clique, tables, sizes) for clique in cliques]
    completions = [Completion(bound, cliques, costs, problem.errors) for bound in bounds]
    states = [_states(cost, [completion.possible(at) for completion in completions]) for at, cost in enumerate(costs)]
    if (count := sum(map(len, states))) > MAX_STATES:
        raise TooManyLabelsError(
            f"{count} states would have to be searched, more than {MAX_STATES}; offer fewer widths, or use "
            'method="trust_region"'
        )
    found: list[dict[Scope, Labels]] = []  # by clique: rows of the separator -> labels
    for at, clique in enumerate(cliques):
        lists: dict[Scope, list[Labels]] = {}
        for state in states[at]:
            rows = dict(zip(clique.scope, state, strict=True))
            labels = _start(problem, clique, costs[at][state], rows)
            for done, number in enumerate(clique.below, start=1):
                more = found[number].get(tuple(rows[group] for group in cliques[number].separator))
                labels = labels.rows(np.arange(0)) if more is None else labels.plus(more)
                for completion in completions:
                    labels = _within(labels, completion, completion.rest(at, rows, clique.below[done:]))
            if len(labels):
                lists.setdefault(tuple(rows[group] for group in clique.separator), []).append(labels)
        found.append({rows: together(several) for rows, several in lists.items()})
        for number in clique.below:
            found[number] = {}  # no longer needed
    return found[-1].get((), _nothing(problem))


def rounded_up(problem: Problem, *, buckets: int) -> tuple[dict[Scope, Array], float, float]:
    """The cost tables in whole buckets above each table's least entry, rounded up, and what the budget is in them.

    Returns:
        Tables of int64; the budget in buckets; the size of one bucket in the unit of the cost.
    """
    parts, limit = problem.parts[0], float(problem.limits[0])
    least = {scope: table.min() for scope, table in parts.items()}
    room = limit - float(sum(least.values()))
    bucket = room / buckets if room > 0 else 1.0
    tables = {scope: np.ceil((table - least[scope]) / bucket).astype(np.int64) for scope, table in parts.items()}
    return tables, room / bucket, bucket


def chosen(labels: Labels, index: int) -> Choice:
    """The choice of one label."""
    return tuple(labels.choices[index].tolist())


def _cost_table(clique: Clique, tables: Mapping[Scope, Array], sizes: Sequence[int]) -> Array:
    """The parts that are counted in a clique, over its scope."""
    total: Array = np.zeros([sizes[group] for group in clique.scope], dtype=np.int64)
    for scope in clique.parts:
        total = total + aligned(scope, tables[scope], clique.scope)
    return total


def _states(cost: Array, possible: Sequence[Array]) -> list[Scope]:
    """Values of a clique's scope that every bound allows."""
    allowed = np.ones(cost.shape, dtype=bool)
    for some in possible:
        allowed &= some
    return [tuple(row) for row in np.argwhere(allowed).tolist()]


def _start(problem: Problem, clique: Clique, cost: Array, rows: Mapping[int, int]) -> Labels:
    """One label that decides the group of the clique, if it has one."""
    choice, error = np.full((1, len(problem.tables)), -1, dtype=np.int32), 0.0
    if clique.group is not None:
        choice[0, clique.group] = rows[clique.group]
        error = float(problem.errors[clique.group][rows[clique.group]])
    return Labels(np.array([cost]), np.array([error]), choice)


def _within(labels: Labels, completion: Completion, rest: float) -> Labels:
    bound = completion.bound
    return labels.rows(bound.per_error * labels.errors + bound.per_cost * labels.costs + rest <= bound.most)


def _nothing(problem: Problem) -> Labels:
    return Labels(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros((0, len(problem.tables)), dtype=np.int32))
