"""How many weights each layer loses: integer counts that add up to the target exactly.

Within a layer magnitude decides; an allocation only sets the counts K_l, with sum K_l = K and n_l weights per layer.

    uniform    K_l proportional to n_l: the same sparsity everywhere
    uniform+   the first convolution dense, the last linear layer at most 80 % sparse, the rest uniform
    erk        kept_l = min(n_l, c * e_l), e_l = sum of the weight's dimensions (out + in + kernel); c set by K
    lamp       K_l = entries of layer l among the K smallest LAMP scores of all layers
    custom     K_l = round(n_l * s_l) by name pattern; layers that no pattern matches stay dense

The real-valued shares are exact fractions; largest remainders round them up until the sum is K, earlier layers first
among equals. With `previous` counts no layer gets fewer than it has lost already.

Sources: uniform+ Gale, Elsen and Hooker 2019 ("The state of sparsity", section 5); ERK Evci et al. 2020 (RigL,
section 3); LAMP Lee et al. 2021. Deviation: RigL's code rounds each layer by itself and misses
the total by a few weights.
"""

import math
from collections.abc import Mapping
from fractions import Fraction

import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.sparsity.prunable import check_patterns, matches, paths_above
from paretorch.methods.sparsity.ranking import Scores, check_ranked, require_finite, tensor_of
from paretorch.methods.sparsity.scores import sorted_lamp_scores
from paretorch.methods.sparsity.selection import check_sparsity, selected_counts

LAST_LINEAR_CAP = Fraction(4, 5)  # Gale et al. 2019


def uniform_counts(
    sizes: Mapping[str, int], num_pruned: int, *, previous: Mapping[str, int] | None = None
) -> dict[str, int]:
    """The same fraction of every layer, to rounding.

    Args:
        sizes: name -> number of weights (or of filters, or of whatever is counted).
        num_pruned: how many are pruned in total.
        previous: name -> how many are pruned already; a missing name has lost none.

    Raises:
        InputError: if the total is impossible, or a layer has already lost more than its share.
    """
    total = sum(sizes.values())
    shares = {name: Fraction(num_pruned * size, max(1, total)) for name, size in sizes.items()}
    return rounded_counts(shares, sizes, num_pruned, previous=previous)


