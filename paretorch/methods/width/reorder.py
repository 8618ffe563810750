"""Put the units of every group in order of importance, so that a prefix holds the most important ones.

    tensor := tensor[entries of unit perm[0], of unit perm[1], ...]     along every axis of the group

What the model computes does not change but for the order of sums: the units of a group are equals, and every tensor
that makes, normalises or reads them is permuted alike.

Source: Cai et al., "Once for all", ICLR 2020, section 3.3 (channels sorted before widths are trained); Muralidharan et
al., "Minitron", NeurIPS 2024, section 2.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.sparsity.binding import named_slots
from paretorch.methods.width.cut_parts import named_buffers
from paretorch.methods.width.groups import Axis, WidthGroups


def reorder_(model: nn.Module, groups: WidthGroups, importance: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Permute units in place, the most important first; equal ones stay in their order.

    Args:
        model: as it was when its groups were found. Its parameters stay the same objects; optimizer state is not
            permuted, so it must not have been trained on with an optimizer that is kept.
        groups: of the model; they fit it afterwards, too.
        importance: for each group, (size,), as `unit_importance` gives it.

    Returns:
        For each group, int64 (size,): which unit now stands at each place.

    Raises:
        InputError: importance does not fit the groups, or the groups do not fit the model.
    """
    orders = tuple(scores.argsort(descending=True, stable=True) for scores in checked_importance(groups, importance))
    tensors: dict[str, Tensor] = {name: parameter for name, _, _, parameter in named_slots(model)}
    tensors |= {name: buffer for name, (_, buffer) in named_buffers(model).items()}
    if lost := [axis.tensor for axis in groups.axes if axis.tensor not in tensors]:
        raise InputError(f"{lost[0]!r} is no parameter or buffer of the model; find its groups again")
    for axis in groups.axes:
        shape = tuple(tensors[axis.tensor].shape)
        if shape[axis.dim : axis.dim + 1] != (len(axis.group),):
            raise InputError(
                f"{axis.tensor} has shape {shape}, and its groups have {len(axis.group)} entries along dimension "
                f"{axis.dim}; find its groups again"
            )
    with torch.no_grad():
        for axis in groups.axes:
            tensor = tensors[axis.tensor]
            tensor.copy_(tensor.index_select(axis.dim, _places(axis, orders).to(tensor.device)))
    return orders


def checked_importance(groups: WidthGroups, importance: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """`importance` as float64 on the CPU, if it has a finite number for every unit of every group.

    Raises:
        InputError: it does not; naming the group.
    """
    if not isinstance(importance, Sequence) or not all(isinstance(scores, Tensor) for scores in importance):
        raise InputError(f"importance is a sequence of tensors, one for each group; got {type(importance).__name__}")
    if len(importance) != len(groups.groups):
        raise InputError(f"importance is given for {len(importance)} groups, and there are {len(groups.groups)}")
    for group, scores in zip(groups.groups, importance, strict=True):
        if scores.shape != (group.size,) or not bool(scores.isfinite().all()):
            raise InputError(
                f"the importance of {group.name!r} is a finite number for each of its {group.size} units; got shape "
                f"{tuple(scores.shape)}, finite: {bool(scores.isfinite().all())}"
            )
    return tuple(scores.detach().double().cpu() for scores in importance)


def _places(axis: Axis, orders: Sequence[Tensor]) -> Tensor:
    """Which entry goes to each place of the axis: the j-th place of a unit takes the j-th entry of the new unit."""
    source = torch.arange(len(axis.group))
    for group in axis.count.per_unit:
        here = (axis.group == group).nonzero().flatten()
        by_unit = here[axis.unit[here].argsort(stable=True)].view(len(orders[group]), -1)
        source[by_unit] = by_unit[orders[group]]
    return source
