"""Profiles of a given list, such as an archive's, or the fixed widths of slimmable networks and MatFormer.

Sources: Yu et al., "Slimmable neural networks", ICLR 2019 (all in every step, gradients added); Zaccone et al.,
"FlexRank", ICML 2026 (one of a nested chain per step).
"""

from collections.abc import Iterable, Sequence
from typing import Self

from paretorch.errors import InputError
from paretorch.methods.width.grid import Grids, checked_grids
from paretorch.methods.width.groups import Profile
from paretorch.methods.width.samplers.base import Sampler


class Chain(Sampler):
    """Profiles of a given list, `samples` of them per step, without replacement within a step.

    As many samples as profiles train all of them in every step. Above a centre that has moved, profiles are clipped to
    it.

    Args:
        profiles: at least one, all of the same length.
        samples: profiles per step, from 1 to their number.

    Raises:
        InputError: for no profile, profiles of different lengths, or a number of samples out of range.
    """

    def __init__(self, profiles: Iterable[Sequence[int]], *, samples: int = 1) -> None:
        super().__init__()
        self.profiles = tuple(tuple(profile) for profile in profiles)
        if not self.profiles or len({len(profile) for profile in self.profiles}) > 1:
            lengths = [len(profile) for profile in self.profiles]
            raise InputError(f"a chain needs profiles of one length; got {len(lengths)} of lengths {lengths[:6]}")
        if type(samples) is not int or not 1 <= samples <= len(self.profiles):
            raise InputError(f"samples must be from 1 to {len(self.profiles)}, the profiles given; got {samples!r}")
        self.samples = samples

    def bind(self, grids: Iterable[Sequence[int]], *, seed: int = 0) -> Self:
        self._check(checked_grids(grids))
        return super().bind(grids, seed=seed)

    def _check(self, grids: Grids) -> None:
        """Raise InputError unless every profile fits these grids."""
        for profile in self.profiles:
            if len(profile) != len(grids):
                raise InputError(f"profile {profile} of the chain is for {len(profile)} groups; there are {len(grids)}")
            for number, (width, widths) in enumerate(zip(profile, grids, strict=True)):
                if type(width) is not int or not 1 <= width <= widths[-1]:
                    raise InputError(
                        f"profile {profile} of the chain: the width of group {number} must be an integer from 1 to "
                        f"{widths[-1]}; got {width!r}"
                    )

    def _profiles(self, count: int) -> tuple[Profile, ...]:
        drawn = self.random(count).sample(self.profiles, self.samples)
        clipped = [tuple(map(min, profile, self.centre)) for profile in drawn]
        return tuple(sorted(clipped, key=sum, reverse=True))
