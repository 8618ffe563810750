"""All best profiles, exactly, where parts of the cost see one group or form a forest of pairs.

For every group v and width w, a list of all not dominated ways (cost, error) to choose v = w and all groups below v:

    F_v(w) = Pareto( (c_v(w), e_v(w)) + sum over children u of Pareto over w_u of F_u(w_u) + c_uv(w_u, w) )

Without pairs this is the knapsack of FlexRank (Zaccone et al., ICML 2026); along a path of layers it is the
label-setting form that width costs a_l w_(l-1) w_l need, where a saving depends on the neighbours. Lists can grow
exponentially. For a single budget most labels are dropped by bounds that are linear in error and cost: what is still to
come costs at least its least value, which message passing gives for every group and width. Costs can be rounded *up* to
multiples of a bucket, so that a budget is never exceeded (SPDY, Frantar and Alistarh, ICML 2022, rounds to nearest).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from paretorch.methods.width.allocation.costs import Array
from paretorch.methods.width.allocation.labels import Labels, together
from paretorch.methods.width.allocation.problem import Choice, Problem

Tables = dict[tuple[int, ...], Array]


@dataclass(frozen=True)
class Bound:
    """Labels stay only while per_error * error + per_cost * cost can still become at most `most`."""

    per_error: float
    per_cost: float
    most: float


@dataclass(frozen=True, eq=False)
class Forest:
    """Groups with errors and the parts of one cost; every group but the roots has a parent it shares a pair with."""

    errors: tuple[Array, ...]
    parts: Tables

    @cached_property
    def order(self) -> list[int]:
        """Groups, parents before children."""
        order: list[int] = []
        for root in range(len(self.errors)):
            stack = [] if root in order else [root]
            while stack:
                order.append(group := stack.pop())
                stack += [other for other in self._around[group] if other not in order]
        return order

    @cached_property
    def _around(self) -> list[list[int]]:
        around: list[list[int]] = [[] for _ in self.errors]
        for pair in self.parts:
            if len(pair) == 2:
                around[pair[0]].append(pair[1])
                around[pair[1]].append(pair[0])
        return around

    @cached_property
    def children(self) -> list[list[int]]:
        """Of every group, in its place."""
        place = {group: i for i, group in enumerate(self.order)}
        return [[o for o in self._around[group] if place[o] > place[group]] for group in range(len(self.errors))]

    @cached_property
    def roots(self) -> list[int]:
        """Groups without a parent."""
        below = {child for children in self.children for child in children}
        return [group for group in self.order if group not in below]

    def own(self, group: int) -> Array:
        """Costs of the group's widths, pairs left out."""
        return self.parts.get((group,), np.zeros(len(self.errors[group]), dtype=np.int64))

    def pair(self, child: int, parent: int) -> Array:
        """Costs of the pair, (widths of the child, widths of the parent)."""
        return self.parts[child, parent] if child < parent else self.parts[parent, child].T


@dataclass(frozen=True, eq=False)
class Completion:
    """The least that undecided groups can still add to a bound, by two passes of messages over the forest."""

    forest: Forest
    bound: Bound

    @cached_property
    def _own(self) -> list[Array]:
        errors, bound = self.forest.errors, self.bound
        return [bound.per_error * e + bound.per_cost * self.forest.own(g) for g, e in enumerate(errors)]

    @cached_property
    def _inward(self) -> tuple[dict[int, Array], list[Array]]:
        """Of every child, the least of its tree by the parent's width; of every group, the least by its own width."""
        below, messages = list(self._own), {}
        for parent in reversed(self.forest.order):
            for child in self.forest.children[parent]:
                pairs = self.bound.per_cost * self.forest.pair(child, parent)
                messages[child] = (below[child][:, None] + pairs).min(axis=0)
                below[parent] = below[parent] + messages[child]
        return messages, below

    @cached_property
    def trees(self) -> dict[int, float]:
        """The least of each tree, by its root."""
        return {root: float(self._inward[1][root].min()) for root in self.forest.roots}

    @cached_property
    def _outside(self) -> list[Array]:
        """Of every group and width, the least of all groups not below it."""
        messages, below = self._inward
        outside = [np.zeros(len(row)) for row in self._own]
        for parent in self.forest.order:
            if parent in self.trees:
                outside[parent] += sum(self.trees.values()) - self.trees[parent]
            for child in self.forest.children[parent]:
                rest = below[parent] + outside[parent] - messages[child]
                outside[child] = (rest[None] + self.bound.per_cost * self.forest.pair(child, parent)).min(axis=1)
        return outside

    def pruned(self, labels: Labels, group: int, row: int, undecided: Sequence[int]) -> Labels:
        """Labels of one group and width that can still keep to the bound when these children are undecided."""
        rest = float(self._outside[group][row]) + sum(float(self._inward[0][child][row]) for child in undecided)
        return self._within(labels, rest)

    def pruned_trees(self, labels: Labels, undecided: Sequence[int]) -> Labels:
        """Labels of whole trees that can still keep to the bound when the trees of these roots are undecided."""
        return self._within(labels, sum(self.trees[root] for root in undecided))

    def _within(self, labels: Labels, rest: float) -> Labels:
        reach = self.bound.per_error * labels.errors + self.bound.per_cost * labels.costs + rest
        return labels.rows(reach <= self.bound.most)


def best_choices(problem: Problem, *, parts: Tables | None = None, bounds: Sequence[Bound] = ()) -> Labels:
    """All not dominated choices of a problem with one separable or chain cost, at increasing cost.

    Args:
        problem: with one structured cost.
        parts: other cost tables, such as those of `rounded_up`.
        bounds: what a label must keep to; those that cannot are dropped, with all profiles they lead to.

    Returns:
        Labels that decide every group; costs leave the constant out. None at all if the bounds exclude everything.

    Raises:
        TooManyLabelsError: if the lists grow too long.
    """
    forest = Forest(problem.errors, problem.parts[0] if parts is None else parts)
    completions = [Completion(forest, bound) for bound in bounds]
    lists: dict[int, list[Labels]] = {}
    for group in reversed(forest.order):
        children = forest.children[group]
        lists[group] = []
        for row, (cost, error) in enumerate(zip(forest.own(group), problem.errors[group], strict=True)):
            choice = np.full((1, len(problem.tables)), -1, dtype=np.int32)
            choice[0, group] = row
            labels = Labels(np.array([cost]), np.array([error]), choice)
            for done, child in enumerate(children, start=1):
                pairs = forest.pair(child, group)
                labels = labels.plus(together([below.shifted(pairs[r, row]) for r, below in enumerate(lists[child])]))
                for completion in completions:
                    labels = completion.pruned(labels, group, row, children[done:])
            lists[group].append(labels)
        for child in children:
            del lists[child]
    found = together(lists[forest.roots[0]])
    for done, root in enumerate(forest.roots[1:], start=2):
        found = found.plus(together(lists[root]))
        for completion in completions:
            found = completion.pruned_trees(found, forest.roots[done:])
    return found


def rounded_up(problem: Problem, *, buckets: int) -> tuple[Tables, float, float]:
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
