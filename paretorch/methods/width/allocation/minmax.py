"""Min-max: the least tau such that every group at its smallest width of error at most tau keeps to the budgets.

    w_g(tau) = min{ v : e_g(v) <= tau }

Profiles of falling tau only ever grow, so they are nested by construction. Where errors do not add up but the worst
layer decides, as in a serial chain of linear layers whose loss depends on its narrowest layer alone, this is the right
objective and a sum of errors is not. Source: FastNAS in NVIDIA Model Optimizer (bisection over a threshold).
"""

from bisect import bisect_left

import numpy as np

from paretorch.methods.width.allocation.problem import Choice, Problem


def thresholds(problem: Problem) -> list[float]:
    """All values of tau at which a profile changes, increasing; below the first, some group has no width left."""
    least = max(min(table.errors) for table in problem.tables)
    return sorted({error for table in problem.tables for error in table.errors if error >= least})


def at_threshold(problem: Problem, tau: float) -> Choice:
    """w(tau), as rows of the tables."""
    return tuple(next(row for row, e in enumerate(table.errors) if e <= tau) for table in problem.tables)


def solve(problem: Problem) -> Choice | None:
    """The choice of the least tau within the budgets; None if there is none.

    Bisection, which supposes that no cost falls when a width grows.
    """
    taus = thresholds(problem)
    first = bisect_left(taus, True, key=lambda tau: problem.feasible(at_threshold(problem, tau)))
    return at_threshold(problem, taus[first]) if first < len(taus) else None


def never_falls(problem: Problem) -> bool:
    """Whether it is known that no cost falls when a width of the tables grows."""
    return problem.structured and all(
        bool((np.diff(table, axis=axis) >= 0).all())
        for parts in problem.parts
        for table in parts.values()
        for axis in range(table.ndim)
    )
