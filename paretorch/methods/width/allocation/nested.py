"""Of many profiles, the best chain in which each is nested in the one before: a family that shares one set of weights.

A chain w_1 >= w_2 >= ... serves every budget with its largest member that fits. It is chosen so that the loss, summed
over all budgets between the dearest and the cheapest profile, is least:

    minimise  sum over consecutive i -> j of e_j (c_i - c_j),   every w_j <= w_i in every group

the shortest path in a graph without circles, O(F^2 G) for F profiles of G groups. FlexRank (Zaccone et al., ICML 2026)
filters greedily from the dearest profile down, which is never better and usually worse.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paretorch.errors import InputError
from paretorch.methods.width.allocation.costs import Number
from paretorch.methods.width.groups import Profile


@dataclass(frozen=True, kw_only=True)
class Point:
    """A profile, its exact cost and its loss (predicted or measured, but all of one kind)."""

    profile: Profile
    cost: Number
    loss: float


def best_nested_chain(points: Sequence[Point]) -> tuple[Point, ...]:
    """The nested chain of least area below its step curve, from the greatest cost to the least.

    It ends at the cheapest point, so that no budget which a point can serve goes unserved.

    Raises:
        InputError: if there is no point, or profiles differ in length.
    """
    if not points:
        raise InputError("there is no profile to build a nested chain from; give at least one point")
    if len(lengths := {len(point.profile) for point in points}) > 1:
        raise InputError(f"profiles of one chain have one length; got lengths {sorted(lengths)}")
    ordered = sorted(points, key=lambda point: (-point.cost, point.loss))
    profiles = np.array([point.profile for point in ordered])
    costs = np.array([point.cost for point in ordered], dtype=np.float64)
    losses = np.array([point.loss for point in ordered])
    areas = losses * (costs[0] - costs)  # chains of this point alone: it also serves all greater budgets
    before = np.full(len(ordered), -1)
    for j in range(1, len(ordered)):
        above = np.flatnonzero((profiles[:j] >= profiles[j]).all(axis=1))
        if len(above):
            through = areas[above] + losses[j] * (costs[above] - costs[j])
            if through.min() <= areas[j]:  # of equal areas the longer chain
                areas[j], before[j] = through.min(), above[through.argmin()]
    at = len(ordered) - 1
    at = int(np.flatnonzero(costs == costs[at])[losses[costs == costs[at]].argmin()])
    chain = [at]
    while before[chain[-1]] >= 0:
        chain.append(int(before[chain[-1]]))
    return tuple(ordered[i] for i in reversed(chain))
