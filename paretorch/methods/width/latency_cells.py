"""One timed size of a layer: the least of many runs, and whether the machine was quiet enough to trust it.

Not certified is a cell whose median is above 1.2 times its 5th percentile, or whose runs fall into two groups more than
3 times apart: a convolution on two threads of a busy machine took either 0.15 or 80 ms.
"""

from dataclasses import dataclass

import numpy as np

from paretorch.methods.width.allocation.costs import Array

MAX_SPREAD = 1.2  # median over 5th percentile
MAX_MODES = 3.0  # upper over lower mode
SMALLEST_MODE = 0.1  # of the runs


@dataclass(frozen=True)
class Cell:
    """One timed size: least and median seconds of `n` runs, and why they are not to be trusted, "" if they are."""

    min_s: float
    p50_s: float
    n: int
    warning: str = ""


def cell_of(samples_s: Array) -> Cell:
    """Judge the seconds of all runs, float64 (n,)."""
    ordered = np.sort(samples_s)
    p5, p50 = np.quantile(ordered, [0.05, 0.5]).tolist()
    reasons = []
    if p50 > MAX_SPREAD * p5:
        reasons.append(f"the median run took {p50 / p5:.2f} times the 5th percentile, above {MAX_SPREAD:g}")
    if (apart := _modes_apart(ordered)) > MAX_MODES:
        reasons.append(f"the runs fall into two groups of which one took {apart:.1f} times as long")
    return Cell(float(ordered[0]), p50, len(ordered), "; ".join(reasons))


def _modes_apart(ordered: Array) -> float:
    """Upper over lower median when the runs are split at their widest relative gap; 1 if one side is too small."""
    least = max(1, round(SMALLEST_MODE * len(ordered)))
    splits = range(least, len(ordered) - least + 1)
    if not splits:
        return 1.0
    at = max(splits, key=lambda i: ordered[i] / ordered[i - 1])
    return float(np.median(ordered[at:]) / np.median(ordered[:at]))
