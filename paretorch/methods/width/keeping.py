"""Which units stay under a budget: the most important ones of each group, so many that no cap is exceeded.

    uniform    w_g = the allowed width nearest to ratio * n_g (halves go up), with the largest ratio that fits
    global     steps of `round_to` units in the order of their mean importance, all groups in one ranking; the fewest
               steps after which every cap holds

Costs are the exact polynomials of the groups, counted again for every candidate: both grow with every width, so the
largest model that fits is found by bisection over finitely many candidates. A width is a multiple of `round_to` or the
full size, and at least `min_ratio` of it: a ranking across groups would otherwise take whole layers.

Sources: uniform and global ratios as in Torch-Pruning (Fang et al., CVPR 2023), here under exact caps.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.width.groups import Profile, WidthGroups
from paretorch.methods.width.reorder import checked_importance


def keep_within(
    groups: WidthGroups,
    importance: Sequence[Tensor],
    *,
    params: int | None = None,
    macs: int | None = None,
    ratio: float | None = None,
    spread: Literal["uniform", "global"] = "uniform",
    round_to: int = 1,
    min_ratio: float = 0.125,
) -> tuple[Tensor, ...]:
    """The units of each group to keep, for `plan_cut`.

    Args:
        groups: of the model.
        importance: for each group, (size,), as `unit_importance` gives it.
        params: at most so many parameters.
        macs: at most so many MACs of one example.
        ratio: fraction of the units that stay, in (0, 1]: of each group ("uniform", the nearest allowed width), or at
            most so many of all groups together ("global"). With a cap beside it, at most that fraction.
        spread: "uniform" (the same fraction of each group) or "global" (one ranking).
        round_to: widths are multiples of it, or the full size.
        min_ratio: the smallest fraction of a group that stays, in (0, 1]; never less than `round_to` units.

    Returns:
        For each group, int64 (kept,), increasing. Of equally important units the first stay.

    Raises:
        InputError: without a budget, for numbers out of range, importance that does not fit the groups, and a budget
            that no model meets, with the smallest value that one does.
    """
    scores = checked_importance(groups, importance)
    _check(params=params, macs=macs, ratio=ratio, spread=spread, round_to=round_to, min_ratio=min_ratio)
    allowed = [_allowed(size, round_to, min_ratio) for size in groups.full]
    limits = _limits(groups, params=params, macs=macs)
    if spread == "global" and ratio is not None:
        limits["units"] = (sum, round(ratio * sum(groups.full)))
    _require_reachable(tuple(widths[0] for widths in allowed), limits)
    if spread == "uniform":
        widths = _uniform(groups, limits, allowed, ratio=ratio)
    else:
        widths = _global(groups, limits, allowed, scores)
    orders = (score.argsort(descending=True, stable=True) for score in scores)
    return tuple(order[:width].sort().values for order, width in zip(orders, widths, strict=True))


Limits = dict[str, tuple[Callable[[Profile], int], int]]
"""Name -> cost of a profile and its cap."""


def _limits(groups: WidthGroups, *, params: int | None, macs: int | None) -> Limits:
    limits: Limits = {}
    if params is not None:
        limits["params"] = (groups.num_params, params)
    if macs is not None:
        limits["macs"] = (groups.num_macs, macs)
    return limits


def _fits(profile: Profile, limits: Limits) -> bool:
    return all(cost(profile) <= cap for cost, cap in limits.values())


def _require_reachable(smallest: Profile, limits: Limits) -> None:
    for name, (cost, cap) in limits.items():
        if cost(smallest) > cap:
            raise InputError(
                f"{name}={cap} cannot be reached: the smallest model that min_ratio and round_to allow has {name}="
                f"{cost(smallest)}. Raise the budget, or lower min_ratio or round_to."
            )


def _uniform(groups: WidthGroups, limits: Limits, allowed: Sequence[Sequence[int]], *, ratio: float | None) -> Profile:
    """The widths of the largest ratio that fits, or of `ratio` if that fits."""
    middles = [[Fraction(a + b, 2) for a, b in pairwise(widths)] for widths in allowed]

    def widths(part: Fraction) -> Profile:
        # The nearest width that is allowed: the one whose middles to its neighbours enclose part * size.
        return tuple(
            of[bisect_right(middle, part * size)]
            for of, middle, size in zip(allowed, middles, groups.full, strict=True)
        )

    wanted = Fraction(1) if ratio is None else Fraction(str(ratio))
    if _fits(widths(wanted), limits):
        return widths(wanted)
    changes = {middle / size for size, of in zip(groups.full, middles, strict=True) for middle in of}
    parts = [Fraction(0), *sorted(part for part in changes if part <= wanted)]
    return widths(parts[bisect_left(parts, True, key=lambda part: not _fits(widths(part), limits)) - 1])


def _global(groups: WidthGroups, limits: Limits, allowed: Sequence[Sequence[int]], scores: Sequence[Tensor]) -> Profile:
    """The widths after the fewest steps down the ranking of all groups."""
    steps = []
    for g, widths in enumerate(allowed):
        ascending = scores[g].sort().values
        for left, before in pairwise(widths):
            gone = ascending[len(ascending) - before : len(ascending) - left]
            steps.append((float(gone.mean()), g, -left))  # of equal ones in a group, the wider comes first
    steps.sort()

    def after(count: int) -> Profile:
        profile = list(groups.full)
        for _, g, negative in steps[:count]:
            profile[g] = min(profile[g], -negative)
        return tuple(profile)

    return after(bisect_left(range(len(steps) + 1), True, key=lambda count: _fits(after(count), limits)))


def _allowed(size: int, round_to: int, min_ratio: float) -> list[int]:
    """The widths that a group may have, increasing: multiples of `round_to` from `min_ratio * size`, and `size`."""
    least = max(1, math.ceil(Fraction(str(min_ratio)) * size / round_to)) * round_to
    return [*range(least, size, round_to), size]


def _check(
    *, params: int | None, macs: int | None, ratio: float | None, spread: str, round_to: int, min_ratio: float
) -> None:
    if params is None and macs is None and ratio is None:
        raise InputError("no budget was given; say params, macs or ratio")
    if spread not in ("uniform", "global"):
        raise InputError(f"spread must be 'uniform' or 'global'; got {spread!r}")
    if type(round_to) is not int or round_to < 1:
        raise InputError(f"round_to is a number of units of at least 1; got {round_to!r}")
    for name, part in (("ratio", ratio), ("min_ratio", min_ratio)):
        if part is not None and not 0 < part <= 1:
            raise InputError(f"{name} is a fraction of the units in (0, 1]; got {part!r}")
