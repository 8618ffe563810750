"""Folding: layers of a bank that became alike get one weight, and the bank goes.

    clusters      complete linkage on 1 - S_ij, so that S_ij >= threshold for any two layers of a cluster
    W_c           made of the mean of alpha_i / |alpha_i| over the cluster, signs aligned
    s_i           <W_i, W_c> / |W_c|^2, the best factor;   change of layer i: |W_i - s_i W_c| / |W_i|
    y_i = W_i x   becomes s_i (W_c x); a batch norm behind the layer absorbs s_i where it can, else a factor stays

Where the rows of a cluster are collinear, the change is 0 and the model computes what it did, in training and in
evaluation mode. A cluster is scaled so that the first layer whose factor no norm absorbs has none.

What is left is plain: torch's layers, tied by their parameter, or `ScaledLayer` where a factor stays. A layer that is
like no other has a weight of its own, so that folding where little is alike stores more than the templates did; the
report holds both counts.

Source: Savarese and Maire, ICLR 2019, section 4.2, of which no code was published; linkage, centres, factors and what
norms absorb are ours. The threshold of about 0.95 is recalled, not read there again.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from paretorch.errors import InputError, NotFiniteError
from paretorch.methods.sharing.absorbing import absorb_, can_absorb, check_norms
from paretorch.methods.sharing.layers import mark_folded_
from paretorch.methods.sharing.similarity import similarity
from paretorch.methods.sharing.templates import SharedGroup, holders_of, shared_groups
from paretorch.methods.sharing.tied import tie_

THRESHOLD = 0.95


@dataclass(frozen=True, kw_only=True)
class Folding:
    """What folding did.

    Attributes:
        clusters: name -> layers with one weight, in the order of the model; those of one layer included.
        changes: layer -> |W_i - s_i W_c| / |W_i|, Frobenius norms.
        factors: layer -> the factor that stays in front of its weight.
        absorbed: layer -> (batch norm, the factor that it took over).
        eps: batch norm -> its epsilon afterwards, for the norms of `absorbed`.
        loops: runs of equal neighbouring blocks; each is a tuple of blocks, and a block a tuple of layers.
        threshold: the least similarity within a cluster.
        params_before, params_after: parameters of the model.
    """

    clusters: dict[str, tuple[str, ...]]
    changes: dict[str, float]
    factors: dict[str, float]
    absorbed: dict[str, tuple[str, float]]
    eps: dict[str, float]
    loops: tuple[tuple[tuple[str, ...], ...], ...]
    threshold: float
    params_before: int
    params_after: int

    @property
    def max_change(self) -> float:
        """The greatest relative change of a layer's weight."""
        return max(self.changes.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ledgers and records."""
        return {
            "clusters": {name: list(layers) for name, layers in self.clusters.items()},
            "max_change": self.max_change,
            "factors": dict(self.factors),
            "absorbed": {layer: [norm, factor] for layer, (norm, factor) in self.absorbed.items()},
            "loops": [[list(block) for block in loop] for loop in self.loops],
            "threshold": self.threshold,
            "params_before": self.params_before,
            "params_after": self.params_after,
        }


@torch.no_grad()
def fold_(
    model: nn.Module, *, threshold: float = THRESHOLD, norms: Mapping[str, str] | None = None, block: int = 2
) -> Folding:
    """Replace every shared layer by a plain one, of one weight with those that are like it; in place.

    Build the optimizer afterwards: templates and coefficients are gone.

    Args:
        model: with groups made by `share_`.
        threshold: the least similarity of two layers of a cluster, in (0, 1].
        norms: layer -> the batch norm that alone reads its output, as `following_norms` finds them; layers that are
            left out keep their factors, and those whose norm cannot take them: without a gain, with a gain or a bias
            of the layer that another module has too, or with statistics that would leave the range of their type.
        block: how many neighbouring layers of a group make a block, for `loops`.

    Returns:
        What was done.

    Raises:
        InputError: if the model shares nothing, for a threshold out of range or a wrong pair of `norms`.
        NotFiniteError: for templates or coefficients that are NaN or infinite. The model is then unchanged.

    Warns:
        UserWarning: if the folded model has more parameters than the one with templates.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"threshold must be a similarity in (0, 1]; got {threshold}")
    if block < 1:
        raise InputError(f"block must be a number of layers of at least 1; got {block}")
    groups = shared_groups(model)
    if not groups:
        raise InputError(f"{type(model).__name__} has no layers that share templates; call share_ first")
    if bad := [name for name, group in groups.items() if not _is_finite(group)]:
        raise NotFiniteError(
            f"the templates or coefficients of {', '.join(bad)} are NaN or infinite: nothing can be folded"
        )
    pairs = dict(norms or {})
    check_norms(model, pairs)
    before = _count(model)
    absorbers = _own_norms(model, pairs)
    found = Folding(
        clusters={},
        changes={},
        factors={},
        absorbed={},
        eps={},
        loops=(),
        threshold=threshold,
        params_before=before,
        params_after=0,
    )
    loops: list[tuple[tuple[str, ...], ...]] = []
    for group_name, group in groups.items():
        labels = cluster_labels(similarity(group.coefficients.cpu().double()), threshold)
        loops += find_loops(tuple(group.layers), _same_layer(group, labels), block=block)
        gram = _gram(group.bank.templates)
        members = [[i for i, label in enumerate(labels) if label == which] for which in range(max(labels) + 1)]
        weights = [_fold_cluster(group, rows, gram, absorbers, pairs, found) for rows in members]
        for number, (rows, weight) in enumerate(zip(members, weights, strict=True)):
            layers = {name: layer for i, (name, layer) in enumerate(group.layers.items()) if i in rows}
            tie_(layers, weight, factors=found.factors)
            for layer in layers.values():
                mark_folded_(layer, group_name)
            found.clusters[f"{group_name}/{number}"] = tuple(layers)
    after = _count(model)
    if after > before:
        warnings.warn(
            f"the folded model has {after} parameters and had {before} with templates: too few layers are alike at "
            f"threshold {threshold}. Keep the templates, lower the threshold or train with the recurrence penalty",
            UserWarning,
            stacklevel=3,  # past the decorator
        )
    return Folding(**{**vars(found), "loops": tuple(loops), "params_after": after})


