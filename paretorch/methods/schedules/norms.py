"""How hard a pruning step hit: the relative norm drop, from which ALLR takes its peak learning rate.

    d1 = sqrt(removed_square) / (sqrt(total_square) * sqrt(s))       s = fraction of the remaining weights removed now
    d  = min(1, max(d1, d2))                                         d2 = retraining epochs of the phase / dense epochs

The s * N smallest of N magnitudes carry at most the fraction s of the squared norm, with equality iff all are equal. So
d1 is in [0, 1] for magnitude pruning, hence the normaliser sqrt(s) and not sqrt(1 - s). Source: Zimmer, Spiegel and
Pokutta (ICLR 2023), equation (1). Deviation: squares of the removed entries are summed in float64, where the authors'
code subtracts two float32 norms. In iterative pruning s is the fraction of one phase, not the final sparsity.
"""

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from paretorch.errors import InputError, NoEffectWarning

NormScope = Literal["prunable", "all"]


def norm_drop(*, total_square: float, removed_square: float, fraction: float) -> float:
    """The relative norm drop d1 = sqrt(removed_square / (total_square * fraction)).

    Args:
        total_square: squared norm of the model before this pruning step (see `total_square`).
        removed_square: sum of squares of the weights that this step set to zero (see `removed_square`).
        fraction: weights removed by this step over weights that were left before it, in [0, 1].

    Returns:
        d1 >= 0; at most 1 if the smallest magnitudes were removed. 0 where nothing was removed or all weights are 0.

    Raises:
        InputError: for a negative or non-finite square, more removed than there was, or a fraction outside [0, 1].
    """
    for name, value in (("total_square", total_square), ("removed_square", removed_square)):
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name} is a sum of squares, a finite number >= 0; got {value}")
    if not 0 <= fraction <= 1:
        raise InputError(f"fraction is weights removed now over weights left before, in [0, 1]; got {fraction}")
    if removed_square > total_square * (1 + 1e-9):
        raise InputError(
            f"removed_square {removed_square} exceeds total_square {total_square}: the norm must be taken before "
            f"pruning, over at least the weights that were pruned"
        )
    if fraction == 0 and removed_square > 0:
        raise InputError(f"removed_square is {removed_square} although fraction is 0: nothing was removed")
    if removed_square == 0:
        return 0.0
    return math.sqrt(removed_square / (total_square * fraction))


def norm_drop_of(
    model: nn.Module,
    *,
    masks: Mapping[str, Tensor],
    previous: Mapping[str, Tensor] | None = None,
    scope: NormScope = "prunable",
) -> float:
    """The relative norm drop d1 of pruning `model` with `masks`; call it before the masks are applied.

    Args:
        model: holds the weights from before this pruning step; not changed.
        masks: bool, True = kept, by parameter name, after this pruning step.
        previous: the masks before it; None if this is the first.
        scope: weights over which the norm is taken, as in `total_square`.

    Raises:
        InputError: as for `total_square`, `removed_square` and `norm_drop`.

    Warns:
        NoEffectWarning: if the weights to be removed are all zero, as they are once the masks were applied.
    """
    before = previous or {}
    remaining = sum(int(before.get(name, torch.ones_like(mask)).count_nonzero()) for name, mask in masks.items())
    num_removed = remaining - sum(int(mask.count_nonzero()) for mask in masks.values())
    removed = removed_square(
        dict(model.named_parameters(remove_duplicate=False)), kept_before=previous, kept_after=masks
    )
    if num_removed and not removed:
        warnings.warn(
            f"the {num_removed} weights that this step removes are zero already, so its norm drop is 0; take the norm "
            "drop before the masks are applied",
            NoEffectWarning,
            stacklevel=2,
        )
    return norm_drop(
        total_square=total_square(model, names=list(masks), scope=scope),
        removed_square=removed,
        fraction=num_removed / remaining if remaining else 0.0,
    )


