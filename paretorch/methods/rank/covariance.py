"""Second moments of the inputs of linear layers, for factors that are best for these inputs.

    C = mean over positions of x x^T        x (m,): what one output of the layer is a product with

For a convolution x is a patch, (C_in k^2,), with the layer's own stride, padding and dilation. Nothing is centred: the
bias of a factored layer is that of the layer.

Source: FlexRank, Zaccone et al., ICML 2026 (activation-aware decomposition).
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.measurement.inputs import left_as_found
from paretorch.methods.rank.factored import Linear


def input_covariances(
    model: nn.Module, batches: Iterable[Any], *, layers: Sequence[str], forward: Callable[[nn.Module, Any], object]
) -> dict[str, Tensor]:
    """The covariance of every layer's inputs, not centred.

    Args:
        model: left as found; run in evaluation mode, without gradients.
        batches: at least one.
        layers: names of Linear or Conv2d layers.
        forward: called as `forward(model, batch)`.

    Returns:
        Layer name -> (m, m) float64, on the CPU.

    Raises:
        InputError: a name that is no Linear and no ungrouped Conv2d, or a layer that no batch reached.
    """
    modules = dict(model.named_modules())
    for name in layers:
        layer = modules.get(name)
        if not isinstance(layer, Linear) or (isinstance(layer, nn.Conv2d) and layer.groups != 1):
            raise InputError(f"{name!r} is no Linear of the model, and no Conv2d with groups=1")
    sums: dict[str, Tensor] = {}
    counts = dict.fromkeys(layers, 0)

    def record(name: str, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rows = _rows(layer, inputs[0]).double()
        sums[name] = sums.get(name, 0) + (rows.T @ rows).cpu()
        counts[name] += len(rows)

    handles = [modules[name].register_forward_pre_hook(partial(record, name)) for name in layers]
    try:
        with left_as_found(model):
            for batch in batches:
                forward(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    if missing := [name for name, count in counts.items() if not count]:
        raise InputError(f"no batch reached the layers {missing}; give at least one that does")
    return {name: sums[name] / counts[name] for name in layers}


def _rows(layer: nn.Module, inputs: Tensor) -> Tensor:
    """The layer's inputs as (positions, m)."""
    if isinstance(layer, nn.Conv2d):
        size = layer.weight[0].numel()
        every_entry = torch.eye(size, dtype=inputs.dtype, device=inputs.device)
        patches = layer._conv_forward(inputs, every_entry.reshape(size, *layer.weight.shape[1:]), None)
        return patches.movedim(-3, -1).reshape(-1, size)
    return inputs.reshape(-1, inputs.shape[-1])
