"""What all samplers of profiles share: grids, a centre that may move, and draws that are functions of three numbers.

A draw depends on (seed, number of recentrings, number of draws since) alone, so that all processes draw alike and a
resumed run draws what it would have drawn.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, Self

from paretorch.errors import InputError
from paretorch.methods.width.grid import Grids, below, checked_grids
from paretorch.methods.width.groups import Profile


class Sampler(ABC):
    """Base of all samplers: `bind` to grids, then `draw` once per step.

    A subclass says what draw number `count` is; everything it needs is in `grids`, `centre` and `random`.
    """

    def __init__(self) -> None:
        self._grids: Grids | None = None
        self.seed = self.generation = self.count = 0

    @property
    def grids(self) -> Grids:
        """The widths of each group, increasing, the centre's last.

        Raises:
            InputError: before `bind`.
        """
        if self._grids is None:
            raise InputError(f"{type(self).__name__} is not bound to a model; call sampler.bind(grids(groups)) first")
        return self._grids

    @property
    def centre(self) -> Profile:
        """The greatest widths at present."""
        return tuple(widths[-1] for widths in self.grids)

    def bind(self, grids: Iterable[Sequence[int]], *, seed: int = 0) -> Self:
        """Begin at draw 0 on these grids; returns the sampler.

        Args:
            grids: widths of each group in the order of a profile, increasing; the last ones are the centre.
            seed: the same on all processes.

        Raises:
            InputError: for grids that are none, or that do not fit this sampler.
        """
        self._grids, self.seed, self.generation, self.count = checked_grids(grids), seed, 0, 0
        return self

    def draw(self) -> tuple[Profile, ...]:
        """The profiles of the next step, largest first; no width exceeds the centre's."""
        profiles = self._profiles(self.count)
        self.count += 1
        return profiles

    def recentre(self, centre: Sequence[int]) -> None:
        """Go on below another centre, with fresh draws: grids lose what exceeds it, and gain it.

        Args:
            centre: a width for each group, none above the present centre's.

        Raises:
            InputError: for a profile of wrong length, or a width that is out of range; the sampler stays as it was.
        """
        if len(centre) != len(self.grids):
            raise InputError(f"the centre has {len(centre)} widths; this sampler has {len(self.grids)} groups")
        for number, (width, now) in enumerate(zip(centre, self.centre, strict=True)):
            if type(width) is not int or not 1 <= width <= now:
                raise InputError(f"the centre of group {number} must be an integer from 1 to {now}; got {width!r}")
        self._grids = tuple(below(widths, width) for widths, width in zip(self.grids, centre, strict=True))
        self.generation, self.count = self.generation + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Grids and how far the draws have come."""
        return {
            "kind": type(self).__name__,
            "grids": [list(widths) for widths in self.grids],
            "seed": self.seed,
            "generation": self.generation,
            "count": self.count,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was saved.

        Raises:
            InputError: if it was saved by another kind of sampler, or for another number of groups.
        """
        if state["kind"] != type(self).__name__:
            raise InputError(f"the state is of a {state['kind']} sampler; this one is {type(self).__name__}")
        if len(state["grids"]) != len(self.grids):
            raise InputError(f"the state is of {len(state['grids'])} groups; this sampler has {len(self.grids)}")
        self._grids = checked_grids(state["grids"])
        self.seed, self.generation, self.count = state["seed"], state["generation"], state["count"]

    def random(self, number: int) -> Random:
        """The stream of draw (or cycle) `number`; seeded by text, which is the same in every process."""
        return Random(f"{self.seed} {self.generation} {number}")

    @abstractmethod
    def _profiles(self, count: int) -> tuple[Profile, ...]:
        """Draw number `count`."""
