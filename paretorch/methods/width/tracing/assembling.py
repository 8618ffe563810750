"""Width groups from what one forward pass has written down."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from paretorch.methods.width.groups import FIXED, Axis, Count, RmsScale, Size, WidthGroups
from paretorch.methods.width.tracing.costs import Counts
from paretorch.methods.width.tracing.module_sizes import known_sizes
from paretorch.methods.width.tracing.trace import Literal, Trace
from paretorch.methods.width.tracing.units import TensorAxis, Units, pinned_axes, resolve

Pins = list[tuple[Tensor, str]]
Attributes = frozenset[tuple[type, str]]  # of user modules: integers that follow the widths
LayerCount = Callable[[str, int], Count | None]


@dataclass(frozen=True)
class Assembled:
    """Width groups, and what they were made from."""

    groups: WidthGroups
    units: Units
    counts: Counts
    known: tuple[Size, ...]

    def following(self, model: nn.Module, trace: Trace, attributes: Attributes) -> "Assembled":
        """The same with these attributes of user modules in the sizes."""
        sizes = {(size.module, size.attribute): size for size in self.known}
        for literal, attribute in candidates(model, trace.record.literals, self.counts):
            if (type(model.get_submodule(literal.module)), attribute) in attributes:
                count = self.counts.along(literal.layer, 0)
                sizes[literal.module, attribute] = Size(literal.module, attribute, count)
        return replace(self, groups=replace(self.groups, sizes=tuple(sizes.values())))


def assembled(model: nn.Module, trace: Trace, axes: Sequence[TensorAxis], pins: Pins) -> Assembled:
    """Width groups by labels alone, with further pins; some are added where units do not have equal shares."""
    record = trace.record
    by_dim = {(axis.tensor, axis.dim): axis.labels for axis in axes}
    while True:
        units = resolve(trace.labels, record, axes, pins)
        if _made_rectangular(trace, units):
            continue
        counts = Counts(units)
        macs, writes = counts.terms(record.products), counts.terms(record.writes)
        params = counts.terms(
            (min(tensor.numel(), 1), tuple(by_dim[name, dim] for dim, size in enumerate(tensor.shape) if size > 1))
            for name, tensor in model.named_parameters()
        )
        known = _known_sizes(model, trace, counts, by_dim)
        rms = {module: counts.of(layer) for module, layer in record.norms}
        if not counts.uneven:
            break
        pins += [(layer, "units have different numbers of entries on it") for layer in counts.uneven]
    groups = WidthGroups(
        groups=units.groups,
        axes=tuple(_axes(counts, axes)),
        sizes=known,
        rms=tuple(RmsScale(module, count) for module, count in rms.items() if count.per_unit),
        params=params,
        macs=macs,
        activations=writes,
        pinned=pinned_axes(units, record.roles),
    )
    total = sum(parameter.numel() for parameter in model.parameters())
    assert groups.num_params(groups.full) == total, "the terms of the parameters do not add up"
    return Assembled(groups, units, counts, known)


def candidates(model: nn.Module, literals: Sequence[Literal], counts: Counts) -> Iterator[tuple[Literal, str]]:
    """Integer attributes of modules that equal a size that follows the widths."""
    for literal in literals:
        if counts.along(literal.layer, 0).per_unit:
            for attribute, value in vars(model.get_submodule(literal.module)).items():
                if type(value) is int and value == literal.value:
                    yield literal, attribute


def _made_rectangular(trace: Trace, units: Units) -> bool:
    """Whether units had to be united: what is left of a split axis is a rectangle only if one dimension tells units
    apart. The last one that does goes on doing so."""
    changed = False
    for layer in trace.record.splits:
        entries = layer.numpy()
        if (units.group[entries] == FIXED).all():
            continue
        component = units.component[entries]
        varying = [dim for dim in range(layer.dim()) if (component != component.take([0], axis=dim)).any()]
        if len(varying) > 1:
            first = layer
            for dim in varying[:-1]:
                first = first.narrow(dim, 0, 1)
            trace.labels.equal(layer, first)
            changed = True
    return changed


def _axes(counts: Counts, axes: Sequence[TensorAxis]) -> Iterator[Axis]:
    units = counts.units
    for axis in axes:
        entries = axis.labels.numpy()
        group = units.group[entries]
        if (group != FIXED).any():
            made = Axis(axis.tensor, axis.dim, torch.from_numpy(group), torch.from_numpy(units.unit[entries]))
            vars(made)["count"] = counts.of(axis.labels)  # known, where the cached property would compute it again
            yield made


def _known_sizes(
    model: nn.Module, trace: Trace, counts: Counts, by_dim: dict[tuple[str, int], Tensor]
) -> tuple[Size, ...]:
    """Attributes of torch's own modules."""
    first = {id(tensor): name for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    every = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    names = {name: first[id(tensor)] for name, tensor in every}

    def count(tensor: str, dim: int) -> Count | None:
        labels = by_dim.get((names[tensor], dim)) if tensor in names else None
        return None if labels is None else counts.of(labels)

    sizes = {(size.module, size.attribute): size for size in known_sizes(model, count)}
    for module, attribute, layer in trace.record.attributes:
        if (found := counts.of(layer)).per_unit:
            sizes[module, attribute] = Size(module, attribute, found)
    return tuple(sizes.values())
