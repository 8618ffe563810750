"""Sentences about what compression broke, from the `side_effects` of run records.

A warning is due where the mean holds (the accuracy over all test examples fell by at most 1 point) and yet a class lost
more than 5 points: then the headline hides it. It rests on one pair of models, so it says on how many examples.
"""

from collections.abc import Mapping
from typing import Any

from paretorch.evidence.words import minus, plural

HOLDS = 1  # points by which the mean may fall
COLLAPSE = 5  # points; a class that loses more is named
FEW = 100  # examples of a class, below which one of them is a point or more


def collapse_warning(effects: Mapping[str, Any]) -> str | None:
    """The sentence about a class that was lost while the mean held; None where there is none, or no classes at all.

    Args:
        effects: "per_class", "worst_class" and "mean_change" of one run.
    """
    if "per_class" not in effects:
        return None
    classes = effects["per_class"]
    place = classes["labels"].index(effects["worst_class"]["label"])
    lost, gained, count = (classes[name][place] for name in ("lost", "gained", "counts"))
    fallen = sum(classes["lost"]) - sum(classes["gained"])
    # In whole examples: 5 of 100 are not more than 5 points, whatever their quotient is in binary.
    if 100 * fallen > HOLDS * sum(classes["counts"]) or 100 * (lost - gained) <= COLLAPSE * count:
        return None
    few = f"; with {count} examples, one of them is {100 / count:.1f} points" if count < FEW else ""
    return (
        f"the mean hides a loss: class {classes['labels'][place]!r} falls from {_percent(classes['dense'][place])} to "
        f"{_percent(classes['candidate'][place])} on its {plural(count, 'test example')} ({lost} newly wrong, {gained} "
        f"newly right), while the accuracy over all changes by {_points(effects['mean_change'])} points{few}"
    )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _points(change: float) -> str:
    """'+1.2' or '−0.4', points of a percentage."""
    return minus(f"{100 * change:+.1f}")
