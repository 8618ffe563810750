"""Any cost, and several at once: linearise at the profile reached, solve the separable problem near it, count again.

    c(w) is modelled by c(k) + sum_g ( c(k with w_g instead of k_g) - c(k) )   within r rows of every table

The model is exact for one change at a time; for several it is wrong by their products (halving every width of a deep
perceptron keeps about a quarter of its parameters, the model says far less). So the candidate is counted exactly, and
the region shrinks to half when it is no better than what there was. First down from the greatest widths until the
budgets are kept, then on within them, also from every other start. A local search: good, and proved nowhere. The answer
is supposed to exist: costs do not fall when a width grows, so that the smallest widths keep to the budgets if any do.
Source: sequential linear programming with a trust region; Griffith and Stewart, Management Science 1961.
"""

from collections.abc import Mapping, Sequence

from paretorch.methods.width.allocation import lagrange
from paretorch.methods.width.allocation.costs import Number, separable
from paretorch.methods.width.allocation.polish import polished
from paretorch.methods.width.allocation.problem import Choice, Problem
from paretorch.methods.width.tables import Table

Model = dict[str, list[list[Number]]]  # constraint -> group -> row -> change of the cost


def solve(problem: Problem, starts: Sequence[Choice]) -> Choice:
    """The best choice found.

    Args:
        problem: any.
        starts: choices within the budgets, at least one.
    """
    descended = _descended(problem)
    found = [_improved(problem, start) for start in (*starts, *([descended] if descended is not None else []))]
    return min(found, key=problem.loss)


def _descended(problem: Problem) -> Choice | None:
    """From the greatest widths down, each time half the way to what is reachable or to the budgets; None if stuck."""
    centre, radius = problem.largest, max(problem.largest)
    while not problem.feasible(centre):
        model, cost = _model(problem, centre), problem.cost(centre)
        candidate = centre
        while candidate == centre and radius >= 1:
            lowest = tuple(max(0, row - radius) for row in centre)
            reach = {name: cost[name] + _change(model[name], lowest) for name in cost}
            aims = {name: max(limit, (cost[name] + reach[name]) / 2) for name, limit in problem.budgets.items()}
            aims = {name: aims[name] if cost[name] > limit else limit for name, limit in problem.budgets.items()}
            tried = _solved_near(problem, centre, model, aims, radius=radius, start=lowest)
            if _violation(problem, tried) < _violation(problem, centre):
                candidate = tried
            else:
                radius //= 2
        if candidate == centre:
            return None
        centre = candidate
    return centre


def _improved(problem: Problem, centre: Choice) -> Choice:
    """Within the budgets, moves that lower the loss, in ever smaller regions; then one group at a time."""
    radius = max(problem.largest)
    model = _model(problem, centre)
    while radius >= 1:
        tried = _solved_near(problem, centre, model, problem.budgets, radius=radius, start=centre)
        if problem.loss(tried) < problem.loss(centre) and problem.feasible(tried):
            centre, model = tried, _model(problem, tried)
        else:
            radius //= 2
    return polished(problem, centre)


def _model(problem: Problem, centre: Choice) -> Model:
    """How much each cost changes when one group alone moves from the centre to each of its rows."""
    here = problem.cost(centre)
    model: Model = {name: [] for name in problem.costs}
    for group, grid in enumerate(problem.grids):
        moved = [problem.cost((*centre[:group], row, *centre[group + 1 :])) for row in range(len(grid))]
        for name, changes in model.items():
            changes.append([cost[name] - here[name] for cost in moved])
    return model


def _change(changes: Sequence[Sequence[Number]], choice: Choice) -> Number:
    return sum(rows[row] for rows, row in zip(changes, choice, strict=True))


def _solved_near(
    problem: Problem, centre: Choice, model: Model, budgets: Mapping[str, Number], *, radius: int, start: Choice
) -> Choice:
    """The best of the model within `radius` rows of the centre; `start`, which lies there, if that exceeds budgets."""
    rows = [
        range(max(0, k - radius), min(last, k + radius) + 1) for k, last in zip(centre, problem.largest, strict=True)
    ]
    tables = tuple(
        Table(table.group, tuple(table.widths[r] for r in near), tuple(table.errors[r] for r in near))
        for table, near in zip(problem.tables, rows, strict=True)
    )
    here = problem.cost(centre)
    costs, limits = {}, {}
    for name, changes in model.items():
        by_width = [
            {table.widths[i]: group[r] for i, r in enumerate(near)}
            for table, group, near in zip(tables, changes, rows, strict=True)
        ]
        costs[name] = separable([widths.__getitem__ for widths in by_width])
        limits[name] = budgets[name] - here[name]
    nearby = Problem(tables, costs, limits)
    inside = tuple(row - near.start for row, near in zip(start, rows, strict=True))
    if not nearby.feasible(inside):
        return start
    found = polished(nearby, lagrange.solve(nearby, inside).best)
    return tuple(row + near.start for row, near in zip(found, rows, strict=True))


def _violation(problem: Problem, choice: Choice) -> float:
    """By how much the budgets are exceeded in all, each in units of what the greatest widths cost."""
    full = problem.cost(problem.largest)
    excess = {name: cost - problem.budgets[name] for name, cost in problem.cost(choice).items()}
    return sum(max(0.0, value) / (abs(full[name]) or 1.0) for name, value in excess.items())
