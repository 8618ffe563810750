"""Which tensors hold and read the units of a group, and sums over the entries of each unit."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from paretorch.methods.sparsity.binding import named_slots
from paretorch.methods.sparsity.patterns import input_dim
from paretorch.methods.sparsity.prunable import LAYER_TYPES
from paretorch.methods.width.cut_parts import named_modules
from paretorch.methods.width.groups import Axis, WidthGroups


def weight_axes(groups: WidthGroups, parameters: Mapping[str, nn.Parameter]) -> list[Axis]:
    """The axes of parameters that are no biases."""
    return [axis for axis in groups.axes if axis.tensor in parameters and not axis.tensor.endswith("bias")]


def reading_axes(model: nn.Module, groups: WidthGroups, group: int) -> list[tuple[nn.Module, Axis]]:
    """The linear and convolutional layers that read units of a group, each with the input axis of its weight."""
    modules = named_modules(model)
    first_name: dict[int, str] = {}
    for name, _, _, parameter in named_slots(model):
        first_name.setdefault(id(parameter), name)
    axes = {(axis.tensor, axis.dim): axis for axis in groups.axes if group in axis.count.per_unit}
    found = []
    for name in groups.groups[group].consumers:
        module = modules[name]
        weight = getattr(module, "weight", None)
        if weight is not None and _is_layer(module):
            axis = axes.get((first_name.get(id(weight), ""), input_dim(module)))
            if axis is not None:
                found.append((module, axis))
    return found


def sums_along(tensor: Tensor, dim: int) -> Tensor:
    """Sums over all other dimensions, (size of `dim`,), on the CPU."""
    return tensor.movedim(dim, 0).reshape(tensor.shape[dim], -1).sum(1).cpu()


def by_unit(values: Tensor, axis: Axis, group: int, *, size: int) -> Tensor:
    """Sums of `values`, float64 (entries of the axis,), over the entries of each unit of a group, (size,)."""
    mine = axis.group == group
    return torch.zeros(size, dtype=torch.float64).index_add_(0, axis.unit[mine], values[mine])


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, LAYER_TYPES) or type(module).__name__ == "Conv1D"
