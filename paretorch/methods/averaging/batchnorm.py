"""Re-estimate batch-norm statistics: after pruning or averaging, running means and variances belong to another model.

    mean = (1/k) sum_j mean_j        var = (1/k) sum_j var_j        over k batches, var_j unbiased within batch j

It costs one forward pass over the given batches and no memory; it takes away the accuracy loss that is due to stale
statistics alone. Source: Izmailov et al. 2018 (SWA), section 3.2; Zimmer, Spiegel and Pokutta 2024 (Sparse Model
Soups). Deviations: a cumulative average as in torch.optim.swa_utils.update_bn, where the soup code keeps each layer's
momentum, so that only the last batches count. And only batch-norm layers are put in training mode, where both put the
whole model: dropout stays off, so that no random number is drawn, a second call gives the same statistics, and they are
those of the activations that inference sees. Batches count equally, a shorter last one included; the variance between
batch means is not part of `var`.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from paretorch.errors import InputError
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.cost_model import Effect, Effects, LayerShape


def _cost(_layers: Sequence[LayerShape], _batch: int, settings: Mapping[str, Any]) -> Effects:
    """One forward pass per batch given."""
    return {"extra_forward": Effect(added=settings["batches"])}


CARD = Card(
    id="bn-reestimate",
    title="Batch-norm re-estimation",
    summary="Replaces running means and variances by averages over given batches; no parameter changes.",
    year=2018,
    references=(
        "Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, UAI 2018, section 3.2",
        "after pruning and averaging: Zimmer, Spiegel and Pokutta, ICLR 2024",
    ),
    cells=(("parameters", "replace"),),
    phase=("prune", "post_train"),
    hooks=("model_surgery",),
    after=("magnitude", "nm-pattern", "filter-norm"),
    composes_with=("magnitude", "nm-pattern", "filter-norm"),
    worsens=("compute",),
    caveat="repairs the accuracy that is lost to stale statistics, and none that is lost to missing weights",
    cost="one forward pass per batch given, no backward pass",
    cost_model=_cost,
    charges=("calibration passes",),
    realised_by="training batches at hand; a model with batch norm",
    hyperparams=(HyperParameter(name="batches", default=20, low=1, high=10_000, scale="integer"),),
    quality_risk="none",
    invariants=(
        "no parameter changes",
        "running statistics are the means over batches of batch mean and unbiased batch variance",
        "train/eval modes, momentum and buffer dtypes are as before",
        "the same batches give the same statistics again",
    ),
)


def reestimate_batchnorm(
    model: nn.Module, batches: Iterable[Any], *, forward: Callable[[nn.Module, Any], object] | None = None
) -> int:
    """Replace the running statistics of every batch-norm layer by the average over `batches`, in place.

    Args:
        model: any module; parameters, modes and momentum are left as they were. Without batch norm nothing happens, and
            no batch is read.
        batches: training batches, preferably with training augmentation and of equal size; at least one.
        forward: called as `forward(model, batch)` for each batch. By default a batch is the input tensor, or a tuple or
            list that begins with it, and is moved to the statistics' device.

    Returns:
        Number of layers re-estimated.

    Raises:
        InputError: if there is no batch (statistics reset without data would break the model), if the default `forward`
            does not know the batch, or if a layer does not count its batches. The statistics are then as before, as
            they are after any error in the model.

    Warns:
        UserWarning: if no batch reaches some layers, which keep their old statistics.
    """
    layers = _tracking_layers(model)
    if not layers:
        return 0
    run = forward or _forward_first_tensor
    modes = {module: module.training for module in model.modules()}
    momenta = {layer: layer.momentum for layer in layers.values()}
    saved = {layer: [buffer.clone() for buffer in _statistics(layer)] for layer in layers.values()}
    unreached = set(layers.values())
    try:
        for module in modes:
            module.training = module in unreached
        for layer in layers.values():
            layer.momentum = None  # torch's word for a cumulative average
            layer.reset_running_stats()
        with torch.no_grad():
            for batch in batches:
                run(model, batch)
        unreached = {layer for layer in layers.values() if not int(_statistics(layer)[2])}
    finally:
        # After an error every layer is still in `unreached` and gets its old statistics back.
        for layer in unreached:
            for buffer, old in zip(_statistics(layer), saved[layer], strict=True):
                buffer.copy_(old)
        for layer, momentum in momenta.items():
            layer.momentum = momentum
        for module, training in modes.items():
            module.training = training
    if len(unreached) == len(layers):
        raise InputError(
            "there was no batch to re-estimate batch-norm statistics from, or none reached a batch-norm layer; the old "
            "statistics are kept. Give at least one training batch."
        )
    if unreached:
        names = sorted(name for name, layer in layers.items() if layer in unreached)
        warnings.warn(
            f"no batch reached {len(names)} of {len(layers)} batch-norm layers ({', '.join(names[:3])}...), which keep "
            f"their old statistics",
            UserWarning,
            stacklevel=2,
        )
    return len(layers) - len(unreached)


def _tracking_layers(model: nn.Module) -> dict[str, _BatchNorm]:
    """The batch-norm layers that keep running statistics, by name."""
    layers = {}
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats and module.running_mean is not None:
            if module.num_batches_tracked is None:
                raise InputError(f"batch-norm layer {name!r} has no num_batches_tracked; a cumulative average needs it")
            layers[name] = module
    return layers


def _statistics(layer: _BatchNorm) -> list[Tensor]:
    """Mean, variance and number of batches of a layer that keeps them."""
    return [layer.get_buffer(name) for name in ("running_mean", "running_var", "num_batches_tracked")]


def _forward_first_tensor(model: nn.Module, batch: Any) -> None:
    inputs = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
    if not isinstance(inputs, Tensor):
        keys = f" with keys {list(batch)}" if isinstance(batch, Mapping) else ""
        raise InputError(
            f"a batch is a tensor, or a tuple or list that begins with one; got {type(batch).__name__}{keys}. Say how "
            f"the model is called: forward=lambda model, batch: model(batch[...])"
        )
    buffer = next(iter(_tracking_layers(model).values())).running_mean
    assert buffer is not None  # _tracking_layers selects for it
    model(inputs.to(buffer.device))
