"""Which entries of one dimension of a tensor stay after a cut, as runs of neighbours: [[start, stop], ...].

A prefix is one run whatever its length, so the description of a cut stays small enough for a manifest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import Any, Self

import torch
from torch import Tensor

from paretorch.errors import InputError


@dataclass(frozen=True)
class Kept:
    """Entries of a dimension that stay.

    Args:
        size: entries before the cut.
        runs: (start, stop) of each run, increasing, with gaps between them.

    Raises:
        InputError: if nothing stays, or the runs do not increase, touch each other or leave the dimension.
    """

    size: int
    runs: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        ends = [*chain.from_iterable(self.runs)] if all(len(run) == 2 for run in self.runs) else []
        whole = all(type(end) is int for end in (self.size, *ends))
        if not ends or not whole or ends[0] < 0 or ends[-1] > self.size or any(b <= a for a, b in pairwise(ends)):
            raise InputError(
                f"kept entries are runs [start, stop] of integers that increase with gaps between them, from 0 to the "
                f"size of the dimension, at least one; got {_shown(self.runs)} of {self.size!r}"
            )

    @classmethod
    def of(cls, index: Tensor, *, size: int) -> Self:
        """The entries `index` (int64, increasing) of `size`."""
        numbers = index.tolist()
        starts = [n for before, n in pairwise([-2, *numbers]) if n != before + 1]
        stops = [n + 1 for n, after in pairwise([*numbers, -2]) if after != n + 1]
        return cls(size, tuple(zip(starts, stops, strict=True)))

    @classmethod
    def from_dict(cls, fields: Any) -> Self:
        """The entries from what `to_dict` gave.

        Raises:
            InputError: for anything else.
        """
        if not isinstance(fields, Mapping) or fields.keys() != {"size", "runs"} or not isinstance(fields["runs"], list):
            raise InputError(f"kept entries are described by size and runs; got {_shown(fields)}")
        if not all(isinstance(run, list) for run in fields["runs"]):
            raise InputError(f"runs of kept entries are lists [start, stop]; got {_shown(fields['runs'])}")
        return cls(fields["size"], tuple(tuple(run) for run in fields["runs"]))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"size": self.size, "runs": [list(run) for run in self.runs]}

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self.runs)

    @cached_property
    def index(self) -> Tensor:
        """The entries, int64, increasing, on the CPU."""
        return torch.cat([torch.arange(start, stop) for start, stop in self.runs])

    def select(self, tensor: Tensor, dim: int) -> Tensor:
        """The entries of `tensor` that stay along `dim`, in memory of their own."""
        return tensor.index_select(dim, self.index.to(tensor.device))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
