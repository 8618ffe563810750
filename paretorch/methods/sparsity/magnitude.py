"""Magnitude pruning: masks that remove the weights of smallest absolute value.

Saves weights to store (payload, not the dense tensor) and multiplications in theory; a dense kernel runs no faster.
Costs one selection: three readings of the weights (`ranking.py`), well under a second for 25 million on one core.

    K = round(sparsity * N);  prune the K smallest |w| of all layers ("global"), or K_l per layer (other allocations)

Source: Han et al. 2015 ("Learning both weights and connections"); the allocations are in `allocation.py`. Deviations
from `torch.nn.utils.prune`: ties are broken by position, ranking is in float32 for half types, tied parameters count
once, NaN is refused, and nothing is added to the model.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.sparsity.allocation import (
    custom_counts,
    erk_counts,
    lamp_counts,
    uniform_counts,
    uniform_plus_counts,
)
from paretorch.methods.sparsity.costs import pruned_cost
from paretorch.methods.sparsity.masks import Masks
from paretorch.methods.sparsity.prunable import CONVOLUTIONS, LAYER_TYPES, Patterns, Prunable, find_prunable
from paretorch.methods.sparsity.ranking import Scores, check_ranked, require_finite, tensor_of
from paretorch.methods.sparsity.scores import random_scores
from paretorch.methods.sparsity.selection import select, target_count

ALLOCATIONS = ("global", "uniform", "uniform+", "erk", "lamp", "random")


def magnitude_masks(
    model: nn.Module,
    *,
    sparsity: float | None = None,
    allocation: str | Mapping[str, float] = "global",
    include: Patterns = None,
    exclude: Patterns = None,
    previous: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    layer_types: Sequence[type[nn.Module]] = LAYER_TYPES,
) -> Masks:
    """Masks over the prunable parameters in which the smallest weights are pruned; the model is not touched.

    Args:
        model: any module; its weights may have any floating-point dtype, device and memory format.
        sparsity: fraction of the prunable weights removed in total, in [0, 1); exactly round(sparsity * N) are. Left
            out only for an allocation given as a mapping.
        allocation: "global" (one ranking over all layers), "uniform", "uniform+", "erk", "lamp", "random" (a random
            global mask, as a control), or a mapping {pattern: sparsity} per layer: the first pattern that matches
            counts, a layer that none matches stays dense.
        include, exclude, layer_types: which parameters, as in `prunable_parameters`.
        previous: masks of an earlier pruning of the same parameters; what they prune stays pruned and counts.
        seed: of the random allocation; no other uses it.

    Returns:
        Masks with one entry per prunable parameter, dense layers included.

    Raises:
        InputError: for a sparsity outside [0, 1) or one that leaves no weight, an unknown allocation, NaN or infinite
            weights, patterns that match nothing, a model without prunable layers, and previous masks that prune more
            than is asked for or cover other parameters.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
        >>> masks = magnitude_masks(model, sparsity=0.9)
        >>> masks.num_pruned, masks.num_weights
        (144, 160)
    """
    found = find_prunable(model, include=include, exclude=exclude, layer_types=layer_types)
    weights = {item.name: item.values for item in found}
    sizes = {item.name: item.weight.numel() for item in found}
    num_weights = sum(sizes.values())
    check_ranked(previous or {}, weights)
    if not isinstance(allocation, str):
        if sparsity is not None:
            raise InputError(
                f"allocation gives a sparsity per layer, so sparsity={sparsity} has no meaning; leave it out"
            )
        return Masks(_layerwise(weights, custom_counts(sizes, allocation), previous), copy=False)
    if allocation not in ALLOCATIONS:
        raise InputError(
            f"unknown allocation {allocation!r}; expected one of {', '.join(ALLOCATIONS)}, or a mapping from name "
            "patterns to sparsities"
        )
    if sparsity is None:
        raise InputError(f"allocation {allocation!r} needs a sparsity in [0, 1); for 90 % removed pass sparsity=0.9")
    num_pruned = target_count(num_weights, sparsity)
    if num_pruned == num_weights:
        raise InputError(
            f"sparsity={sparsity} of {num_weights} weights rounds to all of them; keep at least one with a sparsity "
            f"below {1 - 0.5 / num_weights:.6g}"
        )
    if allocation == "global":
        return Masks(select(weights, num_pruned, previous=previous, absolute=True), copy=False)
    if allocation == "random":
        for name, weight in weights.items():
            require_finite(name, tensor_of(weight))
        scores = {item.name: partial(random_scores, item.weight, name=item.name, seed=seed) for item in found}
        return Masks(select(scores, num_pruned, previous=previous), copy=False)
    return Masks(_layerwise(weights, _counts(allocation, found, num_pruned, previous), previous), copy=False)


def _counts(
    allocation: str, found: list[Prunable], num_pruned: int, previous: Mapping[str, Tensor] | None
) -> dict[str, int]:
    """Weights to prune per layer under a named allocation."""
    if allocation == "lamp":
        return lamp_counts({item.name: item.values for item in found}, num_pruned, previous=previous)
    sizes = {item.name: item.weight.numel() for item in found}
    before = _num_pruned(previous)
    if allocation == "uniform":
        return uniform_counts(sizes, num_pruned, previous=before)
    if allocation == "erk":
        return erk_counts({item.name: item.weight.shape for item in found}, num_pruned, previous=before)
    convolutions = [item.name for item in found if isinstance(item.module, CONVOLUTIONS)]
    linear = [item.name for item in found if isinstance(item.module, nn.Linear)]
    if not convolutions or not linear:
        raise InputError(
            "uniform+ keeps the first convolution dense and the last linear layer at most 80 % sparse, but the "
            f"prunable parameters have {len(convolutions)} convolutions and {len(linear)} linear layers; use "
            "allocation='uniform', or a mapping from names to sparsities"
        )
    return uniform_plus_counts(sizes, num_pruned, first=convolutions[0], last=linear[-1], previous=before)


def _num_pruned(previous: Mapping[str, Tensor] | None) -> dict[str, int]:
    return {name: mask.numel() - int(torch.count_nonzero(mask)) for name, mask in (previous or {}).items()}


def _layerwise(weights: Scores, counts: Mapping[str, int], previous: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """The smallest `counts[name]` weights of each layer pruned."""
    before = _num_pruned(previous)
    if over := [f"{name} ({before[name]}, now {counts[name]})" for name in before if before[name] > counts[name]]:
        raise InputError(
            f"the previous masks already prune more weights than the allocation gives to {', '.join(over)}; pruned "
            "weights are never revived, so use a higher sparsity there"
        )
    masks: dict[str, Tensor] = {}
    for name, weight in weights.items():
        kept = {name: previous[name]} if previous is not None and name in previous else None
        masks |= select({name: weight}, counts[name], previous=kept, absolute=True)
    return masks


CARD = Card(
    id="magnitude",
    title="Magnitude pruning",
    summary="Removes the given fraction of weights, the smallest in absolute value, of all layers or of each.",
    year=2015,
    references=(
        "Han, Pool, Tran and Dally, NeurIPS 2015, section 3",
        "allocations: Gale, Elsen and Hooker, arXiv 1902.09574, 2019; Evci et al., ICML 2020; Lee et al., ICLR 2021",
    ),
    cells=(("parameters", "remove"),),
    phase=("prune",),
    hooks=("model_surgery",),
    before=("masks",),
    composes_with=("masks", "bn-reestimate", "llr", "allr"),
    relieves=("inference size", "inference compute"),
    caveat="quality falls until the model is retrained; dense tensors and dense kernels gain nothing",
    cost="Selection reads the weights about three times; no forward or backward pass, no data.",
    cost_model=pruned_cost,
    realised_by="A sparse kernel, or a format that does not store zeros; dense kernels gain nothing.",
    hyperparams=(
        HyperParameter(name="sparsity", low=0.0, high=1.0),
        HyperParameter(name="allocation", default="global", scale="choice", choices=ALLOCATIONS),
    ),
    tuning_cost=1,
    excludes=("biases", "norms", "embeddings"),
    cost_scope="inference",
    invariants=(
        "exactly round(sparsity * N) weights are pruned",
        "no kept weight is smaller than a pruned one of the same ranking",
        "masks built on previous masks are nested",
        "equal magnitudes are pruned in the order of parameters and flat index",
    ),
    evidence=("global_selection", "retraining_schedules", "published_resnets"),
)
