"""Whether two methods multiply: what both together gain, against the product of what each gains alone.

    ln I = ln S-bar_AB - ln S-bar_A - ln S-bar_B      0: they multiply;  below 0: each takes of the other's gain

All four families (both methods, each alone, the baseline) are averaged over the one range of qualities that every seed
of all of them passes through, and paired by seed. Methods that relieve different bottlenecks tend to multiply, two
regularisers tend to cancel. At a single quality near the plateau the interaction is mostly noise, so there is no such
form here.
"""

import math
from dataclasses import dataclass

from paretorch.errors import NotComparableError
from paretorch.evidence.comparable import check_comparable
from paretorch.evidence.curves import average_ratio, common_range
from paretorch.evidence.families import Axis, Family, Scope
from paretorch.evidence.statistics import Interval, mean_interval, ratio_interval


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """What two methods do to each other.

    Args:
        log: mean over the seeds of ln S_AB - ln S_A - ln S_B.
        both, first, second: the average ratio of each family over its baseline, above 1 cheaper.
        range: (q_lo, q_hi), the qualities averaged over.
    """

    log: Interval
    both: Interval
    first: Interval
    second: Interval
    range: tuple[float, float]

    @property
    def product(self) -> float:
        """What `both` would be without interaction."""
        return self.first.mean * self.second.mean


def log_interaction(both: float, first: float, second: float) -> float:
    """ln(both / (first * second)) of three ratios, all above 0."""
    return math.log(both) - math.log(first) - math.log(second)


def interaction(
    both: Family,
    first: Family,
    second: Family,
    *,
    baseline: Family,
    axis: Axis = "seconds",
    scope: Scope = "total",
    confidence: float = 0.95,
) -> Interaction:
    """The interaction of two methods.

    Args:
        both: both methods together.
        first, second: each alone.
        baseline: neither.
        axis, scope, confidence: as `compare_families`.

    Raises:
        NotComparableError: as `compare_families`, or no quality that every seed of all four passes through.
        InputError: as `Family.curve`.
    """
    families = (both, first, second, baseline)
    seeds = check_comparable(families, axis=axis)
    curves = [{seed: family.curve(seed, axis=axis, scope=scope) for seed in seeds} for family in families]
    span = common_range(curve for of_family in curves for curve in of_family.values())
    if span is None:
        names = ", ".join(repr(family.label) for family in families)
        raise NotComparableError(
            f"there is no quality that every seed of {names} passes through; add shorter runs of the better ones and "
            "longer runs of the others"
        )
    ratios = [
        {seed: average_ratio(of_family[seed], curves[3][seed], quality_range=span) for seed in seeds}
        for of_family in curves[:3]
    ]
    alone = [ratio_interval(found, dict.fromkeys(found, 1.0), confidence=confidence) for found in ratios]
    logs = [log_interaction(ratios[0][seed], ratios[1][seed], ratios[2][seed]) for seed in seeds]
    return Interaction(
        log=mean_interval(logs, confidence=confidence), both=alone[0], first=alone[1], second=alone[2], range=span
    )
