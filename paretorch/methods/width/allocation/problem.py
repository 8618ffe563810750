"""One allocation problem, checked: tables of errors, costs and budgets, in terms of rows of the tables.

    minimise  sum_g e_g(w_g)   subject to   c_i(w) <= B_i for every constraint i

A choice is one row number per table; a profile is the widths of these rows. The sum of errors is a surrogate: each
was measured with all other groups uncut (see `paretorch.methods.width.profile` for what follows from that).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from paretorch.errors import InputError
from paretorch.methods.width.allocation.costs import AnyCost, Array, Cost, Number
from paretorch.methods.width.tables import Table

Choice = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Problem:
    """Tables, one per group in the order of a profile; costs and budgets by the name of the constraint."""

    tables: tuple[Table, ...]
    costs: Mapping[str, AnyCost]
    budgets: Mapping[str, Number]

    @cached_property
    def errors(self) -> tuple[Array, ...]:
        """The errors of each table, float64."""
        return tuple(np.asarray(table.errors, dtype=np.float64) for table in self.tables)

    @cached_property
    def grids(self) -> tuple[tuple[int, ...], ...]:
        """The widths of each table."""
        return tuple(table.widths for table in self.tables)

    @property
    def smallest(self) -> Choice:
        """The smallest width everywhere."""
        return (0,) * len(self.tables)

    @property
    def largest(self) -> Choice:
        """The greatest width everywhere."""
        return tuple(len(grid) - 1 for grid in self.grids)

    @property
    def structured(self) -> bool:
        """Whether the parts of every cost are known."""
        return all(isinstance(cost, Cost) for cost in self.costs.values())

    @cached_property
    def parts(self) -> tuple[dict[tuple[int, ...], Array], ...]:
        """The parts of each cost as arrays over the grids; only where `structured`."""
        return tuple(cost.tables(self.grids) for cost in self.costs.values() if isinstance(cost, Cost))

    @cached_property
    def limits(self) -> Array:
        """Each budget without the cost's constant, float64; only where `structured`."""
        constants = [cost.constant for cost in self.costs.values() if isinstance(cost, Cost)]
        return np.array([b - c for b, c in zip(self.budgets.values(), constants, strict=True)], dtype=np.float64)

    def profile(self, choice: Sequence[int]) -> tuple[int, ...]:
        """The widths of these rows."""
        return tuple(grid[row] for grid, row in zip(self.grids, choice, strict=True))

    def loss(self, choice: Sequence[int]) -> float:
        """The sum of the errors of these rows."""
        return math.fsum(table.errors[row] for table, row in zip(self.tables, choice, strict=True))

    def cost(self, choice: Sequence[int]) -> dict[str, Number]:
        """Every cost of these rows, counted anew."""
        profile = self.profile(choice)
        return {name: cost(profile) for name, cost in self.costs.items()}

    def feasible(self, choice: Sequence[int]) -> bool:
        """Whether these rows stay within every budget."""
        return all(value <= self.budgets[name] for name, value in self.cost(choice).items())


def checked(
    tables: Sequence[Table], cost: AnyCost | Mapping[str, AnyCost]
) -> tuple[tuple[Table, ...], dict[str, AnyCost]]:
    """The tables, and the costs by name ("cost" where there is only one without a name).

    Raises:
        InputError: if there is no table or no cost, two tables are of the same group, or a cost is of other groups.
    """
    if not tables:
        raise InputError("there is no table to choose widths from; give one per width group, in the order of a profile")
    names = tuple(table.group for table in tables)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"there are several tables of the width group {twice[0]!r}; expected one per group")
    costs = dict(cost) if isinstance(cost, Mapping) else {"cost": cost}
    if not costs:
        raise InputError("there is no cost; give at least one, such as cost_of(groups, 'params')")
    for name, function in costs.items():
        if not callable(function):
            raise InputError(f"{name}: a cost is a Cost or a function of a profile; got {type(function).__name__}")
        if not isinstance(function, Cost):
            continue
        if function.num_groups != len(tables):
            raise InputError(
                f"{name} is a cost of {function.num_groups} width groups, but there are {len(tables)} tables"
            )
        for given, expected in zip(names, function.names or names, strict=True):
            if given != expected:
                raise InputError(
                    f"{name} expects the table of {expected!r} where that of {given!r} stands; sort the tables in the "
                    "order of the groups"
                )
    return tuple(tables), costs


def problem_of(
    tables: Sequence[Table], cost: AnyCost | Mapping[str, AnyCost], budget: Number | Mapping[str, Number]
) -> Problem:
    """The checked problem.

    Raises:
        InputError: as `checked`; if budgets and costs do not have the same names, or a budget is no finite number.
    """
    good, costs = checked(tables, cost)
    if isinstance(cost, Mapping) != isinstance(budget, Mapping):
        raise InputError("give cost and budget in the same form: one of each, or two mappings with the same names")
    budgets = dict(budget) if isinstance(budget, Mapping) else {"cost": budget}
    if set(costs) != set(budgets):
        raise InputError(f"costs are given for {sorted(costs)} and budgets for {sorted(budgets)}; expected the same")
    for name, value in budgets.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"the budget of {name} must be a finite number; got {value!r}")
    return Problem(good, costs, {name: budgets[name] for name in costs})
