"""Runs a model at a profile of widths, on slices of its own parameters: ordered dropout of any model with groups.

    y = f(x; slices of theta)        a group of width w uses its units 0 ... w - 1

The slices are views (or gathers, where the units are not neighbours), so that a backward pass adds to the gradients of
the real parameters and leaves exact zeros where units were off. Nothing is reparametrised: outside of `at`, modules,
`state_dict`, copies and optimizers see the ordinary model.

    with ordered.at(profile):
        loss = criterion(model(inputs), targets)     # also through a wrapper such as DistributedDataParallel
        loss.backward()                              # inside, if activations are checkpointed

Batch norm: scale and shift are shared and sliced. Running statistics are updated at the full profile only. At another
profile a training pass normalises by its batch and leaves them alone, and an evaluation reads slices of those of the
full model, which are stale: what a layer sees depends on all widths before it. Re-estimate them for every profile that
is judged (`reestimate_at`).

Source: Horvath et al., "FjORD", NeurIPS 2021, section 3. Deviations: integer widths per group instead of one ratio, and
no statistics per width, which cannot be kept once profiles differ by layer (Yu and Huang, "Universally slimmable
networks", ICCV 2019, section 3.3, re-estimate as well). Gates of recurrent layers are not sliced; they are pinned.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from paretorch.errors import InputError
from paretorch.methods.sparsity.binding import unwrapped
from paretorch.methods.width.cut_parts import missing, named_modules, new_epsilon, resized
from paretorch.methods.width.groups import FIXED, Axis, Profile, RmsScale, WidthGroups
from paretorch.methods.width.slots import Slot, exchanged, slots_of

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
REMEMBERED = 8192  # slices of axes; every axis has as many as its groups have widths together


class OrderedModel:
    """A model that can be run at any profile of its groups.

    Args:
        model: DDP and compiled wrappers are seen through; a compiled one is compiled again for every new profile.
        groups: of this model at its present sizes; after a cut, make another `OrderedModel`.

    Raises:
        InputError: if the groups belong to another model, or to this one before it was cut.
    """

    def __init__(self, model: nn.Module, groups: WidthGroups) -> None:
        self.model, self.groups = unwrapped(model), groups
        self._modules = named_modules(model)
        norms = {id(module): (name, module) for name, module in reversed(self._modules.items())}
        self._norms = [(name, module) for name, module in norms.values() if isinstance(module, _NormBase)]
        self._axes: dict[str, list[tuple[int, Axis]]] = {}
        for number, axis in enumerate(groups.axes):
            self._axes.setdefault(axis.tensor, []).append((number, axis))
        self._slots = slots_of(self._modules, self._axes)
        self._index = lru_cache(REMEMBERED)(self._find_index)
        self._inside = False
        self._full = groups.full
        self._groups = {name: {g for _, axis in axes for g in axis.count.per_unit} for name, axes in self._axes.items()}
        for name in self._axes:
            self._whole(name)
        self._sized(self._full, set(range(len(self._full))))

    @contextmanager
    def at(self, profile: Iterable[int], *, statistics: Mapping[str, Tensor] | None = None) -> Iterator[nn.Module]:
        """A context in which the model is the sub-network of `profile`; everything is put back after it, errors too.

        Args:
            profile: a width for each group. The full one changes nothing at all.
            statistics: running statistics of the batch norms, as from `statistics` or `reestimate_at`, in place of the
                model's. Training passes write to them.

        Yields:
            The unwrapped model.

        Raises:
            InputError: for a profile or statistics that do not fit, inside another `at`, or if the model was cut since.
        """
        widths = self.groups.checked(profile)
        if self._inside:
            raise InputError("this model is at a profile already; leave its `at` before another one is entered")
        tensors: list[tuple[Slot, Tensor]] = []
        attributes: list[tuple[nn.Module, str, Any]] = []
        if widths != self._full or statistics is not None:
            own = self.statistics(widths) if statistics is None else self._checked(statistics, widths)
            cut = {group for group, width in enumerate(widths) if width != self._full[group]}
            tensors, attributes = self._sliced(widths, cut, own), self._sized(widths, cut)
        self._inside = True
        try:
            with exchanged(tensors, attributes):
                yield self.model
        finally:
            self._inside = False

    def statistics(self, profile: Iterable[int]) -> dict[str, Tensor]:
        """Running statistics of the batch (and instance) norms, sliced to `profile`, in memory of their own; by name.

        Raises:
            InputError: for a profile that does not fit.
        """
        widths = self.groups.checked(profile)
        return {name: self._slice(name, store[key], widths).clone() for name, (store, key) in self._tracked().items()}

    def used(self, name: str, profile: Iterable[int]) -> Tensor:
        """Which entries of the parameter or buffer `name` the sub-network of `profile` uses: bool, of its shape."""
        widths, whole = self.groups.checked(profile), self._whole(name)
        used = torch.ones(whole.shape, dtype=torch.bool, device=whole.device)
        for number, axis in self._axes[name]:
            entries = torch.zeros(len(axis.group), dtype=torch.bool, device=whole.device)
            index = self._index(number, _own(axis, widths), whole.device)
            entries[slice(None) if index is None else index] = True
            used &= entries.unflatten(0, [-1 if dim == axis.dim else 1 for dim in range(whole.dim())])
        return used

    def _tracked(self) -> dict[str, Slot]:
        """Where running statistics are kept; those of a module with several names under its first."""
        return {
            f"{name}.{key}".removeprefix("."): (norm._buffers, key)
            for name, norm in self._norms
            for key in STATISTICS
            if norm.track_running_stats and norm._buffers.get(key) is not None
        }

    def _checked(self, statistics: Mapping[str, Tensor], widths: Profile) -> Mapping[str, Tensor]:
        expected = {name: tuple(value.shape) for name, value in self.statistics(widths).items()}
        given = {name: tuple(value.shape) for name, value in statistics.items()}
        for name in sorted(expected.keys() | given.keys()):
            if expected.get(name) != given.get(name):
                raise InputError(
                    f"statistics of {name!r} at profile {widths} have shape {given.get(name)}; expected "
                    f"{expected.get(name)}. Re-estimate them for this profile with reestimate_at."
                )
        return statistics

    def _sliced(self, widths: Profile, cut: set[int], statistics: Mapping[str, Tensor]) -> list[tuple[Slot, Tensor]]:
        """Every tensor that is replaced at `widths`, with its slots; `cut` are the groups below their full width."""
        tracked = self._tracked()
        made = [(tracked[name], value) for name, value in statistics.items()]
        scales = {f"{norm.module}.weight": self._ratio(norm, widths) for norm in self.groups.rms}
        for name, groups in self._groups.items():
            if name in statistics or cut.isdisjoint(groups):
                continue
            part = self._slice(name, self._whole(name), widths)
            if scales.get(name, 1.0) != 1.0:
                part = part * math.sqrt(scales[name])
            made += [(slot, part) for slot in self._slots[name]]
        return made

    def _sized(self, widths: Profile, cut: set[int]) -> list[tuple[nn.Module, str, Any]]:
        """(module, attribute, value) of every number that follows the widths of the groups `cut`."""
        made: list[tuple[nn.Module, str, Any]] = []
        for size in self.groups.sizes:
            if not cut.isdisjoint(size.count.per_unit):
                module, before = self._module(size.module), size.count.at(self._full)
                value = resized(module, size.module, size.attribute, before, size.count.at(widths))
                made.append((module, size.attribute, value))
        for norm in self.groups.rms:
            if f"{norm.module}.weight" not in self._axes:
                raise InputError(f"the RMS norm {norm.module!r} has no weight to hold a scale; pin its axis")
            if (ratio := self._ratio(norm, widths)) != 1.0:
                module = self._module(norm.module)
                made.append((module, *new_epsilon(module, norm.module, ratio)))
        return made

    def _ratio(self, norm: RmsScale, widths: Profile) -> float:
        """d / k, entries before over entries after."""
        return norm.count.at(self._full) / norm.count.at(widths)

    def _module(self, name: str) -> nn.Module:
        if name not in self._modules:
            raise InputError(missing(name, "module", self.model, list(self._modules)))
        return self._modules[name]

    def _whole(self, name: str) -> Tensor:
        """The tensor itself, if its shape is that of the groups."""
        if name not in self._slots:
            raise InputError(f"{name!r} stands on no axis of the width groups of this model")
        store, key = self._slots[name][0]
        tensor: Tensor = store[key]
        for _, axis in self._axes[name]:
            if not axis.dim < tensor.dim() or tensor.shape[axis.dim] != len(axis.group):
                raise InputError(
                    f"{name} has shape {tuple(tensor.shape)}, and its groups have {len(axis.group)} entries along "
                    f"dimension {axis.dim}: they are of another model, or this one was cut since, or it is at a "
                    "profile already. Make an OrderedModel with the groups of the model as it is."
                )
        return tensor

    def _slice(self, name: str, tensor: Tensor, widths: Profile) -> Tensor:
        """The entries of `tensor` that `widths` uses; itself if that is all of them."""
        for number, axis in self._axes.get(name, ()):
            index = self._index(number, _own(axis, widths), tensor.device)
            if isinstance(index, Tensor):
                tensor = tensor.index_select(axis.dim, index)
            elif index is not None:
                tensor = tensor.narrow(axis.dim, index.start, index.stop - index.start)
        return tensor

    def _find_index(self, number: int, widths: Profile, device: torch.device) -> slice | Tensor | None:
        """Entries of axis `number` when its own groups have `widths`: neighbours, a list, or None for all of them."""
        axis = self.groups.axes[number]
        limits = torch.zeros(len(self._full) + 1, dtype=torch.int64)
        limits[FIXED] = 1  # the unit of a fixed entry is 0
        limits[list(axis.count.per_unit)] = torch.tensor(widths, dtype=torch.int64)
        kept = (axis.unit < limits[axis.group]).nonzero().flatten()
        if len(kept) == len(axis.group):
            return None
        start, stop = int(kept[0]), int(kept[-1]) + 1
        return slice(start, stop) if stop - start == len(kept) else kept.to(device)


def _own(axis: Axis, widths: Profile) -> Profile:
    """The widths of the groups that stand on this axis."""
    return tuple(widths[group] for group in axis.count.per_unit)
