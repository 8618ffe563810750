"""The profile of least error + lambda * cost, exactly, for many multipliers at once: min-sum variable elimination.

    v(lambda) = min_w sum_g e_g(w_g) + sum_i lambda_i c_i(w)

Groups are eliminated one after the other; eliminating a group leaves the minimum over its widths as a table of the
groups it shares a part with. On a chain this is Viterbi's algorithm, O(L K^2) for L groups of K widths; on any other
cost it takes K to the power of the size of the largest clique, which is three for residual networks (see `cliques`).
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from paretorch.errors import InputError
from paretorch.methods.width.allocation.cliques import Scope, elimination_order
from paretorch.methods.width.allocation.costs import Array
from paretorch.methods.width.allocation.problem import Choice, Problem

MAX_ENTRIES = 1 << 23  # float64 numbers in the largest intermediate table: 64 MB


@dataclass(frozen=True, eq=False)
class Elimination:
    """Minimises error + lambda * cost of a structured problem."""

    problem: Problem

    @cached_property
    def _sizes(self) -> tuple[int, ...]:
        return tuple(len(grid) for grid in self.problem.grids)

    @cached_property
    def _steps(self) -> list[tuple[int, Scope]]:
        return elimination_order(self._sizes, [scope for parts in self.problem.parts for scope in parts])

    @property
    def entries(self) -> int:
        """Numbers in the largest intermediate table, for one multiplier."""
        return max(self._sizes[group] * math.prod(self._sizes[n] for n in scope) for group, scope in self._steps)

    @property
    def possible(self) -> bool:
        """Whether the tables stay small enough."""
        return self.entries <= MAX_ENTRIES

    def minimise(self, multipliers: Array, *, errors: bool = True) -> tuple[Array, Array]:
        """Minimise for every row of multipliers.

        Args:
            multipliers: (n, constraints), at least 0.
            errors: False leaves the errors out, for the least cost alone.

        Returns:
            Row numbers of the best choice, int64 (n, groups), and the minima, float64 (n,), constants left out.

        Raises:
            InputError: if the cost couples so many groups that the tables become too large.
        """
        if not self.possible:
            raise InputError(
                f"the cost couples so many width groups that a table of {self.entries:.1e} numbers would be needed; "
                'use method="trust_region", or fewer widths per table'
            )
        at_once = max(1, MAX_ENTRIES // self.entries)
        pieces = [
            self._minimise(multipliers[start : start + at_once], errors=errors)
            for start in range(0, len(multipliers), at_once)
        ]
        return np.concatenate([choices for choices, _ in pieces]), np.concatenate([values for _, values in pieces])

    def _minimise(self, multipliers: Array, *, errors: bool) -> tuple[Array, Array]:
        n = len(multipliers)
        tables: list[tuple[Scope, Array]] = []
        for group, row in enumerate(self.problem.errors):
            tables.append(((group,), np.broadcast_to(row if errors else np.zeros_like(row), (n, len(row)))))
        for which, parts in enumerate(self.problem.parts):
            for scope, part in parts.items():
                tables.append((scope, multipliers[:, which].reshape(n, *[1] * part.ndim) * part))
        total: Array = np.zeros(n)
        best: list[Array] = []
        for group, left in self._steps:
            scope = tuple(sorted((*left, group)))
            seen = [(s, t) for s, t in tables if group in s]
            tables = [(s, t) for s, t in tables if group not in s]
            shapes = [[self._sizes[g] if g in s else 1 for g in scope] for s, _ in seen]
            summed = sum(
                (t.reshape(n, *shape) for (_, t), shape in zip(seen, shapes, strict=True)),
                start=np.zeros((n, *[1] * len(scope))),
            )
            axis = scope.index(group) + 1
            best.append(summed.argmin(axis=axis))
            least = summed.min(axis=axis)
            if left:
                tables.append((left, least))
            else:
                total = total + least
        choices = np.zeros((n, len(self._sizes)), dtype=np.int64)
        for (group, left), rows in zip(reversed(self._steps), reversed(best), strict=True):
            choices[:, group] = rows[(np.arange(n), *(choices[:, other] for other in left))]
        return choices, total


def least_cost(problem: Problem) -> Choice | None:
    """The choice that costs least, of a structured problem with one constraint; None where that is too much work."""
    elimination = Elimination(problem)
    if not elimination.possible:
        return None
    choices, _ = elimination.minimise(np.ones((1, 1)), errors=False)
    return tuple(choices[0].tolist())
