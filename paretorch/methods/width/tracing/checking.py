"""See on tensors without data that models cut by the groups fit, and pin what does not.

A cut twin of the model runs at several profiles, and every tensor that a function returns must have the shape that the
units predict. Where a reshape or a split names a size that must follow, an integer attribute of the module that equals
it is looked for: the one, or the smallest set, with which the shapes fit. What does not fit is pinned, with the reason.
Nor may a number change that tensors are computed with: a factor made from a width would be another function.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from paretorch.errors import InputError, ParetorchError
from paretorch.methods.width.groups import Profile, WidthGroups
from paretorch.methods.width.tracing.assembling import Assembled, Attributes, Pins, assembled, candidates
from paretorch.methods.width.tracing.costs import Counts
from paretorch.methods.width.tracing.factors import Numbers, numbers_in
from paretorch.methods.width.tracing.trace import Made, Trace
from paretorch.methods.width.tracing.units import TensorAxis
from paretorch.methods.width.tracing.without_data import QUESTIONS, MetaMode, Twin, name_of, tensors_in

MOST_CANDIDATES = 5
GOLDEN = (5**0.5 - 1) / 2  # multiples of it modulo 1 lie far apart, those of neighbours farthest
ADVICE = (
    "use -1 or flatten in the reshape, or keep that size in an int attribute of its own in that module, so that it can "
    "follow; keep a factor in an attribute"
)


class MisfitError(ParetorchError):
    """A cut twin fails, or makes a tensor of another shape than predicted, or from other numbers. module: where."""

    def __init__(self, module: str, words: str) -> None:
        super().__init__(words)
        self.module = module


class Check(MetaMode):
    """Compares the shapes of all results with the predicted ones, and numbers that are computed with."""

    def __init__(self, calls: Sequence[tuple[str, Made, Numbers]], counts: Counts, profile: Profile) -> None:
        super().__init__()
        self.calls = iter(calls)
        self.counts = counts
        self.profile = profile

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        name = name_of(func)
        if name in QUESTIONS:
            return func(*args, **(kwargs or {}))
        output = self.run(func, name, args, kwargs or {})
        outputs = [tuple(each.shape) for each in tensors_in(output)]
        if not outputs:
            return output
        before, made, numbers = next(self.calls, ("", [], ()))
        if before != name:
            raise MisfitError(self.module, f"{name!r} runs in {self.place()} where {before!r} ran in the whole model")
        expected = [self._shape(*each) for each in made]
        if outputs != expected:
            shapes, wanted = (", ".join(map(str, each)) for each in (outputs, expected))
            words = f"{name.strip('_')!r} in {self.place()} gives shape {shapes} in place of {wanted}"
            raise MisfitError(self.module, words)
        now = numbers_in(name, args, kwargs or {})
        if now != numbers:
            given, wanted = (", ".join(each) for each in (now, numbers))
            words = f"{name.strip('_')!r} in {self.place()} computes with {given} in place of {wanted}"
            raise MisfitError(self.module, words)
        return output

    def _shape(self, shape: tuple[int, ...], layers: tuple[Tensor, ...]) -> tuple[int, ...]:
        if not layers:
            return shape
        sizes = list(shape)
        for layer in layers:
            for dim, size in enumerate(layer.shape):
                if size > 1:
                    sizes[dim] = self.counts.along(layer, dim).at(self.profile)
        return tuple(sizes)


def settled(twin: Twin, trace: Trace, axes: Sequence[TensorAxis]) -> WidthGroups:
    """Width groups whose cut models fit.

    Raises:
        InputError: nothing can be cut.
    """
    pins: Pins = []
    attributes: Attributes = frozenset()
    whole = assembled(twin.model, trace, axes, pins)
    while whole.groups.groups:
        made = whole.following(twin.model, trace, attributes)
        failure = first_misfit(twin, trace, made)
        if failure is None:
            return made.groups
        more = _following(twin, trace, whole, attributes, failure)
        if more is not None:
            attributes = more
        else:
            pins += _blamed(twin, trace, made, failure)
            whole = assembled(twin.model, trace, axes, pins)
    reasons = "; ".join(f"{each.name} ({each.size}): {each.reason}" for each in whole.groups.pinned[:5])
    raise InputError(f"{type(twin.model).__name__} has no width that can be cut: {reasons or 'no layer is known'}")


def profiles_to_try(full: Profile) -> Iterator[Profile]:
    """Widths that differ between groups, and one unit of each."""
    yield tuple(1 + int((0.7 + GOLDEN * number) % 1 * size) for number, size in enumerate(full))
    yield tuple(1 for _ in full)


def first_misfit(twin: Twin, trace: Trace, made: Assembled) -> MisfitError | None:
    """What is wrong with the cut twins; None if they fit."""
    for profile in profiles_to_try(made.groups.full):
        if failure := misfit(twin, trace, made, profile):
            return failure
    return None


def misfit(twin: Twin, trace: Trace, made: Assembled, profile: Profile) -> MisfitError | None:
    """What is wrong with the twin cut to a profile; None if all shapes are as predicted."""
    check = Check(trace.record.calls, made.counts, profile)
    with _cut(twin, made.groups, profile):
        try:
            twin.run(check)
        except MisfitError as error:
            return error
        except InputError as error:
            return MisfitError(check.failed, str(error.__cause__ or error))
    return None


@contextmanager
def _cut(twin: Twin, groups: WidthGroups, profile: Profile) -> Iterator[None]:
    """The twin with the shapes of a profile, for a while."""
    tensors = {**dict(twin.model.named_parameters()), **dict(twin.model.named_buffers())}
    shapes: dict[str, list[int]] = {}
    for axis in groups.axes:
        shapes.setdefault(axis.tensor, list(tensors[axis.tensor].shape))[axis.dim] = axis.count.at(profile)
    kept = {name: tensors[name].data for name in shapes}
    numbers = [(twin.model.get_submodule(each.module), each.attribute, each.count) for each in groups.sizes]
    before = [getattr(module, attribute) for module, attribute, _ in numbers]
    try:
        for name, shape in shapes.items():
            tensors[name].data = torch.empty(shape, dtype=kept[name].dtype, device="meta")
        for (module, attribute, count), old in zip(numbers, before, strict=True):
            value = count.at(profile)
            setattr(module, attribute, (*old[:-1], value) if isinstance(old, tuple) else value)
        yield
    finally:
        for name, data in kept.items():
            tensors[name].data = data
        for (module, attribute, _), old in zip(numbers, before, strict=True):
            setattr(module, attribute, old)


def _following(
    twin: Twin, trace: Trace, whole: Assembled, attributes: Attributes, failure: MisfitError
) -> Attributes | None:
    """More attributes that follow, so that the kind of module that failed fits; None if no set does, or several do."""
    kind = type(twin.model.get_submodule(failure.module))
    options = sorted(
        {
            attribute
            for literal, attribute in candidates(twin.model, trace.record.literals, whole.counts)
            if type(twin.model.get_submodule(literal.module)) is kind and (kind, attribute) not in attributes
        }
    )
    for size in range(1, min(len(options), MOST_CANDIDATES) + 1):
        fitting = []
        for chosen in combinations(options, size):
            more = attributes | {(kind, attribute) for attribute in chosen}
            later = first_misfit(twin, trace, whole.following(twin.model, trace, more))
            if later is None or type(twin.model.get_submodule(later.module)) is not kind:
                fitting.append(more)
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return None


def _blamed(twin: Twin, trace: Trace, made: Assembled, failure: MisfitError) -> Pins:
    """Pins for what is named in the module that failed, else for the groups that fail alone, else for all."""
    named = [
        literal.layer
        for literal in trace.record.literals
        if literal.module == failure.module and made.counts.along(literal.layer, 0).per_unit
    ]
    if named:
        return [(layer, f"cut models do not fit: {failure}; {ADVICE}") for layer in named]
    full = made.groups.full
    halves = (
        tuple((size + 1) // 2 if each == number else size for each, size in enumerate(full))
        for number in range(len(full))
    )
    alone = [
        (number, failed) for number, profile in enumerate(halves) if (failed := misfit(twin, trace, made, profile))
    ]
    blamed = alone or [(number, failure) for number in range(len(full))]
    return [
        (torch.from_numpy((made.units.group == number).nonzero()[0]), f"cut models do not fit: {words}; {ADVICE}")
        for number, words in blamed
    ]
