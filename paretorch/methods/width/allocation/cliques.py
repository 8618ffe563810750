"""The order in which groups are eliminated from a cost, and the tree of cliques that it makes.

Eliminating a group joins it with the groups it still shares a part with: its clique. What is left, the separator, is a
table over the other groups of the clique, which goes to the clique of the one that is eliminated next. On a path of
layers a clique is a pair of neighbours; a residual stage between two others makes cliques of three.

Source: Bertele and Brioschi, "Nonserial Dynamic Programming", 1972. The order is greedy: the smallest table first.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Scope = tuple[int, ...]


def elimination_order(sizes: Sequence[int], scopes: Iterable[Scope]) -> list[tuple[int, Scope]]:
    """Which group goes next, and the separator that is left.

    Args:
        sizes: number of widths of each group. scopes: groups that share a part.
    """
    around: dict[int, set[int]] = {group: set() for group in range(len(sizes))}
    for scope in scopes:
        for group in scope:
            around[group] |= set(scope) - {group}
    steps = []
    while around:
        group = min(around, key=lambda g: (math.prod(sizes[n] for n in around[g]) * sizes[g], g))
        neighbours = around.pop(group)
        for other in neighbours:
            around[other] = (around[other] | neighbours) - {group, other}
        steps.append((group, tuple(sorted(neighbours))))
    return steps


@dataclass
class Clique:
    """A node of the tree.

    Attributes:
        scope: the groups of the clique.
        separator: those that the clique above it sees as well.
        group: the one that is decided here; None in a clique that only joins others of one separator.
        below: numbers of the cliques whose separators lie in this one.
        parts: scopes of the parts that are counted here.
    """

    scope: Scope
    separator: Scope
    group: int | None
    below: list[int] = field(default_factory=list)
    parts: list[Scope] = field(default_factory=list)


def clique_tree(sizes: Sequence[int], scopes: Sequence[Scope]) -> list[Clique]:
    """The cliques, each after those below it; the last is the root, whose scope is empty.

    Every part is counted in exactly one clique, and every group is decided in exactly one.
    """
    steps = elimination_order(sizes, scopes)
    place = {group: step for step, (group, _) in enumerate(steps)}
    counted: list[list[Scope]] = [[] for _ in steps]
    for scope in scopes:
        counted[min(place[group] for group in scope)].append(scope)
    waiting: list[dict[Scope, list[int]]] = [{} for _ in range(len(steps) + 1)]  # by the step above, and separator
    cliques: list[Clique] = []

    def gathered(step: int) -> list[int]:
        """Cliques right below a step; several of one separator are joined first, so that their sums are made once."""
        below = []
        for separator, numbers in waiting[step].items():
            if len(numbers) > 1:
                cliques.append(Clique(separator, separator, None, numbers))
                numbers = [len(cliques) - 1]
            below += numbers
        return below

    for step, (group, left) in enumerate(steps):
        below = gathered(step)
        cliques.append(Clique(tuple(sorted((group, *left))), left, group, below, counted[step]))
        above = min((place[other] for other in left), default=len(steps))
        waiting[above].setdefault(left, []).append(len(cliques) - 1)
    cliques.append(Clique((), (), None, gathered(len(steps))))
    return cliques
