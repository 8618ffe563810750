"""Cutting units out of a model for good: smaller tensors and fewer products, in plain modules of the same kind.

    tensor := tensor[kept entries of dim 0][:, kept entries of dim 1] ...       parameters, running statistics
    out_channels, in_features, groups, num_groups, heads, ... := their count
    RMS norm over k of d entries:  weight := weight * sqrt(d / k),  eps := eps * d / k       (the divisor d is kept)

A `Cut` says all this in names and numbers, so that it can be stored and made again on an equal model. The cut model
computes what the uncut one computes when nobody reads the removed units (`extract.masked`), up to rounding: matrix
products of another size add in another order.

A trainer replaces parameters by itself, to take optimizer state along::

    cut = plan_cut(groups, keep)
    parts = cut.parameters(run.model)
    state = {name: part.slice_state(run.optimizer.state[part.old]) for name, part in parts.items()}
    run.replace_parameters({name: part.new for name, part in parts.items()}, state)
    cut.resize_(run.model)

Source of the rules: slicing along coupled axes as in Fang et al., "DepGraph", CVPR 2023, section 3; the scale of RMS
norms is algebra.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.sparsity.binding import named_slots
from paretorch.methods.width.cut_parts import (
    CutParameter,
    check_parameter,
    check_shape,
    missing,
    named_buffers,
    named_modules,
    new_epsilon,
    resized,
    selected,
)
from paretorch.methods.width.groups import Axis, WidthGroups
from paretorch.methods.width.kept import Kept


@dataclass(frozen=True)
class Cut:
    """What a cut does to a model, in names and numbers.

    Attributes:
        slices: full name of a parameter or buffer (of a tied one, the first) -> dimension -> entries that stay.
        sizes: module name -> attribute -> (value before, value after).
        rms: name of an RMS norm over a cut axis -> (entries before, entries after).
    """

    slices: Mapping[str, Mapping[int, Kept]] = field(default_factory=dict)
    sizes: Mapping[str, Mapping[str, tuple[int, int]]] = field(default_factory=dict)
    rms: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def parameters(self, model: nn.Module) -> dict[str, CutParameter]:
        """Every parameter that the cut changes, by its name in `slices`; the model is not changed.

        Args:
            model: as it is before the cut; DDP and compiled wrappers are seen through.

        Raises:
            InputError: the model has no such parameter, or one of another shape, or one that cannot be cut: lazy,
                sharded, or computed from others (weight norm, masks of torch.nn.utils.prune).
        """
        slots = {name: (owner, parameter) for name, owner, _, parameter in named_slots(model)}
        buffers = named_buffers(model)
        parts: dict[str, CutParameter] = {}
        for name, kept in self.slices.items():
            if name in buffers:
                continue
            if name not in slots:
                raise InputError(missing(name, "parameter or buffer", model, [*slots, *buffers]))
            owner, old = slots[name]
            check_parameter(name, old, owner, kept)
            module, _, attribute = name.rpartition(".")
            scale = math.sqrt(_ratio(self.rms[module])) if attribute == "weight" and module in self.rms else 1.0
            values = selected(old.detach(), kept)
            new = nn.Parameter(values if scale == 1.0 else values * scale, requires_grad=old.requires_grad)
            if tied := [other for other, part in parts.items() if part.old is old]:
                raise InputError(f"{name} and {tied[0]} are one tied parameter; a cut names it once")
            parts[name] = CutParameter(old, new, kept, scale)
        if unscaled := [module for module in self.rms if f"{module}.weight" not in parts]:
            raise InputError(
                f"the RMS norm {unscaled[0]!r} has no weight to hold the scale that a cut of its axis needs; build it "
                "with elementwise_affine=True, or pin the axis"
            )
        return parts

    def apply_(self, model: nn.Module) -> dict[str, CutParameter]:
        """Make the cut in place, on tied parameters under all their names; optimizers still hold the old parameters.

        Returns:
            The parameters before and after, by name.

        Raises:
            InputError: the cut does not fit the model, which is then unchanged.
        """
        parts = self.parameters(model)
        rest = self._rest(model)
        new_of = {id(part.old): part.new for part in parts.values()}
        for _, owner, attribute, parameter in list(named_slots(model)):
            if id(parameter) in new_of:
                setattr(owner, attribute, new_of[id(parameter)])
        for module, attribute, value in rest:
            setattr(module, attribute, value)
        return parts

    def resize_(self, model: nn.Module) -> None:
        """Put the new buffers, sizes and epsilons in place: the half of the cut that no optimizer knows of.

        Raises:
            InputError: the cut does not fit the model, which is then unchanged.
        """
        for module, attribute, value in self._rest(model):
            setattr(module, attribute, value)

    def _rest(self, model: nn.Module) -> list[tuple[nn.Module, str, Any]]:
        """(module, attribute, new value) of all that is no parameter."""
        modules, buffers = named_modules(model), named_buffers(model)
        if lost := sorted({*self.sizes, *self.rms} - set(modules)):
            raise InputError(missing(lost[0], "module", model, list(modules)))
        rest: list[tuple[nn.Module, str, Any]] = []
        for name, attributes in self.sizes.items():
            for attribute, (before, after) in attributes.items():
                rest.append((modules[name], attribute, resized(modules[name], name, attribute, before, after)))
        for name, counts in self.rms.items():
            rest.append((modules[name], *new_epsilon(modules[name], name, _ratio(counts))))
        for name in self.slices.keys() & buffers.keys():
            old = buffers[name][1]
            check_shape(name, old, self.slices[name])
            new = selected(old, self.slices[name])
            rest += [
                (owner, slot.rpartition(".")[2], new) for slot, (owner, tensor) in buffers.items() if tensor is old
            ]
        return rest

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "slices": {
                name: {str(dim): entries.to_dict() for dim, entries in kept.items()}
                for name, kept in self.slices.items()
            },
            "sizes": {module: {name: list(pair) for name, pair in of.items()} for module, of in self.sizes.items()},
            "rms": {module: list(counts) for module, counts in self.rms.items()},
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The cut from what `to_dict` gave.

        Raises:
            InputError: for anything else.
        """
        slices, sizes, rms = (_mapping(fields.get(name), name) for name in ("slices", "sizes", "rms"))
        return cls(
            {
                name: {_dimension(dim, name): Kept.from_dict(kept) for dim, kept in _mapping(of, name).items()}
                for name, of in slices.items()
            },
            {
                module: {name: _pair(counts, f"{module}.{name}") for name, counts in _mapping(of, module).items()}
                for module, of in sizes.items()
            },
            {module: _pair(counts, module) for module, counts in rms.items()},
        )


