"""Importance of units from data: gradients (Molchanov et al. 2019) and activations (Minitron); see `importance`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.measurement.inputs import left_as_found
from paretorch.methods.sparsity.binding import named_slots, unwrapped
from paretorch.methods.width.groups import Axis, WidthGroups
from paretorch.methods.width.unit_entries import by_unit, reading_axes, sums_along


def taylor_scores(
    model: nn.Module,
    groups: WidthGroups,
    batches: Iterable[Any],
    axes: Sequence[Axis],
    *,
    loss: Callable[[nn.Module, Any], Tensor],
) -> list[Tensor]:
    """Mean over tensors and batches of |sum of w * dloss/dw over the entries of a unit|, float64 (size,) by group.

    No gradient of the model changes. Frozen parameters are left out.

    Raises:
        InputError: without batches, for a loss that is no scalar, or a group whose parameters are all frozen.
    """
    slots = {name: parameter for name, _, _, parameter in named_slots(model)}
    axes = [axis for axis in axes if slots[axis.tensor].requires_grad]
    names = sorted({axis.tensor for axis in axes})
    seen = {g for axis in axes for g in axis.count.per_unit}
    if frozen := [group.name for g, group in enumerate(groups.groups) if g not in seen]:
        raise InputError(f"every weight of {frozen[0]!r} is frozen, so it has no gradient; unfreeze the model")
    sums = [[torch.zeros(groups.groups[g].size, dtype=torch.float64) for g in axis.count.per_unit] for axis in axes]
    count = 0
    with left_as_found(model), torch.enable_grad():
        for batch in batches:
            count += 1
            value = loss(model, batch)
            if value.dim():
                raise InputError(f"the loss of a batch must be a scalar; got shape {tuple(value.shape)}")
            gradients = torch.autograd.grad(value, [slots[name] for name in names], materialize_grads=True)
            products = {
                name: slots[name].detach().double() * gradient.double()
                for name, gradient in zip(names, gradients, strict=True)
            }
            for axis, totals in zip(axes, sums, strict=True):
                along = sums_along(products[axis.tensor], axis.dim)
                for g, total in zip(axis.count.per_unit, totals, strict=True):
                    total += by_unit(along, axis, g, size=len(total)).abs()
    _require_batches(count)
    by_group: list[list[Tensor]] = [[] for _ in groups.groups]
    for axis, totals in zip(axes, sums, strict=True):
        for g, total in zip(axis.count.per_unit, totals, strict=True):
            by_group[g].append(total / count)
    return [torch.stack(scores).mean(0) for scores in by_group]


def activation_scores(
    model: nn.Module,
    groups: WidthGroups,
    batches: Iterable[Any],
    *,
    forward: Callable[[nn.Module, Any], object] | None,
) -> list[Tensor]:
    """Sum over consumers of the L2 norm over examples of the mean |x| over positions, float64 (size,) by group.

    Raises:
        InputError: without batches, or for a group that no linear or convolutional layer reads in the forward pass.
    """
    run = forward or _forward_tensor
    readers = [reading_axes(model, groups, g) for g in range(len(groups.groups))]
    layers = {module for found in readers for module, _ in found}
    squares: dict[nn.Module, Tensor] = {}

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        squares[module] = squares.get(module, torch.zeros((), dtype=torch.float64)) + _squares(module, inputs[0])

    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    count = 0
    try:
        with left_as_found(model):
            for batch in batches:
                run(unwrapped(model), batch)
                count += 1
    finally:
        for handle in handles:
            handle.remove()
    _require_batches(count)
    scores = []
    for g, (group, found) in enumerate(zip(groups.groups, readers, strict=True)):
        norms = [
            by_unit(_along_axis(squares[module], axis), axis, g, size=group.size).sqrt()
            for module, axis in found
            if module in squares
        ]
        if not norms:
            raise InputError(
                f"no linear or convolutional layer that was called reads the units of {group.name!r}, so there is no "
                "activation to look at; use another kind of importance"
            )
        scores.append(torch.stack(norms).sum(0))
    return scores


def _squares(module: nn.Module, inputs: Tensor) -> Tensor:
    """Sum over examples of the squared mean of |x| over positions, float64 by channel, of inputs (batch, ...)."""
    linear = isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    channels_last = inputs.detach().movedim(-1 if linear else 1, -1)
    means = channels_last.abs().double().flatten(1, -2).mean(1) if inputs.dim() > 2 else channels_last.abs().double()
    return means.square().sum(0).cpu()


def _along_axis(squares: Tensor, axis: Axis) -> Tensor:
    """Squares by channel as sums by entry of the axis: all groups of a grouped convolution share its entries."""
    return squares.view(-1, len(axis.group)).sum(0)


def _forward_tensor(model: nn.Module, batch: Any) -> None:
    if not isinstance(batch, Tensor):
        raise InputError(
            f"a batch is the input tensor; got {type(batch).__name__}. Say how the model is called: "
            "forward=lambda model, batch: model(batch[...])"
        )
    model(batch)


def _require_batches(count: int) -> None:
    if not count:
        raise InputError("there was no batch to look at; give at least one")
