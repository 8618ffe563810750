"""Separable costs: the lower convex hull of every table, merged by slope, is a nested chain of best profiles.

Along the hull of one table each step down saves cost s for a rise of the error by d, at increasing d / s. Taking all
steps of all tables in the order of d / s gives profiles that only ever shrink, each of them the best of its cost.
Source: Everett, Operations Research 1963 (generalised Lagrange multipliers); per table as in FlexRank, ICML 2026.
"""

from fractions import Fraction
from itertools import pairwise
from typing import Any

from paretorch.methods.width.allocation.costs import Array
from paretorch.methods.width.allocation.problem import Choice, Problem


def hull_chain(problem: Problem) -> list[Choice]:
    """The corners of the hull from the greatest cost to the least, for one separable cost.

    Where several steps have the same slope, earlier groups go first; their profiles lie on an edge of the hull and are
    best, too.
    """
    choice: list[int] = []
    steps: list[tuple[Fraction, int, int]] = []
    (parts,) = problem.parts
    for group, errors in enumerate(problem.errors):
        costs = parts.get((group,), 0 * errors)
        corners = lower_hull(costs, errors)
        choice.append(corners[0])
        for before, after in pairwise(corners):
            slope = _exact(errors[after], errors[before]) / _exact(costs[before], costs[after])
            steps.append((slope, group, after))
    chain = [tuple(choice)]
    for _, group, row in sorted(steps, key=lambda step: step[:2]):  # stable: a table's own steps stay in their order
        choice[group] = row
        chain.append(tuple(choice))
    return chain


def lower_hull(costs: Array, errors: Array) -> list[int]:
    """Rows on the lower convex hull of (cost, error), from the least error to the least cost; none is dominated."""
    order = sorted(range(len(costs)), key=lambda row: (errors[row], costs[row]))
    hull: list[int] = []
    for row in order:
        if hull and costs[row] >= costs[hull[-1]]:
            continue
        while len(hull) > 1 and _above(hull[-2], hull[-1], row, costs, errors):
            hull.pop()
        hull.append(row)
    return hull


def _above(first: int, middle: int, last: int, costs: Array, errors: Array) -> bool:
    """Whether `middle` lies above the line from `first` to `last`; costs fall in this order."""
    rise, saved = _exact(errors[middle], errors[first]), _exact(costs[first], costs[middle])
    return rise * _exact(costs[first], costs[last]) > _exact(errors[last], errors[first]) * saved


def _exact(greater: Any, less: Any) -> Fraction:
    """greater - less of two numbers of numpy, without rounding, so that equal slopes are recognised."""
    return Fraction(greater.item()) - Fraction(less.item())
