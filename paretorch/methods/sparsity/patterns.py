"""Masks with a pattern: N:M (n of every m consecutive weights kept) and whole filters.

    N:M      in each group of m weights along the input dimension the n largest |w| are kept; sparsity 1 - n/m
    filters  output units ranked by the norm of their weights, ||W_o||_1 or ||W_o||_2; the smallest lose every weight

N:M groups run along input features of a linear layer, and along input channels of a convolution at one output
channel and one kernel position (not over the flattened kernel): the products of a group then meet in one dot product
whatever the kernel size. 2:4 is what NVIDIA's sparse tensor cores read; other machines gain nothing. A filter mask
writes zeros and leaves shapes and biases alone; cutting the filters out is a separate step.

Sources: Mishra et al. 2021 ("Accelerating sparse deep neural networks", sections 2.1 and 3); Li et al. 2017 ("Pruning
filters for efficient convnets", section 3.1).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.sparsity.allocation import uniform_counts
from paretorch.methods.sparsity.costs import filter_cost, nm_cost
from paretorch.methods.sparsity.masks import Masks
from paretorch.methods.sparsity.prunable import LAYER_TYPES, TRANSPOSED, Patterns, Prunable, find_prunable
from paretorch.methods.sparsity.ranking import check_ranked, require_finite, tensor_of
from paretorch.methods.sparsity.scores import magnitudes
from paretorch.methods.sparsity.selection import select, target_count


def nm_mask(scores: Tensor, *, n: int, m: int, dim: int = 1, name: str = "scores") -> Tensor:
    """Keep the n highest of every m consecutive scores along `dim`; of equal ones the earlier are pruned.

    Args:
        scores: any shape, floating point, higher = keep.
        n: kept per group, 1 <= n <= m.
        m: group length; must divide the dimension.
        dim: along which groups run.
        name: what the scores belong to, for messages.

    Returns:
        bool tensor of the scores' shape, True = kept.

    Raises:
        InputError: for n, m out of range, a dimension that m does not divide, or NaN and infinite scores.
    """
    _check_pattern(n, m, scores.shape[dim], name)
    require_finite(name, scores)
    groups = scores.detach().movedim(dim, -1)
    groups = groups.reshape(*groups.shape[:-1], -1, m)
    pruned = groups.argsort(dim=-1, stable=True)[..., : m - n]
    mask = torch.ones_like(groups, dtype=torch.bool).scatter_(-1, pruned, False)
    return mask.flatten(-2).movedim(-1, dim).contiguous()


def nm_masks(
    model: nn.Module,
    *,
    n: int,
    m: int,
    include: Patterns = None,
    exclude: Patterns = None,
    layer_types: Sequence[type[nn.Module]] = LAYER_TYPES,
) -> Masks:
    """N:M masks by magnitude over the prunable parameters; the model is not touched.

    Args:
        model: any module.
        n, m: kept per group and group length, as in `nm_mask`; n=2, m=4 is the pattern of NVIDIA's sparse kernels.
        include, exclude, layer_types: which parameters, as in `prunable_parameters`.

    Raises:
        InputError: as in `nm_mask` and `prunable_parameters`; in a grouped layer m must divide the inputs per group.
    """
    masks = {}
    for item in find_prunable(model, include=include, exclude=exclude, layer_types=layer_types):
        weight, dim = magnitudes(tensor_of(item.values)), input_dim(item.module)
        if dim == 0:  # a transposed convolution stacks its groups along this dimension: no N:M group may span two
            _check_pattern(n, m, weight.shape[0] // int(getattr(item.module, "groups", 1)), item.name)
        masks[item.name] = nm_mask(weight, n=n, m=m, dim=dim, name=item.name)
    return Masks(masks)


def filter_masks(
    model: nn.Module,
    *,
    sparsity: float,
    norm: Literal["l1", "l2"] = "l2",
    allocation: Literal["global", "uniform"] = "uniform",
    include: Patterns = None,
    exclude: Patterns = None,
    previous: Mapping[str, Tensor] | None = None,
    layer_types: Sequence[type[nn.Module]] = LAYER_TYPES,
) -> Masks:
    """Masks that prune whole output filters (rows of a linear layer), the ones of smallest norm.

    Args:
        model: any module. The last layer's outputs are classes: exclude it.
        sparsity: fraction of the filters removed, in [0, 1): exactly round(sparsity * F) of all F filters.
        norm: "l1" or "l2", over all weights of a filter, in float64.
        allocation: "uniform" (the same fraction of each layer's filters) or "global" (one ranking of raw norms, which
            grow with the inputs of a filter, so layers with few inputs lose more).
        include, exclude, layer_types: which parameters, as in `prunable_parameters`.
        previous: earlier filter masks; what they prune stays pruned and counts.

    Raises:
        InputError: for a sparsity outside [0, 1), unknown norm or allocation, NaN or infinite weights, previous masks
            that are not whole filters or prune more, and a layer that would lose all its filters.
    """
    if norm not in ("l1", "l2") or allocation not in ("global", "uniform"):
        raise InputError(
            f"norm must be 'l1' or 'l2' and allocation 'global' or 'uniform'; got {norm!r} and {allocation!r}"
        )
    found = find_prunable(model, include=include, exclude=exclude, layer_types=layer_types)
    sizes = {item.name: item.weight.shape[output_dim(item.module)] for item in found}
    num_pruned = target_count(sum(sizes.values()), sparsity)
    norms = {item.name: partial(_filter_norms, item, norm) for item in found}
    before = None if previous is None else _filters_of(previous, found)
    if allocation == "global":
        kept = select(norms, num_pruned, previous=before)
    else:
        lost = {name: int((~mask).sum()) for name, mask in (before or {}).items()}
        counts = uniform_counts(sizes, num_pruned, previous=lost)
        kept = {}
        for name in sizes:
            one = {name: before[name]} if before and name in before else None
            kept |= select({name: norms[name]}, counts[name], previous=one)
    if empty := [name for name, mask in kept.items() if not mask.any()]:
        raise InputError(
            f"sparsity={sparsity} ({allocation}) would prune every filter of {', '.join(empty)} and cut the network in "
            "two; lower the sparsity, exclude these layers, or use allocation='uniform'"
        )
    return Masks({item.name: _expanded(kept[item.name], item) for item in found})


def _check_pattern(n: int, m: int, num_inputs: int, name: str) -> None:
    if not 1 <= n <= m:
        raise InputError(f"an N:M pattern keeps n of every m weights, 1 <= n <= m; got n={n}, m={m}. 2:4 is n=2, m=4")
    if num_inputs % m:
        raise InputError(
            f"{name}: {n}:{m} needs a number of inputs divisible by {m}, and {num_inputs} is not; exclude this "
            "parameter (a first convolution with 3 input channels is the usual case)"
        )


def output_dim(module: nn.Module) -> int:
    """Which dimension of the module's weight counts its outputs."""
    return 1 - input_dim(module)