def plan_cut(groups: WidthGroups, keep: Sequence[Tensor]) -> Cut:
    """Work out the cut that leaves these units of every group.

    Args:
        groups: of the model as it is.
        keep: for each group, in order, int64 (kept,): the units that stay, increasing, from 0; `groups.prefix(profile)`
            for a profile of widths.

    Raises:
        InputError: for another number of groups, or units that are empty, repeated, out of order or out of range.
    """
    units = checked_units(groups, keep)
    profile = tuple(len(kept) for kept in units)
    slices: dict[str, dict[int, Kept]] = {}
    for axis in groups.axes:
        kept = axis.kept(units)
        if len(kept) < len(axis.group):
            slices.setdefault(axis.tensor, {})[axis.dim] = Kept.of(kept, size=len(axis.group))
    sizes: dict[str, dict[str, tuple[int, int]]] = {}
    for size in groups.sizes:
        before, after = size.count.at(groups.full), size.count.at(profile)
        if after != before:
            sizes.setdefault(size.module, {})[size.attribute] = (before, after)
    rms = {scale.module: (scale.count.at(groups.full), scale.count.at(profile)) for scale in groups.rms}
    return Cut(slices, sizes, {module: (d, k) for module, (d, k) in rms.items() if k != d})


def narrowed(groups: WidthGroups, keep: Sequence[Tensor]) -> WidthGroups:
    """The groups of the model after `plan_cut(groups, keep)`: same names, smaller sizes, units numbered anew.

    Raises:
        InputError: as `plan_cut` does.
    """
    units = checked_units(groups, keep)
    axes = []
    for axis in groups.axes:
        kept = axis.kept(units)
        group, unit = axis.group[kept], axis.unit[kept]
        for number in axis.count.per_unit:
            unit = torch.where(group == number, torch.searchsorted(units[number], unit), unit)
        axes.append(Axis(axis.tensor, axis.dim, group, unit))
    sized = tuple(replace(group, size=len(kept)) for group, kept in zip(groups.groups, units, strict=True))
    return replace(groups, groups=sized, axes=tuple(axes))


def checked_units(groups: WidthGroups, keep: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """`keep` as a tuple, if it names units of every group.

    Raises:
        InputError: as `plan_cut` does; naming the group.
    """
    if not isinstance(keep, Sequence):
        raise InputError(f"keep is a sequence of int64 tensors, one for each group; got {type(keep).__name__}")
    if len(keep) != len(groups.groups):
        raise InputError(f"keep has the units of {len(keep)} groups, and there are {len(groups.groups)}")
    for group, units in zip(groups.groups, keep, strict=True):
        wanted = f"the units of {group.name!r} that stay are increasing int64 numbers from 0 to {group.size - 1}"
        if not isinstance(units, Tensor) or units.dtype != torch.int64 or units.dim() != 1:
            what = f"{units.dtype} {tuple(units.shape)}" if isinstance(units, Tensor) else type(units).__name__
            raise InputError(f"{wanted}, in a tensor of one dimension; got {what}")
        if not len(units):
            raise InputError(f"{wanted}, at least one; got none. To remove a layer, build the model anew.")
        if bool((units.diff() <= 0).any()) or int(units[0]) < 0 or int(units[-1]) >= group.size:
            shown = units[:8].tolist()
            raise InputError(f"{wanted}, without repeats; got {shown}{' ...' if len(units) > 8 else ''}")
    return tuple(units.cpu() for units in keep)


def _ratio(counts: tuple[int, int]) -> float:
    return counts[0] / counts[1]


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{name!r} of a cut is a mapping of names; got {value!r}")
    return value


def _dimension(text: str, name: str) -> int:
    if not text.isdecimal():
        raise InputError(f"a dimension of {name!r} is a number from 0; got {text!r}")
    return int(text)


def _pair(counts: Any, name: str) -> tuple[int, int]:
    """(before, after), if a cut can make the one of the other."""
    if not isinstance(counts, list) or [type(count) for count in counts] != [int, int] or not counts[0] > counts[1] > 0:
        raise InputError(
            f"the size of {name!r} before and after a cut are two integers, before > after > 0; got {counts!r}"
        )
    return counts[0], counts[1]
