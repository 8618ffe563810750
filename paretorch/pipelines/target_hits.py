"""When a run's validation metric first met a target: the references of the task, such as guessing or a simple model.

Between two evaluations nobody looked, so the time is an interval; a run that never met a target says so and is kept.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from paretorch.evidence.censored import time_to_target


def target_hits(
    curves: Sequence[Mapping[str, Any]], targets: Mapping[str, float], *, higher_is_better: bool
) -> list[dict[str, Any]]:
    """The `hits` of a record.

    Args:
        curves: of the record, all phases on one axis of steps and seconds.
        targets: name -> value of the metric.
        higher_is_better: direction of the metric.
    """
    looked = [point for point in curves if point.get("validation") is not None]
    points = [(float(point["seconds"]), float(point["validation"])) for point in looked]
    # A phase without steps ends where the one before did: of looks at one moment the last one counts.
    at = dict(points)
    if not at:
        return []
    steps = {float(point["seconds"]): int(point["step"]) for point in looked}
    found = []
    for name, target in targets.items():
        reached = time_to_target(sorted(at.items()), target, higher_is_better=higher_is_better)
        found.append(
            {
                "name": name,
                "target": target,
                "step": None if reached.high is None else steps[reached.high],
                "t_lo": reached.low,
                "t_hi": reached.high,
            }
        )
    return found