def adaptive_factor(*, norm_drop: float, budget_ratio: float) -> float:
    """ALLR's factor on the dense run's peak, d = min(1, max(norm_drop, budget_ratio)).

    Args:
        norm_drop: d1, >= 0.
        budget_ratio: d2, epochs of this retraining phase over epochs of the dense run, >= 0.

    Raises:
        InputError: for a negative or non-finite number.
    """
    for name, value in (("norm_drop", norm_drop), ("budget_ratio", budget_ratio)):
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name} must be a finite number >= 0; got {value}")
    return min(1.0, max(norm_drop, budget_ratio))


def total_square(model: nn.Module, *, names: Iterable[str] = (), scope: NormScope = "prunable") -> float:
    """Squared Euclidean norm of the weights, summed in float64.

    Args:
        model: the model before this pruning step, already pruned entries at zero.
        names: full names of the prunable parameters, for scope "prunable"; ignored for "all".
        scope: "prunable" (the named parameters, for which d1 reaches 1) or "all": every `weight` and `bias` of every
            module, normalisation layers included, a tensor shared by two modules counted twice. "all" is what the
            authors' code does; it makes d1 about half as large on ResNet-56 at initialisation.

    Raises:
        InputError: for an unknown scope or name, no names, or a weight that is NaN or infinite.
    """
    if scope == "all":
        found = {
            f"{prefix}.{kind}".lstrip("."): value
            for prefix, module in model.named_modules()
            for kind in ("weight", "bias")
            if isinstance(value := getattr(module, kind, None), Tensor)
        }
        return sum(_square(name, value) for name, value in found.items())
    if scope != "prunable":
        raise InputError(f"scope {scope!r} is unknown; choose 'prunable' or 'all'")
    wanted = list(names)
    if not wanted:
        raise InputError("scope 'prunable' needs the names of the prunable parameters; got none")
    parameters = dict(model.named_parameters(remove_duplicate=False))
    if missing := [name for name in wanted if name not in parameters]:
        raise InputError(f"the model has no parameter named {missing[0]!r}; names are those of named_parameters()")
    return sum(_square(name, parameters[name]) for name in wanted)


def removed_square(
    parameters: Mapping[str, Tensor], *, kept_before: Mapping[str, Tensor] | None, kept_after: Mapping[str, Tensor]
) -> float:
    """Sum of squares of the entries that were kept before and are not kept after, in float64.

    Args:
        parameters: weights by name, values from before this pruning step; may hold more names than the masks.
        kept_before: bool masks by name, True = kept; None or a name left out: all of it was kept.
        kept_after: bool masks by name after this pruning step.

    Raises:
        InputError: for a mask without a parameter, a wrong shape or dtype, or a removed entry that is NaN or infinite.
    """
    before = kept_before or {}
    if unknown := sorted(before.keys() - kept_after.keys()):
        raise InputError(f"kept_before has a mask for {unknown[0]!r} and kept_after has none; a mask cannot disappear")
    total = 0.0
    for name, after in kept_after.items():
        if name not in parameters:
            raise InputError(f"there is a mask for {name!r} and no parameter of that name")
        weight = parameters[name].detach()
        removed = ~_checked_mask(name, after, weight)
        if name in before:
            removed = removed & _checked_mask(name, before[name], weight)
        total += _square(name, weight[removed])
    return total


def _checked_mask(name: str, mask: Tensor, weight: Tensor) -> Tensor:
    if mask.dtype != torch.bool or mask.shape != weight.shape:
        raise InputError(
            f"the mask of {name!r} is {mask.dtype} of shape {tuple(mask.shape)}; expected torch.bool of shape "
            f"{tuple(weight.shape)}, True = kept"
        )
    return mask.to(weight.device)


def _square(name: str, values: Tensor) -> float:
    square = float(values.detach().double().square().sum())
    if not math.isfinite(square):
        raise InputError(f"parameter {name!r} holds NaN or infinite values, so its norm is undefined")
    return square