def input_dim(module: nn.Module) -> int:
    """Which dimension of the module's weight counts its inputs: 1, but 0 where the weight is stored transposed.

    Transposed are the ConvTranspose layers and the `Conv1D` of transformers, a linear layer with weight (in, out).
    """
    return 0 if isinstance(module, TRANSPOSED) or type(module).__name__ == "Conv1D" else 1


def _filter_norms(item: Prunable, norm: str) -> Tensor:
    weight = tensor_of(item.values)
    require_finite(item.name, weight)
    rows = weight.double().movedim(output_dim(item.module), 0).flatten(1)
    norms: Tensor = torch.linalg.vector_norm(rows, ord=1 if norm == "l1" else 2, dim=1)
    return norms


def _filters_of(previous: Mapping[str, Tensor], found: Sequence[Prunable]) -> dict[str, Tensor]:
    """Which filters the previous masks keep."""
    modules = {item.name: item.module for item in found}
    check_ranked(previous, modules)
    filters = {}
    for name, mask in previous.items():
        rows = mask.movedim(output_dim(modules[name]), 0).flatten(1)
        filters[name] = rows.all(1)
        if not torch.equal(rows.any(1), filters[name]):
            raise InputError(
                f"{name}: the previous mask prunes parts of filters; filter masks can only be built on filter masks"
            )
    return filters


def _expanded(filters: Tensor, item: Prunable) -> Tensor:
    """A filter mask (out,) repeated over the weight's other dimensions."""
    shape = [1] * item.weight.dim()
    shape[output_dim(item.module)] = -1
    return filters.view(shape).expand(item.weight.shape)


CARDS = (
    Card(
        id="nm-pattern",
        title="N:M sparsity",
        summary="Keeps the n largest of every m consecutive weights along the input dimension.",
        year=2021,
        references=("Mishra et al., arXiv 2104.08378, 2021, sections 2.1 and 3",),
        cells=(("parameters", "remove"),),
        phase=("prune",),
        hooks=("model_surgery",),
        before=("masks",),
        conflicts=("filter-norm",),
        composes_with=("masks", "bn-reestimate"),
        relieves=("inference size", "inference compute", "inference latency"),
        caveat="quality falls until the model is retrained; a pattern forbids choices that magnitude alone would make",
        cost="One sort of every group; a 2:4 payload is half the weights plus 2 bits for each kept one.",
        cost_model=nm_cost,
        realised_by="Sparse tensor cores (2:4, half or 8-bit types, Ampere or newer); nothing elsewhere.",
        hyperparams=(
            HyperParameter(name="n", default=2, low=1, high=16, scale="integer"),
            HyperParameter(name="m", default=4, low=1, high=32, scale="integer"),
        ),
        excludes=("biases", "norms", "embeddings"),
        cost_scope="inference",
        invariants=("exactly n of every m weights are kept", "equal magnitudes are pruned in index order"),
    ),
    Card(
        id="filter-norm",
        title="Filter pruning by norm",
        summary="Prunes whole output filters, those of smallest L1 or L2 norm.",
        year=2017,
        references=("Li, Kadav, Durdanovic, Samet and Graf, ICLR 2017, section 3.1",),
        cells=(("parameters", "remove"),),
        phase=("prune",),
        hooks=("model_surgery",),
        before=("masks",),
        conflicts=("nm-pattern",),
        composes_with=("masks", "bn-reestimate"),
        relieves=("inference size", "inference compute", "inference latency"),
        caveat="quality falls until the model is retrained; residual connections tie filters of several layers",
        cost="One norm per filter; no data.",
        cost_model=filter_cost,
        realised_by="Cutting the pruned filters out of all layers that share them; as zeros they save nothing.",
        hyperparams=(
            HyperParameter(name="sparsity", low=0.0, high=1.0),
            HyperParameter(name="norm", default="l1", scale="choice", choices=("l1", "l2")),
        ),
        tuning_cost=1,
        excludes=("biases", "norms", "embeddings"),
        cost_scope="inference",
        quality_risk="high",
        invariants=("exactly round(sparsity * F) filters are pruned", "a filter is kept or pruned as a whole"),
    ),
)
