"""Turn labels into width groups, and see on tensors without data that models cut by them fit.

A cut twin of the model runs at several profiles, and every tensor that a function returns must have the shape that the
units predict. Where a reshape or a split names a size that must follow, an integer attribute of the module that equals it
is looked for: the one (or the smallest set) with which the shapes fit. What does not fit is pinned, with the reason.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.measurement.inputs import Inputs
from paretorch.methods.width.costs import Counts
from paretorch.methods.width.groups import FIXED, Axis, Profile, RmsScale, Size, WidthGroups
from paretorch.methods.width.module_sizes import known_sizes
from paretorch.methods.width.trace import Literal, Made, Trace
from paretorch.methods.width.units import TensorAxis, Units, pinned_axes, resolve
from paretorch.methods.width.without_data import QUESTIONS, MetaMode, forward, name_of, shown, tensors_in

MOST_CANDIDATES = 5
Pins = list[tuple[Tensor, str]]
Attributes = frozenset[tuple[type, str]]


@dataclass(frozen=True)
class Assembled:
    """Width groups and what they were made from."""

    groups: WidthGroups
    units: Units
    counts: Counts


class Misfit(Exception):
    """A tensor of a cut twin has another shape than predicted. module: where."""

    def __init__(self, module: str, words: str) -> None:
        super().__init__(words)
        self.module = module


class Check(MetaMode):
    """Compares the shapes of all results with the predicted ones."""

    def __init__(self, calls: Sequence[tuple[str, Made]], counts: Counts, profile: Profile) -> None:
        super().__init__()
        self.calls = iter(calls)
        self.counts = counts
        self.profile = profile

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        name = name_of(func)
        if name in QUESTIONS:
            return func(*args, **(kwargs or {}))
        output = self.run(func, name, args, kwargs or {})
        outputs = list(tensors_in(output))
        if outputs:
            called, made = next(self.calls, ("", []))
            expected = [self._shape(*each) for each in made]
            shapes = [tuple(each.shape) for each in outputs]
            if called != name or shapes != expected:
                self.failed = self.failed or self.module
                raise Misfit(
                    self.module,
                    f"{name.strip('_')!r} in {self.place()} gives shape {_shapes(shapes)} in place of {_shapes(expected)}"
                    if called == name
                    else f"{name!r} runs in {self.place()} where {called!r} ran before",
                )
        return output

    def _shape(self, shape: tuple[int, ...], layers: tuple[Tensor, ...]) -> tuple[int, ...]:
        sizes = list(shape)
        for layer in layers:
            for dim, size in enumerate(layer.shape):
                if size > 1:
                    sizes[dim] = self.counts.along(layer, dim).at(self.profile)
        return tuple(sizes)


def _shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes))


def settled(twin: nn.Module, example: Inputs, trace: Trace, axes: Sequence[TensorAxis]) -> WidthGroups:
    """Width groups whose cut models fit.

    Raises:
        InputError: nothing can be cut.
    """
    pins: Pins = []
    attributes: Attributes = frozenset()
    while True:
        made = assembled(twin, trace, axes, pins, attributes)
        if not made.groups.groups:
            reasons = "; ".join(f"{each.name}: {each.reason}" for each in made.groups.pinned[:5])
            raise InputError(f"{type(twin).__name__} has no width that can be cut. {reasons}")
        failure = _first_failure(twin, example, trace, made)
        if failure is None:
            return made.groups
        found = _following(twin, example, trace, axes, pins, attributes, failure)
        if found is not None:
            attributes = found
        else:
            pins += _blamed(twin, example, trace, made, attributes, failure)


def assembled(
    twin: nn.Module, trace: Trace, axes: Sequence[TensorAxis], pins: Pins, attributes: Attributes
) -> Assembled:
    """Width groups by labels alone, with these pins and attributes that follow."""
    units = resolve(trace.labels, trace.record, axes, pins)
    while _made_rectangular(trace, units):
        units = resolve(trace.labels, trace.record, axes, pins)
    counts = Counts(units)
    record = trace.record
    macs, writes = counts.terms(record.products), counts.terms(record.writes)
    by_dim = {(axis.tensor, axis.dim): axis.labels for axis in axes}
    parameters = [
        (
            tensor.numel() // max(1, _covered(tensor)),
            tuple(by_dim[name, dim] for dim, size in enumerate(tensor.shape) if size > 1),
        )
        for name, tensor in twin.named_parameters()
    ]
    params = counts.terms(parameters)
    sizes = _sizes(twin, trace, counts, by_dim, attributes)
    rms = tuple(
        RmsScale(module, count) for module, layer in dict(record.norms).items() if (count := counts.of(layer)).per_unit
    )
    if counts.uneven:
        pins += [(layer, "units have different numbers of entries on it") for layer in counts.uneven]
        return assembled(twin, trace, axes, pins, attributes)
    groups = WidthGroups(
        groups=units.groups,
        axes=tuple(_axes(units, axes)),
        sizes=sizes,
        rms=rms,
        params=params,
        macs=macs,
        activations=writes,
        pinned=pinned_axes(units, record.roles),
    )
    total = sum(parameter.numel() for parameter in twin.parameters())
    assert groups.num_params(groups.full) == total, "terms of the parameters do not add up"
    return Assembled(groups, units, counts)


def _covered(tensor: Tensor) -> int:
    covered = 1
    for size in tensor.shape:
        covered *= size
    return covered


def _made_rectangular(trace: Trace, units: Units) -> bool:
    """Whether units had to be united because a split leaves a rectangle only if one dimension tells units apart.

    The last dimension that does so keeps them apart.
    """
    changed = False
    for layer, _ in trace.record.splits:
        component = units.component[layer.numpy()]
        varying = [
            dim
            for dim, size in enumerate(component.shape)
            if size > 1 and not (component == component.take([0], axis=dim)).all()
        ]
        if len(varying) > 1 and (units.group[layer.numpy()] != FIXED).any():
            first = layer
            for dim in varying[:-1]:
                first = first.narrow(dim, 0, 1)
            before = len(trace.labels.pairs)
            trace.labels.equal(layer, first)
            changed |= len(trace.labels.pairs) > before
    return changed


def _axes(units: Units, axes: Sequence[TensorAxis]) -> Iterator[Axis]:
    for axis in axes:
        flat = axis.labels.numpy()
        group = units.group[flat]
        if (group != FIXED).any():
            yield Axis(axis.tensor, axis.dim, torch.from_numpy(group), torch.from_numpy(units.unit[flat]))


def _sizes(
    twin: nn.Module, trace: Trace, counts: Counts, by_dim: dict[tuple[str, int], Tensor], attributes: Attributes
) -> tuple[Size, ...]:
    names = {id(tensor): name for name, tensor in (*twin.named_parameters(), *twin.named_buffers())}
    tied = {
        name: names[id(tensor)]
        for name, tensor in (
            *twin.named_parameters(remove_duplicate=False),
            *twin.named_buffers(remove_duplicate=False),
        )
    }

    def count(tensor: str, dim: int) -> Any:
        labels = by_dim.get((tied.get(tensor, tensor), dim))
        return None if labels is None else counts.of(labels)

    sizes = {(size.module, size.attribute): size for size in known_sizes(twin, count)}
    for module, attribute, layer in trace.record.attributes:
        if (found := counts.of(layer.reshape(-1))).per_unit:
            sizes[module, attribute] = Size(module, attribute, found)
    for literal, attribute in _candidates(twin, trace.record.literals, counts):
        if (type(twin.get_submodule(literal.module)), attribute) in attributes:
            sizes[literal.module, attribute] = Size(literal.module, attribute, counts.along(literal.layer, 0))
    return tuple(sizes.values())


def _candidates(twin: nn.Module, literals: Sequence[Literal], counts: Counts) -> Iterator[tuple[Literal, str]]:
    """Integer attributes of modules that equal a size that follows the widths."""
    for literal in literals:
        if not counts.along(literal.layer, 0).per_unit:
            continue
        for attribute, value in vars(twin.get_submodule(literal.module)).items():
            if type(value) is int and value == literal.value and not attribute.startswith("__"):
                yield literal, attribute


def profiles_to_try(full: Profile) -> Iterator[Profile]:
    """Half of everything, widths that differ between groups, and one unit of each."""
    yield tuple((size + 1) // 2 for size in full)
    yield tuple(1 + (5 + 7 * number) % size for number, size in enumerate(full))
    yield tuple(1 for _ in full)


def _first_failure(twin: nn.Module, example: Inputs, trace: Trace, made: Assembled) -> Misfit | None:
    for profile in profiles_to_try(made.groups.full):
        if failure := misfit(twin, example, trace, made, profile):
            return failure
    return None


def misfit(twin: nn.Module, example: Inputs, trace: Trace, made: Assembled, profile: Profile) -> Misfit | None:
    """What is wrong with the twin cut to a profile; None if all shapes are as predicted."""
    check = Check(trace.record.calls, made.counts, profile)
    with _cut(twin, made.groups, profile):
        try:
            forward(twin, example, check)
        except InputError as error:
            cause = error.__cause__
            if isinstance(cause, Misfit):
                return cause
            return Misfit(check.failed or "", f"{type(cause).__name__}: {cause}" if cause else str(error))
    return None


@contextmanager
def _cut(twin: nn.Module, groups: WidthGroups, profile: Profile) -> Iterator[None]:
    """The twin with the shapes of a profile, for a while."""
    tensors = {**dict(twin.named_parameters()), **dict(twin.named_buffers())}
    shapes: dict[str, list[int]] = {}
    for axis in groups.axes:
        shapes.setdefault(axis.tensor, list(tensors[axis.tensor].shape))[axis.dim] = axis.count.at(profile)
    kept = {name: tensors[name].data for name in shapes}
    numbers = [(twin.get_submodule(size.module), size.attribute, size.count.at(profile)) for size in groups.sizes]
    before = [getattr(module, attribute) for module, attribute, _ in numbers]
    try:
        for name, shape in shapes.items():
            tensors[name].data = torch.empty(shape, dtype=kept[name].dtype, device="meta")
        for (module, attribute, value), old in zip(numbers, before, strict=True):
            setattr(module, attribute, (*old[:-1], value) if isinstance(old, tuple) else value)
        yield
    finally:
        for name, data in kept.items():
            tensors[name].data = data
        for (module, attribute, _), old in zip(numbers, before, strict=True):
            setattr(module, attribute, old)


def _following(
    twin: nn.Module,
    example: Inputs,
    trace: Trace,
    axes: Sequence[TensorAxis],
    pins: Pins,
    attributes: Attributes,
    failure: Misfit,
) -> Attributes | None:
    """More attributes that follow, with which the kind of module that failed fits; None if there is no such set, or no
    smallest one."""
    kind = type(twin.get_submodule(failure.module))
    counts = assembled(twin, trace, axes, pins, attributes).counts
    options = sorted(
        {
            attribute
            for literal, attribute in _candidates(twin, trace.record.literals, counts)
            if type(twin.get_submodule(literal.module)) is kind
        }
        - {attribute for owner, attribute in attributes if owner is kind}
    )
    for size in range(1, min(len(options), MOST_CANDIDATES) + 1):
        fitting = []
        for chosen in combinations(options, size):
            more = attributes | {(kind, attribute) for attribute in chosen}
            later = _first_failure(twin, example, trace, assembled(twin, trace, axes, pins, more))
            if later is None or type(twin.get_submodule(later.module)) is not kind:
                fitting.append(more)
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return None


def _blamed(
    twin: nn.Module, example: Inputs, trace: Trace, made: Assembled, attributes: Attributes, failure: Misfit
) -> Pins:
    """Pins for what is named in the module that failed, or for the groups that fail alone; all where none does."""
    reason = (
        f"cut models do not fit: {failure}; use -1 or flatten in the reshape, or keep the size in an int attribute of "
        "its own in that module, so that it can follow"
    )
    named = [
        literal.layer
        for literal in trace.record.literals
        if literal.module == failure.module and made.counts.along(literal.layer, 0).per_unit
    ]
    if named:
        return [(layer, reason) for layer in named]
    full = made.groups.full
    alone = []
    for number in range(len(full)):
        profile = tuple(max(1, size // 2) if each == number else size for each, size in enumerate(full))
        if failed := misfit(twin, example, trace, made, profile):
            alone.append((number, f"cut models do not fit: {failed}"))
    if not alone:
        alone = [(number, f"cut models do not fit: {failure}") for number in range(len(full))]
    labels = made.units.group
    return [(torch.from_numpy((labels == number).nonzero()[0]), words) for number, words in alone]
