"""PePR: performance per resource unit, with anchors that are declared and not taken from the models at hand.

    PePR = P / (1 + R_hat),     R_hat = (R - low) / (high - low),   or on the logarithm, ln(R / low) / ln(high / low)

In [P / 2, P]: a model at the low anchor keeps P, one at the high anchor halves it. The paper takes the smallest and the
largest resource of the compared models as anchors; one huge model then raises everybody's score. Here the anchors are
arguments, and a model outside them is refused. Scores with different anchors or scales are not comparable.

Deviation from the paper: fixed anchors, and the logarithmic scale for resources that span decades.

Source: Selvan, Pepin, Igel, Samuel, Dam, "PePR: performance per resource unit as a metric to promote small-scale deep
learning in medical image analysis" (arXiv:2403.09441).
"""

import math
from typing import Literal

from paretorch.errors import InputError


def pepr(
    performance: float,
    resource: float,
    *,
    low: float,
    high: float,
    scale: Literal["linear", "logarithmic"] = "linear",
) -> float:
    """Performance discounted by the resource it takes.

    Args:
        performance: quality in [0, 1], higher is better.
        resource: energy, carbon, time, memory, ..., in the unit of the anchors.
        low, high: declared anchors, low < high, chosen for everything that will ever be compared, e.g. the smallest
            useful model and the largest affordable one; low > 0 on the logarithmic scale.
        scale: how the resource counts between the anchors.

    Raises:
        InputError: performance outside [0, 1], anchors that are no interval, a resource outside them, or an unknown
            scale.
    """
    if not 0 <= performance <= 1:
        raise InputError(f"performance is a fraction in [0, 1], got {performance}")
    if scale not in ("linear", "logarithmic"):
        raise InputError(f"scale is 'linear' or 'logarithmic', got {scale!r}")
    if not 0 <= low < high < math.inf or (scale == "logarithmic" and low == 0):
        raise InputError(f"anchors need 0 <= low < high, and low > 0 on the logarithmic scale, got {low} and {high}")
    if not low <= resource <= high:
        raise InputError(
            f"the resource {resource} lies outside the declared anchors [{low}, {high}]; declare anchors that hold all "
            "models, and compute all scores again with them"
        )
    if scale == "logarithmic":
        low, high, resource = math.log(low), math.log(high), math.log(resource)
    return performance / (1 + (resource - low) / (high - low))
