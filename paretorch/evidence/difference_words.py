"""A paired difference between two arms in words: its size, its interval, and what may be claimed of its sign."""

from paretorch.evidence.arms import Arm
from paretorch.evidence.statistics import Interval
from paretorch.evidence.words import seeds


def claim(interval: Interval | None) -> str:
    """'more', 'less' or 'none': what the interval of a paired difference lets one claim about its sign."""
    if interval is None or interval.contains(0.0):
        return "none"
    return "more" if interval.mean > 0 else "less"


def difference_words(arm: Arm, gap: Interval | None, other: str) -> str:
    """A paired difference to `other` in words, with its interval and what it lets one claim."""
    metric = arm.metric
    if gap is None:
        return f"and shares no finished seed with {other}, so the two are not compared"
    words = f"the same as {other} on average" if gap.mean == 0 else f"{metric.difference(gap.mean)} than {other}"
    if gap.low is None:
        return f"{words} in the one seed both ran; one seed gives no interval, so no difference can be claimed"
    bounds = f"95 % interval {metric.ends(gap)} over {seeds(gap.n)}"
    if claim(gap) == "none":
        return f"{words}, but the {bounds} contains 0: no difference can be claimed"
    return f"{words} ({bounds})"
