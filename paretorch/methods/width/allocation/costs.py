"""What a profile costs, as a sum of parts that each see few groups, so that solvers can use the structure.

    cost(w) = constant + sum over parts of value(w_g for g in scope)

    separable   every part sees one group: ranks, inner widths of a residual network whose own width is fixed
    chain       parts see one or two groups, and the pairs close no circle: a_l w_(l-1) w_l along a path of layers, or
                around the common residual width of a transformer
    general     anything else, such as the stages of a residual network, each of which shares layers with the next

The coefficients of parameters and MACs come from the terms of the width groups; nothing is estimated.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np

from paretorch.errors import InputError
from paretorch.methods.width.groups import Term, WidthGroups

Number = int | float
Kind = Literal["separable", "chain", "general"]
Array = np.ndarray[Any, Any]


class Part(Protocol):
    """One summand of a cost. scope: the distinct groups it sees, increasing."""

    @property
    def scope(self) -> tuple[int, ...]: ...

    def at(self, widths: Sequence[int]) -> Number:
        """Its value at the widths of the scope."""

    def table(self, grids: Sequence[Sequence[int]]) -> Array:
        """Its values at all combinations of the grids of the scope; int64 if all are integers, else float64."""


@dataclass(frozen=True)
class Monomials:
    """Sum of coefficient * product of widths ** powers; `terms` holds pairs (powers, coefficient)."""

    scope: tuple[int, ...]
    terms: tuple[tuple[tuple[int, ...], Number], ...]

    def at(self, widths: Sequence[int]) -> Number:
        return sum(
            coefficient * math.prod(w**p for w, p in zip(widths, powers, strict=True))
            for powers, coefficient in self.terms
        )

    def table(self, grids: Sequence[Sequence[int]]) -> Array:
        axes = np.ix_(*(np.asarray(grid, dtype=np.int64) for grid in grids))
        total: Array = np.zeros([len(grid) for grid in grids], dtype=np.int64)
        for powers, coefficient in self.terms:
            total = total + coefficient * math.prod(axis**p for axis, p in zip(axes, powers, strict=True))
        return total


@dataclass(frozen=True)
class Lookup:
    """Any function of the widths of the scope, for example a table of measured times."""

    scope: tuple[int, ...]
    function: Callable[..., Number]

    def at(self, widths: Sequence[int]) -> Number:
        return self.function(*widths)

    def table(self, grids: Sequence[Sequence[int]]) -> Array:
        values = [self.function(*widths) for widths in itertools.product(*grids)]
        kind = np.int64 if all(isinstance(value, int) for value in values) else np.float64
        return np.array(values, dtype=kind).reshape([len(grid) for grid in grids])


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A cost with known structure; called with a profile it returns the exact value.

    Attributes:
        num_groups: length of a profile.
        parts: the summands.
        constant: what does not depend on the profile.
        names: of the groups, where known; tables must then come in this order.

    Raises:
        InputError: if a part sees a group that does not exist, or its scope does not increase.
    """

    num_groups: int
    parts: tuple[Part, ...]
    constant: Number = 0
    names: tuple[str, ...] | None = field(default=None)

    def __post_init__(self) -> None:
        for part in self.parts:
            if list(part.scope) != sorted(set(part.scope)) or not set(part.scope) <= set(range(self.num_groups)):
                raise InputError(
                    f"a part of a cost of {self.num_groups} groups sees the groups {part.scope}; expected increasing "
                    f"numbers from 0 to {self.num_groups - 1}"
                )

    def __call__(self, profile: Sequence[int]) -> Number:
        """The cost of `profile`, exactly."""
        return self.constant + sum(part.at([profile[group] for group in part.scope]) for part in self.parts)

    @cached_property
    def kind(self) -> Kind:
        """Which structure it has; see the top of this file."""
        pairs = {part.scope for part in self.parts if len(part.scope) > 1}
        if not pairs:
            return "separable"
        return "chain" if all(len(pair) == 2 for pair in pairs) and _without_circle(pairs) else "general"

    def tables(self, grids: Sequence[Sequence[int]]) -> dict[tuple[int, ...], Array]:
        """The parts as arrays over the grids of their groups, one array per scope.

        Raises:
            InputError: if a value is NaN or infinite.
        """
        merged: dict[tuple[int, ...], Array] = {}
        for part in self.parts:
            table = part.table([grids[group] for group in part.scope])
            if not np.isfinite(table).all():
                raise InputError(f"the cost is NaN or infinite for some widths of the groups {part.scope}")
            merged[part.scope] = merged[part.scope] + table if part.scope in merged else table
        return merged


