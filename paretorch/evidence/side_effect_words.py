"""Sentences about what compression broke, from the `side_effects` of run records.

A warning is due where the mean holds (the accuracy over all test examples fell by at most 1 point) and yet a class lost
more than 5 points: then the headline hides it. It rests on one pair of models, so it says on how many examples.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from paretorch.evidence.records import RunRecord
from paretorch.evidence.side_effect_quantities import (
    affected,
    class_changes,
    corruption_changes,
    domain_changes,
    mean_effect,
    worst,
)
from paretorch.evidence.statistics import Interval
from paretorch.evidence.words import Metric, minus, plural

HOLDS = 1  # points by which the mean may fall
COLLAPSE = 5  # points; a class that loses more is named
FEW = 100  # examples of a class, below which one of them is more than a point
ACCURACY = Metric("accuracy", higher_is_better=True)
LOSS = Metric("loss", higher_is_better=False)


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
    before, after = (ACCURACY.value(classes[name][place]) for name in ("dense", "candidate"))
    return (
        f"the mean hides a loss: class {classes['labels'][place]!r} falls from {before} to {after} on its "
        f"{plural(count, 'test example')} ({lost} newly wrong, {gained} newly right), while "
        f"the accuracy over all changes by {_points(effects['mean_change'])} points{few}"
    )


def side_effect_sentences(groups: Mapping[str, Sequence[RunRecord]]) -> list[str]:
    """What compression broke, by the means over seeds, and every warning of a run; [] where no run says anything.

    Args:
        groups: runs by the name they are reported under, one run per seed; those without side effects are passed over.
    """
    sentences = []
    for label, runs in groups.items():
        found = [*_of_classes(runs), *_of_corruptions(runs), *_of_texts(runs)]
        if found:
            sentences.append(f"{label}, against its dense model: {'; '.join(found)}.")
        for run in affected(runs):
            sentences += [f"Warning, {label}, seed {run.seed}: {text}." for text in run.side_effects["warnings"]]
    return sentences


def _of_classes(runs: Sequence[RunRecord]) -> list[str]:
    rate, classes = mean_effect(runs, "disagreement", "rate"), class_changes(runs)
    if rate is None or not classes:
        return []
    found = [f"{disagreement_words(runs)} of the test examples get another class"]
    lowest, mean = worst(classes), mean_effect(runs, "mean_change")
    if len(classes) > 1 and lowest.change.mean < 0 and mean is not None:
        found.append(
            f"of {len(classes)} classes, {lowest.name!r} changes most for the worse, by "
            f"{ACCURACY.signed(lowest.change)} points on {plural(lowest.examples, 'example')}, all together by "
            f"{ACCURACY.signed(mean)}"
        )
    before, after = (mean_effect(runs, "calibration", name) for name in ("dense", "candidate"))
    if before is not None and after is not None:
        found.append(f"the calibration error goes from {ACCURACY.value(before.mean)} to {ACCURACY.value(after.mean)}")
    return found


def _of_corruptions(runs: Sequence[RunRecord]) -> list[str]:
    changes = corruption_changes(runs)
    if not changes:
        return []
    lowest = worst(changes)
    return [
        f"of {len(changes)} corruptions, {lowest.name} changes the accuracy most for the worse, by "
        f"{ACCURACY.signed(lowest.change)} points"
    ]


def _of_texts(runs: Sequence[RunRecord]) -> list[str]:
    changes, divergence = domain_changes(runs), mean_effect(runs, "kl")
    if not changes or divergence is None:
        return []
    lowest = worst(changes, higher_is_better=False)
    return [
        f"of {plural(len(changes), 'text')}, the loss changes most for the worse on {lowest.name}, by "
        f"{LOSS.signed(lowest.change)} nats per token",
        f"the divergence from the dense model is {LOSS.mean(divergence)} nats per token",
    ]


def disagreement_words(runs: Sequence[RunRecord]) -> str:
    """'3.1 % (± 0.4, 5 seeds)', or with one run '3.1 % (95 % interval 2.0 to 4.8, 1 seed, low-n)' over its examples."""
    found = [run.side_effects["disagreement"] for run in affected(runs) if "disagreement" in run.side_effects]
    interval = mean_effect(runs, "disagreement", "rate")
    assert interval is not None
    if len(found) > 1:
        return ACCURACY.mean(interval)
    ends = Interval(found[0]["rate"], found[0]["low"], found[0]["high"], 1)
    return f"{ACCURACY.value(ends.mean)} (95 % interval over the examples {ACCURACY.ends(ends)}, 1 seed, low-n)"


def _points(change: float) -> str:
    """'+1.2' or '−0.4', points of a percentage."""
    return minus(f"{100 * change:+.1f}")
