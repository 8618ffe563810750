"""The least that undecided groups can still add to a bound, for every state of an exact search.

    bound: per_error * error + per_cost * cost <= most

Messages of minima go up and down the tree of cliques. In: the least of everything below a clique, for every value of
its separator. Out: the least of everything else. A partial profile whose own value and the rest exceed `most` cannot
become a profile that keeps to the bound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from paretorch.methods.width.allocation.cliques import Clique, Scope
from paretorch.methods.width.allocation.costs import Array


@dataclass(frozen=True)
class Bound:
    """Labels stay only while per_error * error + per_cost * cost can still become at most `most`."""

    per_error: float
    per_cost: float
    most: float


@dataclass(frozen=True, eq=False)
class Completion:
    """A bound on a tree of cliques.

    Attributes:
        bound: which.
        cliques: each after those below it.
        costs: by number of the clique, over its scope.
        errors: by group.
    """

    bound: Bound
    cliques: Sequence[Clique]
    costs: Sequence[Array]
    errors: Sequence[Array]

    @cached_property
    def _own(self) -> list[Array]:
        own = []
        for clique, cost in zip(self.cliques, self.costs, strict=True):
            value = self.bound.per_cost * cost
            if clique.group is not None:
                value = value + self.bound.per_error * aligned((clique.group,), self.errors[clique.group], clique.scope)
            own.append(value)
        return own

    @cached_property
    def inward(self) -> list[Array]:
        """By clique, over its separator."""
        found: list[Array] = []
        for clique, own in zip(self.cliques, self._own, strict=True):
            whole = own
            for number in clique.below:
                whole = whole + aligned(self.cliques[number].separator, found[number], clique.scope)
            found.append(_least(whole, clique.scope, clique.separator))
        return found

    @cached_property
    def outward(self) -> list[Array]:
        """By clique, over its separator."""
        found: list[Array] = [np.zeros(())] * len(self.cliques)
        for at in reversed(range(len(self.cliques))):
            clique = self.cliques[at]
            whole = self._own[at] + aligned(clique.separator, found[at], clique.scope)
            for number in clique.below:
                whole = whole + aligned(self.cliques[number].separator, self.inward[number], clique.scope)
            for number in clique.below:
                separator = self.cliques[number].separator
                rest = whole - aligned(separator, self.inward[number], clique.scope)
                found[number] = _least(rest, clique.scope, separator)
        return found

    def possible(self, at: int) -> Array:
        """Which values of a clique's scope can be part of a profile that keeps to the bound; bool."""
        clique = self.cliques[at]
        whole = self._own[at] + aligned(clique.separator, self.outward[at], clique.scope)
        for number in clique.below:
            whole = whole + aligned(self.cliques[number].separator, self.inward[number], clique.scope)
        return np.asarray(whole <= self.bound.most)

    def rest(self, at: int, rows: Mapping[int, int], undecided: Sequence[int]) -> float:
        """The least that is still to come at these rows of a clique when these cliques below it are not added yet."""
        total = float(self.outward[at][tuple(rows[g] for g in self.cliques[at].separator)])
        for number in undecided:
            total += float(self.inward[number][tuple(rows[g] for g in self.cliques[number].separator)])
        return total


def aligned(scope: Scope, table: Array, target: Scope) -> Array:
    """The table with an axis of length 1 for every group of `target` that it does not see."""
    lengths = dict(zip(scope, table.shape, strict=True))
    return table.reshape([lengths.get(group, 1) for group in target])


def _least(table: Array, scope: Scope, kept: Scope) -> Array:
    """The minimum over the axes of groups that are not kept."""
    return np.asarray(table.min(axis=tuple(i for i, group in enumerate(scope) if group not in kept)))
