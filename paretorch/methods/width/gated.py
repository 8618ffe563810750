"""Runs a model on any of its units, each scaled by a gate: what is not kept is neither computed nor stored.

    W[:, entries of unit u]  :=  gate_u * W[:, entries of unit u]        in every layer that reads the unit

A gate stands where a unit is read and not where it is made: batch norms, activations and residual sums in between would
undo or spread it. At gates of 0 and 1 the result is the cut model's; `keep` takes units away without computing them at
all, so that operations and memory of a step are those of the smaller model.

Running statistics of batch norms are sliced and, after a training pass, written back.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.sparsity.binding import unwrapped
from paretorch.methods.width.cut_parts import named_modules, resized, selected
from paretorch.methods.width.cutting import Cut, plan_cut
from paretorch.methods.width.groups import FIXED, Axis, WidthGroups
from paretorch.methods.width.kept import Kept
from paretorch.methods.width.slots import Slot, exchanged, slots_of
from paretorch.methods.width.unit_entries import reading_axes

Gates = Sequence[Tensor]


class GatedModel:
    """A model whose units can be scaled and left out.

    Args:
        model: DDP and compiled wrappers are seen through.
        groups: of this model at its present sizes.

    Attributes:
        ungated: name of a group whose units have no gate -> why. They are always kept, at a gate of 1.

    Raises:
        InputError: if the groups belong to another model.
    """

    def __init__(self, model: nn.Module, groups: WidthGroups) -> None:
        self.model, self.groups = unwrapped(model), groups
        self._modules = named_modules(model)
        self._slots = slots_of(self._modules, [axis.tensor for axis in groups.axes])
        self.ungated: dict[str, str] = {}
        axes: dict[tuple[str, int], Axis] = {}
        for number, group in enumerate(groups.groups):
            reading = reading_axes(self.model, groups, number)
            if reason := self._why_not(number, [module for module, _ in reading], [axis for _, axis in reading]):
                self.ungated[group.name] = reason
            else:
                axes |= {(axis.tensor, axis.dim): axis for _, axis in reading}
        offsets = torch.tensor(groups.full).cumsum(0).roll(1)
        offsets[:1] = 0
        # Into [1, gates of group 0, gates of group 1, ...]: fixed entries and ungated groups point at the 1.
        self._readers: dict[str, list[tuple[int, Tensor]]] = {}
        closed = [number for number, group in enumerate(groups.groups) if group.name in self.ungated]
        for (tensor, dim), axis in axes.items():
            entry = 1 + offsets[axis.group.clamp_min(0)] + axis.unit
            entry[(axis.group == FIXED) | torch.isin(axis.group, torch.tensor(closed, dtype=torch.int64))] = 0
            self._readers.setdefault(tensor, []).append((dim, entry))

    @contextmanager
    def at(self, cut: Cut, gates: Gates) -> Iterator[nn.Module]:
        """A context in which the model has only the units that `cut` leaves, scaled by their gates.

        Args:
            cut: from `plan`.
            gates: for each group, (size,), one for every unit of the uncut model; differentiable.

        Yields:
            The unwrapped model.
        """
        scales = _scales(gates)
        tensors: list[tuple[Slot, Tensor]] = []
        returning: list[tuple[Tensor, Tensor, list[Tensor]]] = []
        for name in dict.fromkeys((*self._readers, *cut.slices)):
            store, key = self._slots[name][0]
            whole: Tensor = store[key]
            kept = cut.slices.get(name, {})
            part = self._scaled(name, selected(whole, kept), scales, kept)
            tensors += [(slot, part) for slot in self._slots[name]]
            if not isinstance(whole, nn.Parameter):
                returning.append((whole, part, _entries(whole, kept)))
        numbers = [
            (self._modules[name], attribute, resized(self._modules[name], name, attribute, before, after))
            for name, attributes in cut.sizes.items()
            for attribute, (before, after) in attributes.items()
        ]
        with exchanged(tensors, numbers):
            yield self.model
        with torch.no_grad():
            for whole, part, entries in returning:
                whole[torch.meshgrid(entries, indexing="ij")] = part

    def plan(self, keep: Sequence[Tensor]) -> Cut:
        """The cut that leaves these units of every group, for `at`.

        Raises:
            InputError: as `plan_cut` does, and if a unit without a gate would be left out.
        """
        cut = plan_cut(self.groups, keep)
        for group, units in zip(self.groups.groups, keep, strict=True):
            if group.name in self.ungated and len(units) < group.size:
                raise InputError(f"units of {group.name!r} cannot be left out: {self.ungated[group.name]}")
        return cut

    def fold_(self, gates: Gates) -> None:
        """Multiply the gates into the weights, for good."""
        scales = _scales(gates)
        with torch.no_grad():
            for name in self._readers:
                store, key = self._slots[name][0]
                store[key].copy_(self._scaled(name, store[key], scales, {}))

    def _scaled(self, name: str, part: Tensor, scales: Tensor, kept: Mapping[int, Kept]) -> Tensor:
        """The kept entries of a tensor times the gates of the units that they read."""
        for dim, entry in self._readers.get(name, ()):
            mine = entry[kept[dim].index] if dim in kept else entry
            scale = scales[mine.to(scales.device)].to(part.dtype)
            part = part * scale.unflatten(0, [-1 if d == dim else 1 for d in range(part.dim())])
        return part

    def _why_not(self, number: int, readers: list[nn.Module], axes: list[Axis]) -> str | None:
        """Why the units of a group can have no gate, or None."""
        group = self.groups.groups[number]
        if not group.consumers or len(readers) < len(group.consumers):
            return "not everything that reads it is a linear or convolutional layer"
        if any(number in norm.count.per_unit for norm in self.groups.rms):
            return "an RMS norm adds up its units before a gate could scale them"
        if any(len(self._slots[axis.tensor]) > 1 for axis in axes):
            return "a weight that reads it is tied to another layer's"
        return None


def _scales(gates: Gates) -> Tensor:
    return torch.cat([gates[0].new_ones(1), *gates])


def _entries(tensor: Tensor, kept: Mapping[int, Kept]) -> list[Tensor]:
    """The entries that stay, for every dimension."""
    return [kept[dim].index if dim in kept else torch.arange(size) for dim, size in enumerate(tensor.shape)]
