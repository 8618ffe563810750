"""Which weights of a layer exist: a random start, and the exchange of a few for others, as RigL does it.

    f(t) = alpha / 2 (1 + cos(pi t / t_end))                 the fraction exchanged at step t < t_end
    k    = round(f(t) n)                                     n weights exist in the layer, at all times
    drop   the k of smallest |w| among those that exist
    grow   the k of largest |gradient| among those that do not exist after the drop

So a weight that was dropped may be grown in the same exchange, if its gradient is large enough: it then stays as it
was. All others that grow start at zero. Ties go by position: of equal weights the first is dropped, of equal gradients
the last is grown. A dense layer has nothing to exchange.

Source: Evci et al., ICML 2020, section 3 and Algorithm 1. What becomes of a weight that is dropped and grown at once is
as in the authors' code. Deviations: the code rounds k down and adds a little noise to |w| before it ranks.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.sparsity.allocation import erk_counts, uniform_counts
from paretorch.methods.sparsity.ranking import require_finite
from paretorch.methods.sparsity.scores import random_scores
from paretorch.methods.sparsity.selection import select

ALLOCATIONS = ("erk", "uniform")


def drop_fraction(step: int, *, last: int, alpha: float) -> float:
    """f(t), the fraction of a layer's weights that is exchanged at step `step`; 0 from step `last` on.

    Args:
        step: t, from 0.
        last: t_end.
        alpha: f(0), in (0, 1].
    """
    return alpha / 2 * (1 + math.cos(math.pi * step / last)) if step < last else 0.0


def exchanged(weight: Tensor, gradient: Tensor, mask: Tensor, count: int) -> Tensor:
    """The mask of one layer after `count` of its weights were dropped and as many grown.

    Args:
        weight, gradient: any shape, floating point; the gradient is that of all weights, also of absent ones.
        mask: bool, the same shape, True = exists.
        count: k, at most the number of weights that exist.

    Returns:
        A new mask with as many True entries as the old one.

    Raises:
        InputError: for NaN or infinite weights or gradients, or a count that is too large.
    """
    if not 0 <= count <= (existing := int(mask.count_nonzero())):
        raise InputError(
            f"between 0 and {existing} weights of this layer can be dropped, as many as exist; got {count}"
        )
    absent = mask.numel() - existing
    left = select({"weight": weight}, absent + count, previous={"weight": mask}, absolute=True)["weight"]
    candidates = gradient[~left]
    grown = select({"gradient": candidates}, absent, absolute=True)["gradient"]
    left[~left] = grown
    return left


def random_masks(
    parameters: Mapping[str, nn.Parameter], num_pruned: int, *, allocation: str, seed: int
) -> dict[str, Tensor]:
    """Random masks, True = exists, in which every layer has exactly the number of weights the allocation gives it.

    Args:
        parameters: name -> parameter.
        num_pruned: weights that are absent, in all layers together.
        allocation: "erk" or "uniform".
        seed: of the draw; the masks are a function of it, the names and the shapes.

    Raises:
        InputError: as `absent_counts`, and for NaN or infinite weights.
    """
    masks: dict[str, Tensor] = {}
    shapes = {name: parameter.shape for name, parameter in parameters.items()}
    for name, count in absent_counts(shapes, num_pruned, allocation=allocation).items():
        weight = parameters[name].detach()
        require_finite(name, weight)
        masks |= select({name: random_scores(weight, name=name, seed=seed)}, count)
    return masks


def absent_counts(shapes: Mapping[str, torch.Size], num_pruned: int, *, allocation: str) -> dict[str, int]:
    """Name -> how many weights of the layer are absent; they add up to `num_pruned`.

    Raises:
        InputError: for an unknown allocation, or a layer that would be left without any weight.
    """
    if allocation not in ALLOCATIONS:
        raise InputError(f"unknown allocation {allocation!r}; expected one of {', '.join(ALLOCATIONS)}")
    sizes = {name: shape.numel() for name, shape in shapes.items()}
    counts = erk_counts(shapes, num_pruned) if allocation == "erk" else uniform_counts(sizes, num_pruned)
    if empty := [name for name, count in counts.items() if count == sizes[name]]:
        raise InputError(
            f"allocation {allocation!r} leaves no weight in {', '.join(empty)} when {num_pruned} of "
            f"{sum(sizes.values())} are absent, and a layer without weights can never grow one; take a lower sparsity, "
            f"{'' if allocation == 'erk' else 'allocation=erk, '}or exclude the layer"
        )
    return counts


@torch.no_grad()
def exchange(parameters: Mapping[str, nn.Parameter], masks: Mapping[str, Tensor], fraction: float) -> dict[str, Tensor]:
    """New masks of all layers, with `round(fraction * n)` of each layer's n weights exchanged.

    A dense layer, and one whose parameter has no gradient now, keep their masks.
    """
    after: dict[str, Tensor] = {}
    for name, mask in masks.items():
        parameter = parameters[name]
        mask = mask.to(parameter.device)
        existing = int(mask.count_nonzero())
        count = round(fraction * existing)
        if parameter.grad is not None and existing < mask.numel() and count > 0:
            mask = exchanged(parameter.detach(), parameter.grad, mask, count)
        after[name] = mask
    return after