def uniform_plus_counts(
    sizes: Mapping[str, int],
    num_pruned: int,
    *,
    first: str,
    last: str,
    previous: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Uniform with the layer `first` dense and the layer `last` at most 80 % sparse.

    Args:
        sizes, num_pruned, previous: as in `uniform_counts`.
        first: name of the first convolution.
        last: name of the last linear layer.

    Raises:
        InputError: if the other layers cannot take that many, and as in `uniform_counts`.
    """
    total = sum(sizes.values())
    free = total - sizes[first]
    middle = free - sizes[last]
    most = middle + math.floor(LAST_LINEAR_CAP * sizes[last])
    if num_pruned > most:
        raise InputError(
            f"uniform+ keeps {first} dense and {last} at least 20 % dense, so at most {most} of {total} weights can be "
            f"pruned (sparsity {most / total:.4f}); asked for {num_pruned}. Take a lower sparsity or another allocation"
        )
    sparsity = last_sparsity = Fraction(num_pruned, free)
    if sparsity > LAST_LINEAR_CAP:
        last_sparsity = LAST_LINEAR_CAP
        sparsity = (num_pruned - LAST_LINEAR_CAP * sizes[last]) / middle
    per_layer = dict.fromkeys(sizes, sparsity) | {last: last_sparsity} | {first: Fraction(0)}
    shares = {name: per_layer[name] * size for name, size in sizes.items()}
    caps = dict(sizes) | {last: math.floor(LAST_LINEAR_CAP * sizes[last])} | {first: 0}
    return rounded_counts(shares, caps, num_pruned, previous=previous)


def erk_counts(
    shapes: Mapping[str, torch.Size], num_pruned: int, *, previous: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Erdos-Renyi-Kernel: kept weights in proportion to the sum of a layer's dimensions, no layer above dense.

    Args:
        shapes: name -> shape of the weight.
        num_pruned, previous: as in `uniform_counts`.

    Raises:
        InputError: as in `uniform_counts`.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    kept = {name: Fraction(size) for name, size in sizes.items()}
    open_names = list(sizes)
    budget = sum(sizes.values()) - num_pruned
    while open_names:
        scale = Fraction(budget, sum(sum(shapes[name]) for name in open_names))
        kept.update({name: scale * sum(shapes[name]) for name in open_names})
        fullest = max(open_names, key=lambda name: kept[name] / sizes[name])
        if kept[fullest] <= sizes[fullest]:
            break
        kept[fullest] = Fraction(sizes[fullest])  # dense; the others share what is left
        budget -= sizes[fullest]
        open_names.remove(fullest)
    shares = {name: sizes[name] - kept[name] for name in sizes}
    return rounded_counts(shares, sizes, num_pruned, previous=previous)


def lamp_counts(weights: Scores, num_pruned: int, *, previous: Mapping[str, Tensor] | None = None) -> dict[str, int]:
    """Per layer, how many weights are among the `num_pruned` smallest LAMP scores of all layers.

    Args:
        weights: name -> tensor, or function that returns it.
        num_pruned: how many are pruned in total, those of `previous` included.
        previous: name -> bool mask; what it prunes stays pruned and takes no part in the scores.

    Raises:
        InputError: for NaN or infinite weights, or `previous` pruning more than `num_pruned`.
    """
    check_ranked(previous or {}, weights)
    before = dict.fromkeys(weights, 0)
    for name, mask in (previous or {}).items():
        before[name] = mask.numel() - int(torch.count_nonzero(mask))
    if num_pruned < (num_before := sum(before.values())):
        raise InputError(f"the previous masks already prune {num_before} weights, more than the target of {num_pruned}")

    def scores_of(name: str) -> Tensor:
        weight, kept = tensor_of(weights[name]), None if previous is None else previous.get(name)
        require_finite(name, weight)
        return sorted_lamp_scores(weight, None if kept is None else kept.to(weight.device))

    # sorted within a layer, which leaves the counts as they are and spares undoing the sort
    lazily = {name: (lambda name=name: scores_of(name)) for name in weights}
    more = selected_counts(lazily, num_pruned - num_before)
    return {name: before[name] + more[name] for name in weights}


def custom_counts(sizes: Mapping[str, int], sparsities: Mapping[str, float]) -> dict[str, int]:
    """round(n_l * s_l) for the first pattern that matches; a layer that none matches stays dense.

    Args:
        sizes: name -> number of weights.
        sparsities: shell pattern over parameter names and module paths -> sparsity in [0, 1).

    Raises:
        InputError: if a pattern matches nothing or a sparsity is outside [0, 1).
    """
    for pattern, sparsity in sparsities.items():
        check_sparsity(sparsity, where=f"allocation[{pattern!r}]")
    check_patterns("allocation", sparsities, {path for name in sizes for path in paths_above(name)})
    counts = dict.fromkeys(sizes, 0)
    for name, size in sizes.items():
        first = next((s for pattern, s in sparsities.items() if matches((name,), (pattern,))), 0.0)
        counts[name] = round(size * first)
    return counts


def rounded_counts(
    shares: Mapping[str, Fraction],
    caps: Mapping[str, int],
    num_pruned: int,
    *,
    previous: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Integers next to `shares` that sum to `num_pruned`, by largest remainder, at least `previous`, at most `caps`.

    A count differs from its share by less than one, unless that would revive a pruned entry of another layer.

    Raises:
        InputError: if a layer has already lost more than its share rounded up.
    """
    before = {name: (previous or {}).get(name, 0) for name in shares}
    over = [
        f"{name} ({before[name]} pruned, its share is {float(share):.1f})"
        for name, share in shares.items()
        if before[name] > math.ceil(share)
    ]
    if over:
        raise InputError(
            f"the previous masks already prune more than the allocation gives to {', '.join(over)}; pruned entries are "
            "never revived, so use the allocation that made the previous masks, or a higher sparsity"
        )
    counts = {name: max(math.floor(share), before[name]) for name, share in shares.items()}
    while missing := num_pruned - sum(counts.values()):
        step = 1 if missing > 0 else -1
        movable = [n for n in counts if (counts[n] < caps[n] if step > 0 else counts[n] > before[n])]
        movable.sort(key=lambda name: step * (counts[name] - shares[name]))  # stable: earlier layers first
        if not movable:
            raise InputError(f"cannot prune {num_pruned} of {sum(caps.values())}: no layer can take the rest")
        for name in movable[: abs(missing)]:
            counts[name] += step
    return counts
