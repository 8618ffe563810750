"""Exact-count selection: which entries of many tensors are the `num_pruned` smallest, without concatenating them.

Entries are ordered by (score, tensor order, flat index) and the first `num_pruned` are pruned, so the count is exact
and ties are deterministic: of two equal scores the earlier one goes first. Ranking is in float32 whatever the storage
(float64 if a tensor is float64 or is computed lazily). Already pruned entries rank before all others, so masks that
are built on one another are nested. How the cut is found is in `ranking.py`.

Source: the count rule is that of `torch.nn.utils.prune` (round(amount * size)); cumulative targets over cycles follow
iterative magnitude pruning (Han et al. 2015; Frankle and Carbin 2019), rounded once per cycle instead of compounding.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.sparsity.ranking import Cut, Ranking, Scores


def target_count(num_weights: int, sparsity: float) -> int:
    """Entries to prune: `round(num_weights * sparsity)`, Python's rounding (halves to even).

    Args:
        num_weights: entries in total.
        sparsity: fraction removed, in [0, 1).

    Raises:
        InputError: for a sparsity outside [0, 1).
    """
    check_sparsity(sparsity)
    return round(num_weights * sparsity)


def check_sparsity(sparsity: float, where: str = "sparsity") -> None:
    """Refuse a sparsity outside [0, 1), saying what was probably meant."""
    if not isinstance(sparsity, (int, float)) or isinstance(sparsity, bool) or not 0 <= sparsity < 1:
        raise InputError(
            f"{where} is the fraction of weights removed, in [0, 1); got {sparsity!r}. For 90 % removed pass 0.9."
        )


def cumulative_counts(num_weights: int, sparsity: float, cycles: int) -> list[int]:
    """Entries pruned in total after each of `cycles` prunings that remove equal fractions of what remains.

        K_j = round(N * (1 - (1 - S)^(j / n))), j = 1..n, and K_n = round(N * S) exactly

    Iterative magnitude pruning; one cycle is one-shot pruning.

    Raises:
        InputError: for a sparsity outside [0, 1) or fewer than one cycle.
    """
    final = target_count(num_weights, sparsity)
    if cycles < 1:
        raise InputError(f"cycles is the number of prunings, at least 1; got {cycles}")
    return [round(num_weights * (1 - (1 - sparsity) ** (j / cycles))) for j in range(1, cycles)] + [final]


def select(
    scores: Scores, num_pruned: int, *, previous: Mapping[str, Tensor] | None = None, absolute: bool = False
) -> dict[str, Tensor]:
    """Bool masks, True = kept, in which exactly `num_pruned` entries are False: those with the smallest scores.

    Args:
        scores: name -> floating-point tensor of any shape (higher = keep), or name -> function that computes it. A
            function is called about four times and must return the same values each time; use it where all scores
            together would not fit.
        num_pruned: entries pruned in total, those of `previous` included.
        previous: name -> bool mask of the score's shape; its False entries stay pruned. A missing name is dense.
        absolute: rank by absolute value, taken chunk by chunk.

    Returns:
        name -> bool tensor of the score's shape on its device.

    Raises:
        InputError: for NaN or infinite scores, for `previous` pruning more than `num_pruned`, for names in `previous`
            that are not ranked, for shapes that differ, and for a count beyond the number of entries.
    """
    ranking = Ranking(scores, previous=previous, absolute=absolute)
    cut = ranking.cut(num_pruned)
    return {name: _mask(ranking, tensor, kept, cut, i) for i, (name, tensor, kept) in enumerate(ranking.tensors())}


def selected_counts(
    scores: Scores, num_pruned: int, *, previous: Mapping[str, Tensor] | None = None, absolute: bool = False
) -> dict[str, int]:
    """How many entries of each tensor `select` would prune, with the same arguments and errors."""
    cut = Ranking(scores, previous=previous, absolute=absolute).cut(num_pruned)
    return {name: below + ties for name, below, ties in zip(scores, cut.below, cut.ties_pruned, strict=True)}


def _mask(ranking: Ranking, tensor: Tensor, kept: Tensor | None, cut: Cut, index: int) -> Tensor:
    """The bool mask (True = kept) of tensor number `index`."""
    mask = torch.ones(tensor.shape, dtype=torch.bool, device=tensor.device)
    if cut.threshold is None:
        return mask if kept is None else mask.copy_(kept)
    flat, start = mask.view(-1), 0
    ties, ties_left = cut.ties[index], cut.ties_pruned[index]
    for chunk in ranking.chunks(tensor, kept):
        part = flat[start : start + chunk.numel()]
        start += chunk.numel()
        if ties_left == 0:
            torch.ge(chunk, cut.threshold, out=part)
            continue
        torch.gt(chunk, cut.threshold, out=part)
        if ties_left < ties:  # some ties of this tensor stay: the later ones
            tied = (chunk == cut.threshold).nonzero().flatten()
            part[tied[ties_left:]] = True
            ties, ties_left = ties - tied.numel(), max(0, ties_left - tied.numel())
    return mask