AnyCost = Cost | Callable[[tuple[int, ...]], Number]


def separable(functions: Sequence[Callable[[int], Number]], *, constant: Number = 0) -> Cost:
    """constant + sum over groups of function(width); one function per group, for a table `{...}.__getitem__`."""
    parts = tuple(Lookup((group,), function) for group, function in enumerate(functions))
    return Cost(num_groups=len(parts), parts=parts, constant=constant)


def chain(products: Sequence[Number], per_unit: Sequence[Number], *, constant: Number = 0) -> Cost:
    """constant + sum of products[l] * w_l * w_(l+1) + sum of per_unit[l] * w_l.

    Raises:
        InputError: if there is not one product fewer than groups.
    """
    if len(products) != len(per_unit) - 1:
        raise InputError(
            f"a chain of {len(per_unit)} groups has {len(per_unit) - 1} products of neighbours; got {len(products)}"
        )
    parts = [Monomials((group,), (((1,), value),)) for group, value in enumerate(per_unit)]
    parts += [Monomials((group, group + 1), (((1, 1), value),)) for group, value in enumerate(products)]
    return Cost(num_groups=len(per_unit), parts=tuple(parts), constant=constant)


def cost_of(groups: WidthGroups, resource: str) -> Cost:
    """The exact cost of a profile of these groups.

    Args:
        groups: of a model.
        resource: "params", "macs" (of one example) or "activations" (elements of one example).

    Returns:
        A `Cost`; its `kind` is what the terms of the groups turn out to be.

    Raises:
        InputError: for another resource.
    """
    terms = {"params": groups.params, "macs": groups.macs, "activations": groups.activations}
    if resource not in terms:
        raise InputError(f"unknown resource {resource!r}; there are {', '.join(map(repr, terms))}")
    expanded = _expanded(terms[resource])
    by_scope: dict[tuple[int, ...], list[tuple[tuple[int, ...], Number]]] = {}
    for monomial, coefficient in expanded.items():
        scope = tuple(sorted(set(monomial)))
        by_scope.setdefault(scope, []).append((tuple(monomial.count(group) for group in scope), coefficient))
    parts = tuple(Monomials(scope, tuple(found)) for scope, found in by_scope.items() if scope)
    return Cost(num_groups=len(groups.groups), parts=parts, constant=expanded.get((), 0), names=groups.names)


def _expanded(terms: Sequence[Term]) -> dict[tuple[int, ...], int]:
    """Multiplied out: groups of a monomial, sorted and repeated by power -> coefficient."""
    total: dict[tuple[int, ...], int] = {}
    for term in terms:
        product: Mapping[tuple[int, ...], int] = {(): term.coefficient}
        for count in term.counts:
            summands = [((), count.constant), *(((group,), entries) for group, entries in count.per_unit.items())]
            longer: dict[tuple[int, ...], int] = {}
            for (monomial, value), (more, entries) in itertools.product(product.items(), summands):
                key = tuple(sorted(monomial + more))
                longer[key] = longer.get(key, 0) + value * entries
            product = longer
        for monomial, value in product.items():
            total[monomial] = total.get(monomial, 0) + value
    return {monomial: value for monomial, value in total.items() if value}


def _without_circle(pairs: set[tuple[int, ...]]) -> bool:
    """Whether a graph with these edges is a forest."""
    leader = {group: group for pair in pairs for group in pair}

    def find(group: int) -> int:
        while leader[group] != group:
            group = leader[group]
        return group

    for one, other in pairs:
        first, second = find(one), find(other)
        if first == second:
            return False
        leader[first] = second
    return True
