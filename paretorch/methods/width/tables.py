"""What it costs in loss to narrow one width group: a table of widths and errors per group, all other groups uncut.

    e_g(v) = how much the loss rises when group g is cut to width v and nothing else changes

Source: FlexRank, Zaccone et al., ICML 2026 (per-layer tables); the tables of DPOD are reconstructed from the abstract.
"""

import math
from dataclasses import dataclass

from paretorch.errors import InputError


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
