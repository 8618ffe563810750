"""Random profiles: one level for all groups, a level for each, and the sandwich of the widest, the narrowest and some.

Sources: Horvath et al., "FjORD", NeurIPS 2021, section 3 (uniform); Yu and Huang, "Universally slimmable networks",
ICCV 2019, section 3 (sandwich); Yu and Huang, "AutoSlim", 2019 (independent).
"""

from random import Random
from typing import Literal

from paretorch.errors import InputError
from paretorch.methods.width.grid import Grids
from paretorch.methods.width.groups import Profile
from paretorch.methods.width.samplers.base import Sampler


class Uniform(Sampler):
    """One level for all groups, uniform over as many levels as the longest grid has; one profile per step."""

    def _profiles(self, count: int) -> tuple[Profile, ...]:
        return (_uniform(self.grids, self.random(count)),)


class Independent(Sampler):
    """A width for each group, uniform over its grid; one profile per step."""

    def _profiles(self, count: int) -> tuple[Profile, ...]:
        return (_independent(self.grids, self.random(count)),)


class Sandwich(Sampler):
    """The centre, the narrowest profile, and `samples - 2` random ones between them.

    Args:
        samples: profiles per step, at least 2.
        between: how the random ones are drawn: "uniform" (one level for all groups, as in universally slimmable
            networks) or "independent" (as in AutoSlim).

    Raises:
        InputError: for fewer than 2 samples, or an unknown way.
    """

    def __init__(self, *, samples: int = 4, between: Literal["uniform", "independent"] = "uniform") -> None:
        super().__init__()
        if type(samples) is not int or samples < 2:
            raise InputError(f"a sandwich has at least 2 profiles, the widest and the narrowest; got samples={samples}")
        if between not in _DRAWS:
            raise InputError(f"between must be one of {sorted(_DRAWS)}; got {between!r}")
        self.samples, self.between = samples, between

    def _profiles(self, count: int) -> tuple[Profile, ...]:
        random = self.random(count)
        inner = [_DRAWS[self.between](self.grids, random) for _ in range(self.samples - 2)]
        narrowest = tuple(widths[0] for widths in self.grids)
        return (self.centre, *sorted(inner, key=sum, reverse=True), narrowest)


def _uniform(grids: Grids, random: Random) -> Profile:
    """Level k of K for all groups: width number ceil(k * len / K) of each grid, K = the longest."""
    levels = max(map(len, grids))
    level = random.randint(1, levels)
    return tuple(widths[-(-level * len(widths) // levels) - 1] for widths in grids)


def _independent(grids: Grids, random: Random) -> Profile:
    return tuple(random.choice(widths) for widths in grids)


_DRAWS = {"uniform": _uniform, "independent": _independent}