def cluster_labels(matrix: Tensor, threshold: float) -> list[int]:
    """Cluster of each layer, numbered from 0 in the order of their first layers.

    Args:
        matrix: S (L, L).
        threshold: any two layers of a cluster have at least this similarity.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if len(matrix) == 1:
        return [0]
    distances = (1 - matrix).numpy()
    steps = linkage(squareform(distances, checks=False), method="complete")
    raw = fcluster(steps, t=1 - threshold + 1e-12, criterion="distance")  # equal rows may differ by rounding
    order = {label: number for number, label in enumerate(dict.fromkeys(raw.tolist()))}
    return [order[label] for label in raw.tolist()]


def find_loops(layers: tuple[str, ...], labels: list[int], *, block: int) -> list[tuple[tuple[str, ...], ...]]:
    """Runs of two or more neighbouring blocks whose layers are in the same clusters, place by place.

    Args:
        layers: of a group, in the order of the model.
        labels: equal for layers that compute the same.
        block: layers of a block; layers 0 to block - 1 are the first. A rest that fills no block is left out.
    """
    starts = range(0, len(layers) - len(layers) % block, block)
    blocks = [(tuple(labels[at : at + block]), tuple(layers[at : at + block])) for at in starts]
    runs: list[list[tuple[str, ...]]] = []
    last: tuple[int, ...] | None = None
    for kinds, names in blocks:
        if kinds == last:
            runs[-1].append(names)
        else:
            runs.append([names])
        last = kinds
    return [tuple(run) for run in runs if len(run) > 1]


def _fold_cluster(
    group: SharedGroup,
    rows: list[int],
    gram: Tensor,
    absorbers: Mapping[str, _BatchNorm],
    norms: Mapping[str, str],
    found: Folding,
) -> nn.Parameter:
    """The weight of a cluster; changes, factors and what norms absorb are entered in `found` and done."""
    names = [name for i, name in enumerate(group.layers) if i in rows]
    own = group.coefficients[rows]
    alpha = own.cpu().double()
    centre, factors = _centre(alpha, gram)
    reference = next((i for i, name in enumerate(names) if name not in absorbers), 0)
    if (unit := factors[reference]) != 0:
        centre, factors = centre * unit, [s / unit for s in factors]
    for name, row, s in zip(names, alpha, factors, strict=True):
        found.changes[name] = _relative(row - s * centre, row, gram)
        if math.isclose(s, 1, rel_tol=1e-12):  # equal up to rounding, which is another on another machine
            continue
        if name in absorbers and can_absorb(absorbers[name], s):
            absorb_(absorbers[name], s)
            if (bias := group.layers[name]._parameters.get("bias")) is not None:
                bias.div_(s)
            found.absorbed[name] = (norms[name], s)
            found.eps[norms[name]] = absorbers[name].eps
        else:
            found.factors[name] = s
    bank = group.bank
    weight = bank.combined(centre.to(own)).detach().clone()
    return nn.Parameter(weight, requires_grad=bank.templates.requires_grad)


def _centre(alpha: Tensor, gram: Tensor) -> tuple[Tensor, list[float]]:
    """Row (k,) of the cluster's weight, and each layer's factor; equal rows are their own centre, to the bit."""
    if bool((alpha == alpha[0]).all()):
        return alpha[0], [1.0] * len(alpha)
    units = nn.functional.normalize(alpha, dim=1)
    signs = torch.where(units @ units[0] < 0, -1.0, 1.0).to(units)
    centre = (signs[:, None] * units).mean(0)
    size = centre @ gram @ centre
    if not size > 0:  # templates of zeros: any factor is right
        return centre, [1.0] * len(alpha)
    return centre, (alpha @ gram @ centre / size).tolist()


def _own_norms(model: nn.Module, norms: Mapping[str, str]) -> dict[str, _BatchNorm]:
    """Layer -> its norm, if that has a gain, and neither the gain nor the layer's bias is another module's too."""
    modules, holders = dict(model.named_modules()), holders_of(model)
    own: dict[str, _BatchNorm] = {}
    for layer, name in norms.items():
        norm, bias = modules[name], modules[layer]._parameters.get("bias")
        if not isinstance(norm, _BatchNorm) or not norm.affine:
            continue
        if all(parameter is None or holders[id(parameter)] == 1 for parameter in (norm.weight, bias)):
            own[layer] = norm
    return own


def _same_layer(group: SharedGroup, labels: list[int]) -> list[int]:
    """Labels that differ also where layers of one cluster differ in stride, padding and so on: they are no loop."""
    kinds = [(label, layer.extra_repr()) for label, layer in zip(labels, group.layers.values(), strict=True)]
    numbers = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
    return [numbers[kind] for kind in kinds]


def _relative(difference: Tensor, row: Tensor, gram: Tensor) -> float:
    """|W_difference| / |W_row|; 0 for a layer without weights."""
    size = float(row @ gram @ row)
    return math.sqrt(max(0.0, float(difference @ gram @ difference)) / size) if size > 0 else 0.0


def _gram(templates: Tensor) -> Tensor:
    """<T_i, T_j>, (k, k) in float64: all that norms of combinations depend on."""
    flat = templates.flatten(1).cpu().double()
    return flat @ flat.T


def _is_finite(group: SharedGroup) -> bool:
    return bool(group.bank.templates.isfinite().all()) and bool(group.coefficients.isfinite().all())


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
