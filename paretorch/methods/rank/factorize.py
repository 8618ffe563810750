"""Replace linear layers by products of two, without changing what the model computes, and back.

    W = P S Q^T        U = P sqrt(S), V^T = sqrt(S) Q^T        |W - U_k V_k^T|_F^2 = sum_{i > k} s_i^2

A convolution's weight is read as (C_out, C_in k^2). At full rank r = min(n, m) the function is unchanged; its ranks are
sorted, so that the first k are the best approximation of rank k (Eckart and Young 1936). With the covariance C of the
layer's inputs they are the best one for these inputs, min E|(W - W_k) x|^2:

    W_k = (W C^{1/2})_k C^{-1/2}

Costs: (n + m) r weights and as many products per position, in the place of n m: a saving from r < n m / (n + m).

Source: Maestro, Horvath et al., ICML 2024, section 3, and its code; activation-aware: FlexRank, Zaccone et al., ICML
2026. Rank 0 and grouped convolutions are refused, as are layers whose weight somebody else holds too.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.rank.factored import Linear, factored_layers, one_layer, two_layers
from paretorch.methods.sparsity.binding import named_slots

FLOOR = 1e-8  # of the greatest eigenvalue of a covariance: directions that no input takes are kept, at the lowest price


def factorise_(
    model: nn.Module,
    *,
    layers: Sequence[str] | None = None,
    rank: int | Mapping[str, int] | None = None,
    covariances: Mapping[str, Tensor] | None = None,
) -> dict[str, int]:
    """Replace Linear and Conv2d layers by `Factored` ones, in place; before the optimizer is built.

    Args:
        model: its layers are replaced under all their names.
        layers: names or patterns such as "blocks.*.mlp.*"; None takes every Linear and Conv2d that can be factored and
            has at least two inputs and outputs.
        rank: how many ranks to keep, at most those that a layer has; or a rank for each layer by name; None keeps all.
        covariances: mean of x x^T over inputs x of a layer, (m, m) by name, as `input_covariances` gives them. Layers
            that are left out are factored as if it were the identity.

    Returns:
        Layer name -> rank, in the order of the model.

    Raises:
        InputError: a name that is no layer, a layer that cannot be factored, a rank below 1 or above the layer's, or a
            covariance of the wrong shape. The model is then unchanged.
    """
    chosen = _chosen(model, layers)
    ranks = _ranks(chosen, rank)
    for name, covariance in (covariances or {}).items():
        if name not in chosen:
            raise InputError(f"a covariance was given for {name!r}, which is not among the layers: {list(chosen)}")
        inputs = chosen[name].weight.flatten(1).shape[1]
        if covariance.shape != (inputs, inputs) or not torch.isfinite(covariance).all():
            raise InputError(
                f"the covariance of {name!r} must be ({inputs}, {inputs}) and finite; got {tuple(covariance.shape)}"
            )
    for name, layer in chosen.items():
        factored = two_layers(layer, ranks[name])
        up, down = factors(layer.weight.detach().flatten(1), ranks[name], covariance=(covariances or {}).get(name))
        with torch.no_grad():
            factored.up.weight.copy_(up.reshape(factored.up.weight.shape))
            factored.down.weight.copy_(down.reshape(factored.down.weight.shape))
        _replace(model, layer, factored)
    return ranks


def factors(weight: Tensor, rank: int, *, covariance: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """U (n, rank) and V^T (rank, m) of the best approximation of `weight` (n, m), balanced; computed in float64.

    Args:
        weight: (n, m), real.
        rank: from 1 to min(n, m).
        covariance: (m, m) of the inputs; None weighs all directions alike. Eigenvalues below 1e-8 of the greatest are
            raised to it, so that the full rank gives back `weight` in every direction.
    """
    matrix = weight.cpu().double()
    root = inverse = None
    if covariance is not None:
        values, vectors = torch.linalg.eigh(covariance.cpu().double())
        if not values[-1] > 0:
            raise InputError("a covariance of inputs has no positive eigenvalue; the layer saw only zeros")
        values = values.clamp_min(FLOOR * values[-1])
        root, inverse = vectors * values.sqrt(), (vectors / values.sqrt()).T
        matrix = matrix @ root
    left, singular, right = torch.linalg.svd(matrix, full_matrices=False)
    scale = singular[:rank].sqrt()
    up, down = left[:, :rank] * scale, scale[:, None] * right[:rank]
    if inverse is not None:
        down = down @ inverse
    return up, down


def merge_(model: nn.Module, *, always: bool = False) -> tuple[str, ...]:
    """Multiply factored layers out again, in place, where the one dense layer is not dearer.

    Args:
        model: its `Factored` layers with (n + m) r >= n m become dense.
        always: also where the product of two is cheaper.

    Returns:
        Names of the layers that were merged.
    """
    merged = []
    for name, factored in factored_layers(model).items():
        weights = factored.down.weight.numel() + factored.up.weight.numel()
        if always or weights >= factored.weight.numel():
            _replace(model, factored, one_layer(factored))
            merged.append(name)
    return tuple(merged)


def _chosen(model: nn.Module, patterns: Sequence[str] | None) -> dict[str, Linear]:
    if isinstance(patterns, str):
        raise InputError(f"layers is a list of names; got the text {patterns!r}. Write [{patterns!r}]")
    holders = Counter(id(parameter) for _, _, _, parameter in _slots_once(model))
    modules = dict(model.named_modules())
    if "" in modules and isinstance(model, Linear):
        raise InputError("the model is a single layer and cannot be replaced inside itself; put it into a Sequential")
    if patterns is None:
        every = {name: _factorable(name, module, holders) for name, module in modules.items()}
        return {name: found for name, found in every.items() if isinstance(found, Linear) and min(_shape(found)) > 1}
    chosen: dict[str, Linear] = {}
    for pattern in patterns:
        matched = [name for name in modules if fnmatchcase(name, pattern)]
        exact = pattern in modules
        found = {name: _factorable(name, modules[name], holders) for name in matched}
        for name, layer in found.items():
            if isinstance(layer, str) and (exact or isinstance(modules[name], Linear)):
                raise InputError(layer)
        layers = {name: layer for name, layer in found.items() if isinstance(layer, Linear)}
        if not layers:
            raise InputError(f"no Linear or Conv2d of the model is called {pattern!r}")
        chosen |= layers
    return {name: chosen[name] for name in modules if name in chosen}


def _factorable(name: str, module: nn.Module, holders: Counter[int]) -> Linear | str:
    """The layer, or why it cannot be factored."""
    # Exact types: a subclass may use its weight in another way, as MultiheadAttention does with its out_proj.
    if type(module) is not nn.Linear and type(module) is not nn.Conv2d:
        return f"{name!r} is a {type(module).__name__}; only Linear and Conv2d themselves are factored"
    if isinstance(module, nn.Conv2d) and module.groups != 1:
        return f"{name!r} has groups={module.groups}; only convolutions with groups=1 are factored. Leave it out"
    if not isinstance(module._parameters.get("weight"), nn.Parameter):
        return f"{name!r} computes its weight from other tensors (weight norm or pruning, say); remove that first"
    if holders[id(module.weight)] > 1:
        return f"the weight of {name!r} is shared with another layer; untie them first, or leave it out"
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
        return f"{name!r} has hooks, which would be lost; put them on after factoring"
    return module


def _slots_once(model: nn.Module) -> set[tuple[int, str, str, nn.Parameter]]:
    """(module, "", attribute, parameter): each slot once, also of a module with several names."""
    return {(id(owner), "", attribute, parameter) for _, owner, attribute, parameter in named_slots(model)}


def _shape(layer: Linear) -> tuple[int, int]:
    outputs, inputs = layer.weight.flatten(1).shape
    return outputs, inputs


def _ranks(chosen: Mapping[str, Linear], rank: int | Mapping[str, int] | None) -> dict[str, int]:
    full = {name: min(_shape(layer)) for name, layer in chosen.items()}
    if isinstance(rank, Mapping):
        if set(rank) != set(full):
            odd = sorted(set(rank) ^ set(full))
            raise InputError(f"ranks by name must name exactly the layers {list(full)}; these differ: {odd}")
        for name, given in rank.items():
            if type(given) is not int or not 1 <= given <= full[name]:
                raise InputError(f"the rank of {name!r} must be an integer from 1 to {full[name]}; got {given!r}")
        return {name: rank[name] for name in full}
    if rank is not None and (type(rank) is not int or rank < 1):
        raise InputError(f"a rank is an integer of at least 1; got {rank!r}. To remove a layer, build the model anew")
    return full if rank is None else {name: min(rank, most) for name, most in full.items()}


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for owner in list(model.modules()):
        for attribute, module in owner._modules.items():
            if module is old:
                owner._modules[attribute] = new
