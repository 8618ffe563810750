"""Random allocation problems, and their answers by trying every profile."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from paretorch.methods.width.groups import Profile
from paretorch.methods.width.tables import Table


def random_tables(rng: np.random.Generator, *, groups: int, widths: int, convex: bool = False) -> list[Table]:
    """Tables "0", "2", ... of `widths` widths, errors falling to 0."""
    tables = []
    for group in range(groups):
        falls = rng.random(widths - 1)
        falls = np.sort(falls)[::-1] if convex else falls
        errors = np.append(np.cumsum(falls[::-1])[::-1], 0.0)
        tables.append(Table(str(2 * group), tuple(range(1, widths + 1)), tuple(errors.tolist())))
    return tables


def profiles(tables: Sequence[Table]) -> Iterator[Profile]:
    """Every profile of the tables."""
    return itertools.product(*(table.widths for table in tables))


def loss_of(tables: Sequence[Table], profile: Profile) -> float:
    """The sum of errors, looked up one by one."""
    return sum(table.errors[table.widths.index(width)] for table, width in zip(tables, profile, strict=True))


def by_trying_all(tables: Sequence[Table], *limits: tuple[Callable[[Profile], float], float]) -> float:
    """The least sum of errors of any profile within the limits; infinite if there is none."""
    fitting = (p for p in profiles(tables) if all(cost(p) <= budget for cost, budget in limits))
    return min((loss_of(tables, p) for p in fitting), default=float("inf"))


def nested(chain: Sequence[Profile]) -> bool:
    """Whether every profile is at most the one before in every group."""
    return all(all(b <= a for a, b in zip(x, y, strict=True)) for x, y in itertools.pairwise(chain))
