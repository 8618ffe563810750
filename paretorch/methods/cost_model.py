"""What a method does to the cost of a step, in theory: a function of layer shapes, batch and settings.

    cost with the method = factor * cost without it + added        for each kind of cost

Kinds (for one training step of `batch` examples, or one forward pass where the card's scope is inference):

    flops_forward, flops_backward       floating-point operations, 1 MAC = 2
    extra_forward                       forward passes of one batch that the training step itself does not need
    bytes_moved                         read and written by the method's own elementwise work
    param_bytes, optimizer_bytes, activation_bytes      memory
    comm_bytes                          sent per step
    cpu_data                            seconds of host time per example
    launches                            operations dispatched
    epochs                              passes over the training data beside the dense run's

A prediction is theoretical: it becomes time or bytes only under the condition of the card's `realised_by`. Effects on
passes and epochs are those of one use of the method, not of every step.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, get_args

from torch import nn

from paretorch.measurement.inputs import ExampleInputs
from paretorch.measurement.macs import count_macs

CostKind = Literal[
    "flops_forward", "flops_backward", "extra_forward", "bytes_moved", "param_bytes", "optimizer_bytes",
    "activation_bytes", "comm_bytes", "cpu_data", "launches", "epochs",
]  # fmt: skip
COST_KINDS: tuple[CostKind, ...] = get_args(CostKind)


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """One layer with a weight: its module name, the weight's shape, and the MACs of one example through it."""

    name: str
    weight: tuple[int, ...]
    macs: int

    @property
    def num_weights(self) -> int:
        """Entries of the weight."""
        return prod(self.weight)


@dataclass(frozen=True, kw_only=True)
class Effect:
    """How one kind of cost changes: `factor * before + added`."""

    factor: float = 1.0
    added: float = 0.0

    def __post_init__(self) -> None:
        if self.factor < 0:
            raise ValueError(f"a cost cannot become negative: factor={self.factor}; expected at least 0")

    def of(self, before: float) -> float:
        """The cost afterwards, in the unit of `before`."""
        return self.factor * before + self.added


Effects = Mapping[CostKind, Effect]
CostModel = Callable[[Sequence[LayerShape], int, Mapping[str, Any]], Effects]
"""(layers, batch, settings by name) -> effects; a kind that is left out does not change."""


def layer_shapes(model: nn.Module, example_inputs: ExampleInputs) -> tuple[LayerShape, ...]:
    """The layers of a model that multiply by a weight, in the order in which one forward pass reaches them.

    Args:
        model: left as found.
        example_inputs: tensor, tuple of tensors or mapping of keyword tensors, `(batch, ...)` each.

    Returns:
        One entry per module with a `weight` parameter of two or more dimensions that does products.

    Raises:
        TypeError, ValueError, RuntimeError: as `count_macs` does.
    """
    shapes = []
    for name, macs in count_macs(model, example_inputs).per_layer.items():
        weight = getattr(model.get_submodule(name), "weight", None)
        if isinstance(weight, nn.Parameter) and weight.dim() > 1:
            shapes.append(LayerShape(name=name, weight=tuple(weight.shape), macs=macs.dense))
    return tuple(shapes)


def macs_factor(layers: Sequence[LayerShape], densities: Mapping[str, float]) -> float:
    """MACs that remain over all MACs when layer `name` keeps the fraction `densities[name]` (1 if not named)."""
    total = sum(layer.macs for layer in layers)
    return sum(layer.macs * densities.get(layer.name, 1.0) for layer in layers) / total


def weights_factor(layers: Sequence[LayerShape], densities: Mapping[str, float]) -> float:
    """The same for the number of weights."""
    total = sum(layer.num_weights for layer in layers)
    return sum(layer.num_weights * densities.get(layer.name, 1.0) for layer in layers) / total
