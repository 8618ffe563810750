"""Layers that have one weight: torch's own layers with the same parameter, or with a factor in front of it.

The parameter is registered under the name of each layer, so that `parameters()` counts it once, optimizers move it
once, and an artefact stores it once. Gradients of all its layers add up in it.
"""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.methods.sharing.layers import make_plain_, make_scaled_, plain_kind
from paretorch.methods.sharing.templates import shared_groups


def tie_(layers: Mapping[str, nn.Module], weight: nn.Parameter, *, factors: Mapping[str, float]) -> None:
    """Give all layers one weight, in place.

    Args:
        layers: by name; of one class and shape.
        weight: of that shape.
        factors: layer -> the factor in front of the weight; a layer that is left out has none.
    """
    for name, layer in layers.items():
        if name in factors:
            scale = torch.tensor(factors[name], dtype=weight.dtype, device=weight.device)
            make_scaled_(layer, weight, nn.Parameter(scale, requires_grad=weight.requires_grad))
        else:
            make_plain_(layer, weight)


def tie_by_name_(model: nn.Module, clusters: Sequence[Sequence[str]], *, scaled: Collection[str]) -> None:
    """Make the modules of a folded model, in place; each cluster gets the weight of its first layer.

    Args:
        model: before folding: with shared layers, or plain.
        clusters: names of the layers that have one weight; a cluster of one is a layer of its own.
        scaled: layers that have a factor, which becomes 1.

    Raises:
        InputError: for a name that is no Linear or convolution or stands twice, layers of one cluster that differ in
            shape, a factor outside the clusters, or a bank of which only a part of the layers is named. The model is
            then unchanged.
    """
    modules = dict(model.named_modules())
    names = [name for cluster in clusters for name in cluster]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{twice} stand in the clusters twice; a layer has one weight")
    if outside := sorted(set(scaled) - set(names)):
        raise InputError(f"{outside} have a factor and stand in no cluster")
    for name in names:
        if name not in modules or plain_kind(modules[name]) is None:
            raise InputError(f"no Linear or convolution of the model is called {name!r}")
    for group, found in shared_groups(model).items():
        if (left := set(found.layers) - set(names)) and len(left) < len(found.layers):
            raise InputError(f"the layers {sorted(left)} of the shared group {group!r} stand in no cluster")
    weights = {name: modules[name].weight for name in names}
    for cluster in clusters:
        if len({(plain_kind(modules[name]), weights[name].shape) for name in cluster}) != 1:
            shapes = {name: tuple(weights[name].shape) for name in cluster}
            raise InputError(
                f"the layers of a cluster must have one class and shape, and be at least one; got {shapes}"
            )
    for cluster in clusters:
        first = weights[cluster[0]]
        weight = nn.Parameter(first.detach().clone(), requires_grad=first.requires_grad)
        factors = dict.fromkeys((name for name in cluster if name in scaled), 1.0)
        tie_({name: modules[name] for name in cluster}, weight, factors=factors)
