"""What it costs in loss to narrow one width group: a table of widths and errors per group, all other groups uncut.

    e_g(v) = max(0, L(C[g -> v]) - L(C))        made monotone by a running maximum from wide to narrow

C is the centre, the current greatest widths; L is the loss on calibration examples, with batch-norm statistics
re-estimated at each profile. Every entry costs a forward pass over these examples.

Source: FlexRank, Zaccone et al., ICML 2026 (per-layer tables); the tables of DPOD are reconstructed from the abstract.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from paretorch.errors import InputError, NotFiniteError
from paretorch.methods.width.groups import Profile, WidthGroups


@dataclass(frozen=True)
class Table:
    """The widths that a group may take, and the error of each.

    Attributes:
        group: name of the width group.
        widths: units that stay, increasing, at least 1; the last is the greatest width that is allowed.
        errors: rise of the loss at each width, finite, at least 0; any unit, as long as all tables share it.
        spread: of each error over calibration splits, at least 0; None where it was measured once.

    Raises:
        InputError: if a row is missing, negative, NaN or infinite, a width is below 1, or the widths do not increase.
    """

    group: str
    widths: tuple[int, ...]
    errors: tuple[float, ...]
    spread: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        where = f"the table of width group {self.group!r}"
        if not self.widths:
            raise InputError(f"{where} is empty; it needs at least one width, the one the group has now")
        rows = {"errors": self.errors} | ({} if self.spread is None else {"spread": self.spread})
        for name, values in rows.items():
            if len(values) != len(self.widths):
                raise InputError(f"{where} has {len(self.widths)} widths and {len(values)} {name}; expected one each")
            for width, value in zip(self.widths, values, strict=True):
                if not (math.isfinite(value) and value >= 0):
                    raise InputError(
                        f"{where}: {name} at width {width} is {value}; expected a finite number of at least 0. Measure "
                        "it again, or leave the width out"
                    )
        if any(type(width) is not int or width < 1 for width in self.widths):
            raise InputError(f"{where}: widths are integers of at least 1; got {self.widths}")
        if any(a >= b for a, b in zip(self.widths, self.widths[1:], strict=False)):
            raise InputError(f"{where}: widths must increase strictly; got {self.widths}. Sort the rows by width")

    def error(self, width: int) -> float:
        """The error at `width`.

        Raises:
            InputError: if the table does not hold that width.
        """
        if width not in self.widths:
            raise InputError(f"the table of width group {self.group!r} holds the widths {self.widths}, and not {width}")
        return self.errors[self.widths.index(width)]

    def monotone(self) -> "Table":
        """The same table with errors that never fall when the width does: a running maximum from wide to narrow."""
        return replace(self, errors=_running_maximum(self.errors))


def sensitivity(
    groups: WidthGroups,
    centre: Sequence[int],
    *,
    grids: Sequence[Sequence[int]],
    losses_at: Callable[[Profile], Sequence[float]],
) -> tuple[Table, ...]:
    """Measure one table per group at `centre`, one group narrowed at a time.

    Args:
        groups: of the model.
        centre: the current greatest widths.
        grids: the widths of each group that may be tried; those above its centre are left out, the centre itself is
            always a row, with error 0.
        losses_at: the mean loss at a profile on each of one or more disjoint calibration splits of equal size.

    Returns:
        One table per group, in the order of the groups. Errors are those of the mean over splits; the spread is the
        difference between the greatest and the least error over splits, None for a single split.

    Raises:
        InputError: for grids that do not belong to the groups.
        NotFiniteError: for a loss that is NaN or infinite, naming group and width.
    """
    centre = groups.checked(centre)
    if len(grids) != len(groups.groups):
        raise InputError(f"{len(groups.groups)} width groups need as many grids of widths; got {len(grids)}")
    base = _finite(losses_at(centre), f"at the centre {centre}")
    return tuple(_table(groups, centre, number, grids[number], base, losses_at) for number in range(len(centre)))


def _table(
    groups: WidthGroups,
    centre: Profile,
    number: int,
    grid: Sequence[int],
    base: Sequence[float],
    losses_at: Callable[[Profile], Sequence[float]],
) -> Table:
    """The table of one group, given the losses at the centre."""
    name = groups.names[number]
    widths = tuple(sorted({width for width in grid if width < centre[number]} | {centre[number]}))
    rises = []
    for width in widths[:-1]:
        losses = _finite(losses_at(moved(centre, number, width)), f"with group {name!r} at width {width}")
        if len(losses) != len(base):
            raise InputError(f"losses_at gave {len(base)} losses at the centre and {len(losses)} elsewhere")
        rises.append([loss - start for loss, start in zip(losses, base, strict=True)])
    rises.append([0.0] * len(base))
    errors = _running_maximum(tuple(sum(split) / len(split) for split in rises))
    if len(base) == 1:
        return Table(name, widths, errors)
    splits = [_running_maximum(split) for split in zip(*rises, strict=True)]
    return Table(name, widths, errors, tuple(max(row) - min(row) for row in zip(*splits, strict=True)))


def moved(centre: Profile, number: int, width: int) -> Profile:
    """`centre` with another width of group `number`."""
    return (*centre[:number], width, *centre[number + 1 :])


def _running_maximum(errors: Sequence[float]) -> tuple[float, ...]:
    """The greatest of 0 and all errors from the end, the widest, down to each."""
    return tuple(accumulate(reversed(errors), max, initial=0.0))[:0:-1]


def _finite(losses: Sequence[float], where: str) -> Sequence[float]:
    if not losses:
        raise InputError("losses_at gave no loss; it needs one per calibration split, and at least one split")
    if bad := [loss for loss in losses if not math.isfinite(loss)]:
        raise NotFiniteError(f"the calibration loss {where} is {bad[0]}: the weights have diverged")
    return losses
