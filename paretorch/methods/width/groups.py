"""Width groups of a model: which entries of which tensors stand for one unit, and what a profile of widths costs.

A unit is the smallest thing that can be removed: a channel, a whole attention head, a group of a group norm, a rank.
Units that stand on the same axes form a group. A profile w gives every group its width w_g, 1 <= w_g <= n_g: the units
0 ... w_g - 1 stay (ordered dropout). The number of entries of every axis is then linear in w, and every cost is exact:

    count(w) = c_0 + sum_g m_g w_g        cost(w) = sum_terms coefficient * product of counts

Widths are integers everywhere; ratios are for display (ceil(K * (j / K)) is not j in floating point for 3.6 % of all
pairs). `tracing` finds the groups of a model; `cutting` and `ordered` use them.

Source: ordered dropout is Horvath et al., "FjORD", NeurIPS 2021 (section 3); coupled axes as in Fang et al.,
"DepGraph", CVPR 2023 (section 3), on integers instead of a graph of modules.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from paretorch.errors import InputError

Profile = tuple[int, ...]
FIXED = -1


@dataclass(frozen=True)
class Count:
    """A number of entries that is linear in the profile: constant + sum over groups of per_unit * width.

    Attributes:
        constant: entries that are never cut.
        per_unit: group number -> entries that one unit of it owns.
    """

    constant: int = 0
    per_unit: Mapping[int, int] = field(default_factory=dict)

    def at(self, profile: Sequence[int]) -> int:
        """The number of entries at `profile`."""
        return self.constant + sum(entries * profile[group] for group, entries in self.per_unit.items())


@dataclass(frozen=True)
class Term:
    """coefficient * product of counts: one product of a cost polynomial."""

    coefficient: int
    counts: tuple[Count, ...]

    def at(self, profile: Sequence[int]) -> int:
        """Its value at `profile`."""
        return self.coefficient * math.prod(count.at(profile) for count in self.counts)


@dataclass(frozen=True, eq=False)
class Axis:
    """One dimension of a parameter or buffer, and the unit that each of its entries belongs to.

    Attributes:
        tensor: full name of the parameter or buffer; of a tied one, the first.
        dim: which dimension.
        group: int64 (size,), the group number of each entry; FIXED (-1) where it is never cut.
        unit: int64 (size,), the unit within the group; 0 where the entry is fixed.
    """

    tensor: str
    dim: int
    group: Tensor
    unit: Tensor

    @cached_property
    def count(self) -> Count:
        """How many entries stay, as a function of the profile."""
        constant, per_unit = 0, {}
        for group in self.group.unique().tolist():
            entries = self.group == group
            if group == FIXED:
                constant = int(entries.sum())
            else:
                per_unit[group] = int((entries & (self.unit == self.unit[entries][0])).sum())
        return Count(constant, per_unit)

    def kept(self, keep: Sequence[Tensor]) -> Tensor:
        """Entries that stay, int64, increasing, if of each group the units `keep[group]` (int64) stay."""
        stays = self.group == FIXED
        for group in self.count.per_unit:
            stays |= (self.group == group) & torch.isin(self.unit, keep[group])
        return stays.nonzero().flatten()


@dataclass(frozen=True)
class Size:
    """A number in a module that must follow the widths, such as `out_channels`, `groups`, `num_groups` or `heads`.

    Where the attribute is a tuple of sizes (`normalized_shape`), its last entry.
    """

    module: str
    attribute: str
    count: Count


@dataclass(frozen=True)
class RmsScale:
    """An RMS norm over a cut axis, exact if the original divisor d is kept although only k entries are left:

    x / sqrt(sum(x^2) / d + eps) * weight = x / sqrt(sum(x^2) / k + eps * d / k) * weight * sqrt(d / k)
    """

    module: str
    count: Count


@dataclass(frozen=True)
class WidthGroup:
    """Units that are cut together.

    Attributes:
        name: of the first layer that makes them; unique in the model.
        size: how many units there are, the greatest width.
        producers: names of the modules whose outputs the units are.
        consumers: names of the modules that read them.
    """

    name: str
    size: int
    producers: tuple[str, ...] = ()
    consumers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pinned:
    """An axis that is not cut, and why: name of the layer that makes it, its size, the reason, what to do about it."""

    name: str
    size: int
    reason: str


@dataclass(frozen=True, eq=False)
class WidthGroups:
    """All width groups of a model, in the order of execution.

    Attributes:
        groups: what can be cut.
        axes: every dimension of a parameter or buffer on which a unit stands.
        sizes: module attributes that follow the widths.
        rms: RMS norms over a cut axis.
        params: terms whose sum is the number of parameters, each tied one counted once.
        macs: terms whose sum is the MACs of one example, as `paretorch.measurement.macs` counts them.
        activations: terms whose sum is the elements of one example that the forward pass writes (views are free).
        pinned: what cannot be cut, with reasons.
    """

    groups: tuple[WidthGroup, ...]
    axes: tuple[Axis, ...]
    sizes: tuple[Size, ...] = ()
    rms: tuple[RmsScale, ...] = ()
    params: tuple[Term, ...] = ()
    macs: tuple[Term, ...] = ()
    activations: tuple[Term, ...] = ()
    pinned: tuple[Pinned, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the groups, in the order of a profile."""
        return tuple(group.name for group in self.groups)

    @property
    def full(self) -> Profile:
        """The profile of the uncut model."""
        return tuple(group.size for group in self.groups)

    def checked(self, profile: Iterable[int]) -> Profile:
        """`profile` as a tuple, if it fits.

        Raises:
            InputError: for another number of widths than groups, or a width that is no integer from 1 to the group's
                size; naming the group.
        """
        if not isinstance(profile, Iterable):
            raise InputError(f"a profile is a tuple of widths, one for each of {_some(self.names)}; got {profile!r}")
        widths = tuple(profile)
        if len(widths) != len(self.groups):
            raise InputError(
                f"a profile of this model has {len(self.groups)} widths, one for each of {_some(self.names)}; got "
                f"{len(widths)}"
            )
        for group, width in zip(self.groups, widths, strict=True):
            if type(width) is not int or not 1 <= width <= group.size:
                raise InputError(
                    f"the width of {group.name!r} must be an integer from 1 to {group.size}; got {width!r}"
                )
        return widths

    def profile(self, widths: Mapping[str, int]) -> Profile:
        """The profile with these widths by group name; groups that are left out keep all their units.

        Raises:
            InputError: for a name that is no group, or a width out of range.
        """
        if unknown := sorted(set(widths) - set(self.names)):
            raise InputError(f"{unknown[0]!r} is no width group of this model; there are {_some(self.names)}")
        return self.checked(widths.get(group.name, group.size) for group in self.groups)

    def prefix(self, profile: Iterable[int]) -> tuple[Tensor, ...]:
        """The units of each group that stay at `profile`: 0 ... w - 1, int64."""
        return tuple(torch.arange(width) for width in self.checked(profile))

    def num_params(self, profile: Iterable[int]) -> int:
        """Parameters at `profile`, exactly."""
        return _total(self.params, self.checked(profile))

    def num_macs(self, profile: Iterable[int]) -> int:
        """MACs of one example at `profile`, exactly."""
        return _total(self.macs, self.checked(profile))

    def num_activations(self, profile: Iterable[int]) -> int:
        """Elements that the forward pass of one example writes at `profile`."""
        return _total(self.activations, self.checked(profile))


def _total(terms: Iterable[Term], profile: Profile) -> int:
    return sum(term.at(profile) for term in terms)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:6]))
    return f"{shown}, ... ({len(names)} in all)" if len(names) > 6 else shown
