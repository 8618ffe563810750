"""Lagrangian relaxation: a bound on what any profile can reach, and the profiles on the lower convex hull.

    D(lambda) = min_w sum_g e_g(w_g) + sum_i lambda_i (c_i(w) - B_i) <= the loss of every profile within the budgets

The largest D is found with cutting planes: each profile met is a line above D; a linear programme takes the highest
point below all lines, and the profile that is best there gives the next one. For a single constraint this walks to the
two corners of the hull beside the budget. Profiles between the corners, which may be better, are never met: the answer
comes with the gap to the bound. Source: Everett, Operations Research 1963; Kelley, "The cutting-plane method", 1960.
"""

from dataclasses import dataclass

import numpy as np

from paretorch.errors import RunError
from paretorch.methods.width.allocation.costs import Array
from paretorch.methods.width.allocation.elimination import Elimination
from paretorch.methods.width.allocation.problem import Choice, Problem

MAX_ROUNDS = 500
TOLERANCE = 1e-10  # relative to the range of errors


@dataclass(frozen=True, eq=False)
class Dual:
    """bound: no profile within the budgets has less loss. multipliers: float64 (constraints,), error per cost.

    best: the best choice within the budgets that was met.
    """

    bound: float
    multipliers: Array
    best: Choice


def solve(problem: Problem, start: Choice) -> Dual:
    """The highest bound, and the best corner of the hull within the budgets.

    Args:
        problem: structured.
        start: a choice within the budgets.

    Raises:
        InputError: if the cost couples too many groups (see `elimination`).
        RunError: if the linear programme fails.
    """
    elimination = Elimination(problem)
    scale = sum(float(row.max() - row.min()) for row in problem.errors) or 1.0
    spans = np.maximum(np.abs(_excess(problem, problem.largest)), np.abs(_excess(problem, start)))
    spans[spans == 0] = 1.0
    losses, excesses = [problem.loss(start)], [_excess(problem, start)]
    met: dict[Choice, float] = {start: losses[0]}
    bound, multipliers, best = -np.inf, np.zeros(len(problem.costs)), start
    at = multipliers
    for _ in range(MAX_ROUNDS):
        choices, values = elimination.minimise(at[None])
        value = float(values[0] - at @ problem.limits)
        if value > bound:
            bound, multipliers = value, at
        choice: Choice = tuple(choices[0].tolist())
        if choice in met:  # no new line: D itself is reached
            break
        met[choice] = problem.loss(choice)
        losses.append(met[choice])
        excesses.append(_excess(problem, choice))
        if met[choice] < met[best] and problem.feasible(choice):
            best = choice
        at, highest = _highest_below(np.array(losses) / scale, np.array(excesses) / spans)
        at = at * scale / spans
        if highest * scale <= bound + TOLERANCE * scale:
            break
    return Dual(min(bound, met[best]), multipliers, best)


def hull(problem: Problem, *, at_most: int = 400) -> list[Choice]:
    """Corners of the lower convex hull of all (cost, loss), from the greatest cost to the least; one constraint.

    Every corner is the best profile of its cost. Open stretches are searched together, one row of multipliers each.

    Args:
        problem: structured.
        at_most: stop when about this many corners are known.
    """
    elimination = Elimination(problem)
    (name,) = problem.costs
    ends, _ = elimination.minimise(np.zeros((1, 1)))
    cheapest, _ = elimination.minimise(np.ones((1, 1)), errors=False)
    first, last = (tuple(rows[0].tolist()) for rows in (ends, cheapest))
    points = {choice: (float(problem.cost(choice)[name]), problem.loss(choice)) for choice in (first, last)}
    scale = abs(points[first][1]) + abs(points[last][1])
    pieces = [(first, last)]
    while pieces and len(points) < at_most:
        pieces = [(a, b) for a, b in pieces if points[a][0] > points[b][0] and points[a][1] <= points[b][1]]
        if not pieces:
            break
        (cost_a, loss_a), (cost_b, loss_b) = (np.array([points[p[i]] for p in pieces]).T for i in (0, 1))
        slopes = (loss_b - loss_a) / (cost_a - cost_b)
        choices, _ = elimination.minimise(slopes[:, None])
        split = []
        for (a, b), slope, row in zip(pieces, slopes, choices, strict=True):
            middle: Choice = tuple(row.tolist())
            cost, loss = float(problem.cost(middle)[name]), problem.loss(middle)
            below = points[a][1] + slope * points[a][0] - (loss + slope * cost)
            if middle not in points and below > TOLERANCE * scale:
                points[middle] = (cost, loss)
                split += [(a, middle), (middle, b)]
        pieces = split
    return not_dominated(points)


def not_dominated(points: dict[Choice, tuple[float, float]]) -> list[Choice]:
    """Choices that no other beats in cost and loss, from the greatest cost to the least."""
    kept: list[Choice] = []
    for choice in sorted(points, key=lambda c: points[c]):
        if not kept or points[choice][1] < points[kept[-1]][1]:
            kept.append(choice)
    return kept[::-1]


def _excess(problem: Problem, choice: Choice) -> Array:
    """Cost minus budget, float64 (constraints,)."""
    return np.array([value - problem.budgets[name] for name, value in problem.cost(choice).items()], dtype=np.float64)


def _highest_below(losses: Array, excesses: Array) -> tuple[Array, float]:
    """Where t <= loss_k + lambda . excess_k for all k allows the greatest t, with lambda >= 0; and that t.

    Args:
        losses: (lines,). excesses: (lines, constraints); one line has no positive excess.
    """
    if excesses.shape[1] == 1:
        return _highest_crossing(losses, excesses[:, 0])
    from scipy.optimize import linprog

    constraints = excesses.shape[1]
    found = linprog(
        np.append(np.zeros(constraints), -1.0),
        A_ub=np.hstack([-excesses, np.ones((len(losses), 1))]),
        b_ub=losses,
        bounds=[(0, None)] * constraints + [(None, None)],
        method="highs",
    )
    if not found.success:
        raise RunError(f"the linear programme for the multipliers failed: {found.message}")
    return np.maximum(found.x[:-1], 0.0), float(-found.fun)


def _highest_crossing(losses: Array, excesses: Array) -> tuple[Array, float]:
    """The same for one constraint: the lowest crossing of a rising line with one that does not rise, or the lowest of
    the latter at lambda = 0. A linear programme would take a hundred times as long."""
    rising, others = excesses > 0, excesses <= 0
    highest = float(losses[others].min())
    if not rising.any():
        return np.zeros(1), highest
    crossings = losses[rising][:, None] * -excesses[others] + losses[others] * excesses[rising][:, None]
    highest = min(highest, float((crossings / (excesses[rising][:, None] - excesses[others])).min()))
    return np.array([max(0.0, float(((highest - losses[rising]) / excesses[rising]).max()))]), highest
