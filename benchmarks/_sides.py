"""What paired differences say in words, and no more.

    verdict("SMS minus IMP", {"90 %": figure, "95 %": figure})
    "SMS minus IMP: above 0 at 90 %, not told apart from 0 at 95 %."

A difference lies above or below 0 only where its 95 % interval excludes 0. How many of the differences chance alone
would put there is said once, by `chance`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from paretorch.evidence.statistics import LOW_N
from paretorch.evidence.words import listing

ABOVE, BELOW, APART = "above 0", "below 0", "not told apart from 0"


def side(gap: Mapping[str, Any]) -> str:
    """Where a paired difference lies: `ABOVE`, `BELOW` or `APART`."""
    if gap["low"] is None or gap["low"] <= 0 <= gap["high"]:
        return APART
    return ABOVE if gap["mean"] > 0 else BELOW


def verdict(name: str, gaps: Mapping[str, Mapping[str, Any]]) -> str:
    """One sentence about one difference in several settings.

    Args:
        name: of the difference.
        gaps: figures by the words for their setting; not empty.
    """
    sides: dict[str, list[str]] = {ABOVE: [], BELOW: [], APART: []}
    for setting, gap in gaps.items():
        sides[side(gap)].append(setting)
    parts = [f"{words} at {listing(settings)}" for words, settings in sides.items() if settings]
    few = " Few seeds: low-n." if any(gap["n"] < LOW_N for gap in gaps.values()) else ""
    return f"{name}: {', '.join(parts)}.{few}"


def chance(gaps: Sequence[Mapping[str, Any]]) -> str:
    """How many of these differences would exclude 0 if there were none."""
    return (
        f"Intervals are not adjusted: of {len(gaps)} paired differences, chance alone would make about "
        f"{len(gaps) / 20:.1f} exclude 0; {sum(side(gap) != APART for gap in gaps)} do."
    )
