"""The profiles that were measured and that no other one beats: a Pareto archive of (footprints, loss).

    a dominates b:  a has no larger footprint in any key and no larger loss, and one of them strictly smaller

An archive keeps what nothing in it dominates; equal points of different profiles are all kept, so that the order of
insertion does not matter. It holds measured losses only: what a solver predicted is kept beside the measured loss of
the same entry and decides nothing, since an additive prediction may be wrong by the number of layers.

Source: Pareto dominance as in Zitzler and Thiele, IEEE TEC 3(4), 1999, section 3; an archive of measured points from
one training run is reconstructed from the abstract of J. Liu, MSc thesis, MBZUAI 2025 (DPOD).
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from paretorch.errors import InputError
from paretorch.methods.width.groups import Profile


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A measured profile.

    Attributes:
        profile: widths in units of the original model, also where the centre had moved.
        footprint: exact costs of the whole profile by name, such as "params" and "macs"; at least 0.
        loss: measured on calibration examples, mean per example; lower is better.
        source: how the profile was found: "trace" (a centre during training), the name of a solver, "uniform", ...
        seed: of the training run.
        reestimated: whether batch-norm statistics were re-estimated at this profile before measuring; True for a model
            that has none.
        metric: the task's metric on validation examples, or None if it was not read.
        predicted: the loss a solver predicted for the profile, or None. Never compared with a measured one.
        checkpoint: which weights were measured, by name; None for those at the end of training.

    Raises:
        InputError: for a footprint or a loss that is negative (footprint), NaN or infinite, naming the profile.
    """

    profile: Profile
    footprint: Mapping[str, float]
    loss: float
    source: str
    seed: int
    reestimated: bool
    metric: float | None = None
    predicted: float | None = None
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        bad = [key for key, value in self.footprint.items() if not (math.isfinite(value) and value >= 0)]
        if bad:
            raise InputError(
                f"the footprint {bad[0]!r} of profile {self.profile} is {self.footprint[bad[0]]}; expected a finite "
                "number of at least 0"
            )
        if not math.isfinite(self.loss):
            raise InputError(
                f"the measured loss of profile {self.profile} is {self.loss}; such a profile has no place in an archive"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and checkpoints."""
        return asdict(self) | {"profile": list(self.profile), "footprint": dict(self.footprint)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The entry that `to_dict` described."""
        return cls(**(dict(data) | {"profile": tuple(data["profile"])}))


class Archive:
    """Measured profiles of which none dominates another.

    Args:
        keys: names of the footprints that count, at least one; others are stored and do not decide.

    Raises:
        InputError: without a key, or with one twice.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys or len(set(keys)) < len(keys):
            raise InputError(f"an archive compares by at least one footprint, each once; got {list(keys)}")
        self.keys = tuple(keys)
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """Entries by footprint, in the order of the keys, then by loss and profile."""
        return iter(sorted(self._entries, key=self._order))

    def insert(self, entry: Entry) -> bool:
        """Add `entry` unless it is dominated or there already, and remove what it dominates.

        Returns:
            Whether it was added.

        Raises:
            InputError: if it lacks a footprint of `keys`, or if it was measured with re-estimated batch-norm statistics
                and the others without, or the reverse: such losses cannot be compared.
        """
        if missing := [key for key in self.keys if key not in entry.footprint]:
            raise InputError(
                f"the entry of profile {entry.profile} has no footprint {missing[0]!r}, by which the archive compares; "
                f"it has {sorted(entry.footprint)}"
            )
        if any(other.reestimated != entry.reestimated for other in self._entries):
            raise InputError(
                f"the entry of profile {entry.profile} has reestimated = {entry.reestimated}, and the archive holds "
                "losses measured otherwise; measure all of them in the same way"
            )
        if any(other == entry or self.dominates(other, entry) for other in self._entries):
            return False
        self._entries = [other for other in self._entries if not self.dominates(entry, other)]
        self._entries.append(entry)
        return True

    def dominates(self, first: Entry, second: Entry) -> bool:
        """Whether `first` is at least as good as `second` in every key and in loss, and better in one of them."""
        a, b = self._point(first), self._point(second)
        return a != b and all(x <= y for x, y in zip(a, b, strict=True))

    def best(self, budgets: Mapping[str, float]) -> Entry:
        """The entry with the lowest measured loss within all budgets; of equal ones the smaller.

        Args:
            budgets: greatest footprint allowed, by name; keys that are left out are not limited.

        Raises:
            InputError: for a name that is no key of this archive, or if nothing fits; it then says how small the
                smallest entries are.
        """
        if unknown := sorted(set(budgets) - set(self.keys)):
            raise InputError(f"this archive compares by {list(self.keys)}, and not by {unknown[0]!r}")
        fits = [e for e in self._entries if all(e.footprint[key] <= limit for key, limit in budgets.items())]
        if not fits:
            least = {key: min((e.footprint[key] for e in self._entries), default=None) for key in budgets}
            smallest = ", ".join(f"{key} {value}" for key, value in least.items())
            held = f"the smallest of its {len(self)} entries reach {smallest}" if self._entries else "it is empty"
            raise InputError(f"no entry of the archive is within {dict(budgets)}: {held}. Raise the budget")
        return min(fits, key=lambda entry: (entry.loss, *self._order(entry)))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and checkpoints."""
        return {"keys": list(self.keys), "entries": [entry.to_dict() for entry in self]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The archive that `to_dict` described."""
        return cls(data["keys"]).with_entries(Entry.from_dict(entry) for entry in data["entries"])

    def with_entries(self, entries: Iterable[Entry]) -> Self:
        """The same archive after all of `entries` were inserted."""
        for entry in entries:
            self.insert(entry)
        return self

    def _point(self, entry: Entry) -> tuple[float, ...]:
        return (*(entry.footprint[key] for key in self.keys), entry.loss)

    def _order(self, entry: Entry) -> tuple[Any, ...]:
        return (*self._point(entry), entry.profile, entry.source, entry.seed, entry.checkpoint or "")
