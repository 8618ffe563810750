"""Sentences about values that need no model of ours: a majority class, a linear model, a floor of the metric itself.

They say whether a result is good for anything at all. A reference is one number without a spread, so the interval of a
difference is that of the model alone.
"""

import math
from collections.abc import Sequence

from paretorch.evidence.arms import Arm
from paretorch.evidence.statistics import mean_interval
from paretorch.evidence.words import Metric, listing, plural, seeds


def references_of(arms: Sequence[Arm]) -> dict[str, float]:
    """Name -> value of the metric on the test data, the mean over the runs that state it."""
    found: dict[str, list[float]] = {}
    for run in (run for arm in arms for run in arm.runs):
        for name, value in run.references.items():
            found.setdefault(name, []).append(value)
    return {name: math.fsum(values) / len(values) for name, values in found.items()}


def reference_sentences(arms: Sequence[Arm], baseline: Arm | None) -> list[str]:
    """The references, the dense model beside each, and the compressed arms that do not beat one; [] without any."""
    references = references_of(arms)
    if not references:
        return []
    metric = arms[0].metric
    named = listing([f"{name} {metric.value(value)}" for name, value in references.items()])
    sentences = [f"On the same test data, without any of these models: {named} ({metric.direction})."]
    dense = None if baseline is None else baseline.quality
    for name, value in references.items():
        if baseline is not None and dense is not None:
            sentences.append(f"The dense model is {_against(baseline, metric, value)} than {name}.")
        failing = [arm.label for arm in arms if not arm.is_baseline and _falls_short(arm, metric, value)]
        if failing and (dense is None or metric.better(dense.mean, value)):
            verb = "is" if len(failing) == 1 else "are"
            sentences.append(
                f"{plural(len(failing), 'arm')} {verb} no better than {name}, by the means: {listing(failing)}."
            )
    return sentences


def _against(arm: Arm, metric: Metric, value: float) -> str:
    gap = mean_interval([quality - value for quality in arm.values(lambda run: run.quality).values()])
    if gap.low is None:
        bounds = "one seed gives no interval, so no difference can be claimed"
    else:
        none = " contains 0: no difference can be claimed" if gap.contains(0.0) else ""
        bounds = f"95 % interval {metric.ends(gap)} over {seeds(gap.n)}{none}"
    return f"{metric.difference(gap.mean)} ({bounds})"


def _falls_short(arm: Arm, metric: Metric, value: float) -> bool:
    return arm.quality is not None and not metric.better(arm.quality.mean, value)
