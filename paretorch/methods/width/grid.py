"""The widths that a group may have: multiples of a quantum and the full size, as integers.

    W(n) = {v : v = n, or v a multiple of q with v >= min_ratio * n and v < n}

Integers, because a ratio does not survive the way back: ceil(K * (j / K)) is not j in floating point for 75,010 of the
2,098,176 pairs j <= K <= 2048, such as (25, 7). A quantum, because hardware computes in blocks: widths between two
multiples cost as much as the next one. The defaults (blocks of 8 units, not below an eighth of the size) are our
judgement; which quantum pays is to be measured (`latency`).

Source: discrete widths as in Horvath et al., "FjORD", NeurIPS 2021, section 3; Yu and Huang, "Universally slimmable
networks", ICCV 2019, round widths to multiples of 8.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from paretorch.errors import InputError
from paretorch.methods.width.groups import WidthGroups

Grid = tuple[int, ...]
Grids = tuple[Grid, ...]

QUANTUM = 8
LEVELS = 8


def grid(size: int, quantum: int | None = None, min_ratio: float = 0.125) -> Grid:
    """The widths that a group of `size` units may have, increasing; the last one is `size`.

    Args:
        size: units of the group, at least 1.
        quantum: widths below `size` are multiples of it. None: 8, or an eighth of the size for groups of fewer than 64
            units (heads, groups of a norm).
        min_ratio: no width below this fraction of the size, in [0, 1]; 0 sets no limit.

    Raises:
        InputError: for a size or quantum below 1, or a ratio out of range.
    """
    if type(size) is not int or size < 1:
        raise InputError(f"a width group has at least 1 unit, an integer; got size {size!r}")
    step = min(QUANTUM, max(1, size // LEVELS)) if quantum is None else quantum
    if type(step) is not int or step < 1:
        raise InputError(f"quantum must be a positive integer: widths are multiples of it; got {quantum!r}")
    if not 0 <= min_ratio <= 1:
        raise InputError(f"min_ratio is the fraction of a group's units that always stay, in [0, 1]; got {min_ratio!r}")
    # width / size is rounded correctly, so that 3 of 30 is not below a min_ratio of 0.1
    return (*(width for width in range(step, size, step) if width / size >= min_ratio), size)


def grids(groups: WidthGroups, *, quantum: int | Mapping[str, int] | None = None, min_ratio: float = 0.125) -> Grids:
    """The grid of every group, in the order of a profile.

    Args:
        groups: of the model.
        quantum: one for all groups, or by group name; groups that are left out, and None, take the default of `grid`.
        min_ratio: as for `grid`.

    Raises:
        InputError: as `grid`, or for a name that is no group.
    """
    if isinstance(quantum, Mapping):
        if unknown := sorted(set(quantum) - set(groups.names)):
            raise InputError(f"quantum names {unknown[0]!r}, which is no width group; there are {groups.names[:6]}")
        return tuple(grid(group.size, quantum.get(group.name), min_ratio) for group in groups.groups)
    return tuple(grid(group.size, quantum, min_ratio) for group in groups.groups)


def below(widths: Grid, greatest: int) -> Grid:
    """The part of a grid that does not exceed `greatest`, which is added if it is not on it."""
    smaller = widths[: bisect_right(widths, greatest)]
    return smaller if smaller and smaller[-1] == greatest else (*smaller, greatest)


def checked_grids(given: Iterable[Sequence[int]]) -> Grids:
    """Grids as tuples, if each holds positive integers that increase.

    Raises:
        InputError: naming the position of the group whose grid is none.
    """
    made = tuple(tuple(widths) for widths in given)
    if not made:
        raise InputError("there are no grids: the model has no width group that could be sampled")
    for number, widths in enumerate(made):
        increasing = all(a < b for a, b in pairwise(widths))
        if not widths or not increasing or any(type(v) is not int or v < 1 for v in widths):
            raise InputError(f"the grid of group {number} must be positive integers that increase; got {widths}")
    return made
