"""One forward pass without data, in which every torch function hands the labels of its inputs to its outputs.

The model is a copy whose parameters and buffers are on the meta device, so nothing large is stored or computed, and the
user's model is not touched. What a function does to labels is in `RULES` of `rules`; a function without a rule pins
what it reads. Arithmetic and written elements are recorded with the layers that their sizes depend on.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.measurement.operators import FORMULAS, OperatorMode
from paretorch.measurement.operators import name_of as name_of_operator
from paretorch.methods.width.tracing.factors import Numbers, numbers_in
from paretorch.methods.width.tracing.labels import Labels, Layers, Operand
from paretorch.methods.width.tracing.without_data import (
    HIDING,
    PLACES,
    QUESTIONS,
    MetaMode,
    name_of,
    tensors_in,
)

Made = list[tuple[tuple[int, ...], Layers]]
WHOLE = frozenset(("multi_head_attention_forward",))  # has a rule, which pins all that it reads


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a torch function: its plain name, arguments, result, and the module in which it happened."""

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: Any

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """An argument given by position or by name."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)


@dataclass(frozen=True, slots=True)
class Literal:
    """A size along an axis that could be cut, in a reshape or a split: `value` entries, those of `layer`."""

    module: str
    function: str
    value: int
    layer: Tensor


@dataclass(frozen=True, slots=True)
class Role:
    """A module that makes (producer) or reads the entries of `layer`, one dimension of its weight."""

    module: str
    parameter: int
    layer: Tensor
    producer: bool


@dataclass
class Record:
    """What one forward pass tells besides equalities. products, writes: (coefficient, layers) of a count each."""

    products: list[tuple[int, Layers]] = field(default_factory=list)
    writes: list[tuple[int, Layers]] = field(default_factory=list)
    literals: list[Literal] = field(default_factory=list)
    attributes: list[tuple[str, str, Tensor]] = field(default_factory=list)
    norms: list[tuple[str, Tensor]] = field(default_factory=list)
    roles: list[Role] = field(default_factory=list)
    splits: list[Tensor] = field(default_factory=list)
    calls: list[tuple[str, Made, Numbers]] = field(default_factory=list)


class Trace(MetaMode):
    """The forward pass that propagates labels."""

    def __init__(self, labels: Labels, rules: Mapping[str, Callable[["Trace", Call], None]]) -> None:
        super().__init__()
        self.labels = labels
        self.rules = rules
        self.record = Record()
        # by id; the tensors are kept alive beside their layers so that ids stay unique
        self._carried: dict[int, tuple[Tensor, Layers, bool]] = {}
        self._parameters: dict[int, int] = {}

    def own(self, tensor: Tensor) -> Layers:
        """Give every dimension of a parameter or buffer labels of its own."""
        layers = []
        for dim, size in enumerate(tensor.shape):
            if size > 1:
                shape = [1] * tensor.dim()
                shape[dim] = size
                layers.append(self.labels.fresh(size).view(shape))
        self.set(tensor, tuple(layers), static=True)
        return tuple(layers)

    def set(self, tensor: Tensor, layers: Layers, *, static: bool = False) -> None:
        """Say what a tensor carries."""
        self._carried[id(tensor)] = (tensor, layers, static)

    def layers(self, tensor: Tensor) -> Layers:
        """The layers of a tensor; none if it is of fixed size."""
        found = self._carried.get(id(tensor))
        return found[1] if found else ()

    def is_static(self, tensor: Tensor) -> bool:
        """Whether a tensor was computed without the model's inputs."""
        found = self._carried.get(id(tensor))
        return found[2] if found else True

    def operand(self, tensor: Tensor, dims: int | None = None) -> Operand:
        """A tensor with leading dimensions of size 1 up to `dims`."""
        shape, layers = tuple(tensor.shape), self.layers(tensor)
        if dims is not None and dims > len(shape):
            lead = (1,) * (dims - len(shape))
            shape, layers = lead + shape, tuple(layer.view(lead + tuple(layer.shape)) for layer in layers)
        return Operand(layers, shape, self.is_static(tensor))

    def product(self, sizes: Sequence[int], layers: Layers) -> None:
        """Record MACs: the product of `sizes`, of which those that `layers` span follow the widths."""
        self.record.products.append((coefficient(sizes, layers), layers))

    def literal(self, layer: Tensor, dims: Sequence[int], function: str) -> None:
        """Record that `function` names the sizes of these dimensions of a layer."""
        for dim in dims:
            if layer.shape[dim] > 1:
                self.record.literals.append(Literal(self.module, function, layer.shape[dim], layer.movedim(dim, 0)))

    def pin_all(self, tensors: Sequence[Tensor], reason: str) -> None:
        """Pin everything that these tensors carry."""
        for tensor in tensors:
            for layer in self.layers(tensor):
                self.labels.pin(layer, reason)

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, name_of(func)
        if name in QUESTIONS:
            return func(*args, **kwargs)
        inputs = list(tensors_in(args)) + list(tensors_in(kwargs))
        if name in HIDING:
            self._hide(name, [tensor for tensor in inputs if self.layers(tensor)])
        plain = ("to" if name in PLACES else name).strip("_")
        rule = self.rules.get(plain)
        storages = {tensor.untyped_storage()._cdata for tensor in inputs}
        with nullcontext() if rule and plain not in WHOLE else _Arithmetic() as counted:
            output = self.run(func, name, args, kwargs)
        if counted and counted.macs:
            self.record.products.append((counted.macs, ()))
        self.labels.where = f"{plain} in {self.place()}"
        outputs = list(tensors_in(output))
        if rule is not None:
            if not args and "input" in kwargs:
                rest = {key: value for key, value in kwargs.items() if key != "input"}
                rule(self, Call(plain, (kwargs["input"],), rest, output))
            else:
                rule(self, Call(plain, args, kwargs, output))
        elif outputs:
            self.pin_all(inputs, f"what {plain!r} does to it is not known")
        static = all(map(self.is_static, inputs))
        for tensor in outputs:
            layers = self.layers(tensor)
            if layers or not static:
                self.set(tensor, layers, static=static)
            if tensor.untyped_storage()._cdata not in storages:
                self.record.writes.append((coefficient(tensor.shape, layers), layers))
        if outputs:
            made = [(tuple(each.shape), self.layers(each)) for each in outputs]
            self.record.calls.append((name, made, numbers_in(name, args, kwargs)))
        return output

    def _hide(self, name: str, tensors: Sequence[Tensor]) -> None:
        """Let go of the axes of tensors, if they are pinned.

        Raises:
            InputError: they could be cut.
        """
        pinned = torch.cat([layer.reshape(-1) for layer, _ in self.labels.pins]) if self.labels.pins else torch.empty(0)
        for tensor in tensors:
            if not all(bool(torch.isin(layer, pinned).all()) for layer in self.layers(tensor)):
                raise InputError(
                    f"{self.place()} calls {name!r}, which hides the axes of a tensor that could be cut; use view, "
                    "reshape, transpose or indexing, which return a new tensor, or pin the modules that make it"
                )
            self.set(tensor, (), static=False)


class _Arithmetic(OperatorMode):
    """Adds up the MACs of a function of which nothing is cut."""

    macs = 0

    def knows(self, namespace: str, name: str) -> bool:
        return namespace == "aten" and name in FORMULAS

    def seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if formula := FORMULAS.get(name_of_operator(func)[1]):
            self.macs += formula(output, args)[0]


def coefficient(sizes: Sequence[int], layers: Layers) -> int:
    """Product of the sizes of dimensions that no layer spans."""
    return math.prod(size for dim, size in enumerate(sizes) if all(layer.shape[dim] == 1 for layer in layers))
