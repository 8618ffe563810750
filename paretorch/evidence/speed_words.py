"""Sentences about speed: measured time only. Counted multiply-accumulates get a sentence that calls them theoretical.

The dense model is run in eager fp32 and, where that was timed as well, in the best way this machine has for it: a
ratio against eager alone would credit the candidate with a kernel that the dense model could use too.

A masked model multiplies by its zeros like by any other number, so the expected finding is "did not change"; the
sentence says so from the measured ratio, with its interval, and "not certified" where the machine was noisy.
"""

from collections.abc import Sequence

from paretorch.evidence.arms import Arm
from paretorch.evidence.quantities import (
    RESOLUTION,
    MeasuredSpeed,
    best_dense_speeds,
    cost_field,
    is_cut,
    measured_speeds,
)
from paretorch.evidence.words import listing, percent, plural, ratio

NAMED = 4  # arms that a sentence names one by one


def speed_sentences(compressed: Sequence[Arm], baseline: Arm | None) -> list[str]:
    """One sentence per batch size; one that says nothing was measured when nothing was."""
    if not compressed:
        return []
    by_batch: dict[int, list[tuple[Arm, MeasuredSpeed]]] = {}
    best: dict[int, list[MeasuredSpeed]] = {}
    for arm in compressed:
        for speed in measured_speeds(arm, baseline):
            by_batch.setdefault(speed.batch, []).append((arm, speed))
        for speed in best_dense_speeds(arm):
            best.setdefault(speed.batch, []).append(speed)
    if not by_batch:
        return ["Latency was not measured against the dense model, so nothing is said about speed."]
    return [_sentence(batch, found, best.get(batch, [])) for batch, found in sorted(by_batch.items())]


def macs_sentence(compressed: Sequence[Arm]) -> list[str]:
    """The largest reduction by zeros in counted multiply-accumulates, called theoretical; [] when not counted."""
    reductions = []
    for arm in compressed:
        dense = arm.interval(lambda run: cost_field(run, "macs_dense"))
        nonzero = arm.interval(lambda run: cost_field(run, "macs_nonzero"))
        if any(is_cut(run) for run in arm.runs):
            continue  # its kernels multiply no less than what it holds
        if dense is not None and nonzero is not None and nonzero.mean > 0:
            reductions.append((dense.mean / nonzero.mean, arm.label))
    if not reductions:
        return []
    best, label = max(reductions)
    return [
        f"Theoretical only: counting the multiply-accumulates with non-zero weights gives up to {best:.1f} times fewer "
        f"({label}); this is a count, and dense kernels do not skip zeros, so no time follows from it."
    ]


def _sentence(batch: int, found: Sequence[tuple[Arm, MeasuredSpeed]], best: Sequence[MeasuredSpeed]) -> str:
    speeds = [speed for _, speed in found]
    changed = [f"{arm.label}: {ratio(speed.interval)}" for arm, speed in found if speed.changed]
    quiet = all(speed.certified for speed in speeds)
    finding = "the latency did not change measurably" if quiet else "no change of latency can be claimed"
    within = f"1 ± {percent(RESOLUTION)}"
    parts = [f"At batch size {batch} the measured speed-up over the dense model (dense time / this time) is"]
    parts[0] += f" {_span(speeds)}"
    if len(changed) > NAMED:
        top = max((speed.interval.mean, i) for i, (_, speed) in enumerate(found) if speed.changed)[1]
        parts.append(
            f"the interval lies outside {within} for {len(changed)} of {plural(len(found), 'arm')}; the largest ratio, "
            f"of {found[top][0].label}, is {ratio(found[top][1].interval)}"
        )
    elif changed:
        parts.append(f"the interval lies outside {within} for {listing(changed)}")
    elif any(speed.interval.low is None for speed in speeds):
        parts.append("some of these ratios come without an interval, so no change can be claimed")
    else:
        reach = "contains 1" if all(speed.interval.contains(1.0) for speed in speeds) else f"reaches into {within}"
        parts.append(f"every interval {reach}: {finding}")
    if best:
        paths = listing(list(dict.fromkeys(speed.path for speed in best)))
        parts.append(f"over the best dense fp32 path of this machine ({paths}) it is {_span(best)}")
    if noisy := [speed for speed in speeds if not speed.certified]:
        first = (noisy[0].reason or "").split(";")[0].removesuffix(".")
        example = f"for example, {first}" if len(noisy) > 1 or first != noisy[0].reason else first
        parts.append(f"not certified for {len(noisy)} of {plural(len(speeds), 'arm')} ({example})")
    return f"{'; '.join(parts)}."


def _span(speeds: Sequence[MeasuredSpeed]) -> str:
    if len(speeds) == 1:
        return ratio(speeds[0].interval)
    means = [speed.interval.mean for speed in speeds]
    return f"between {min(means):.3f} and {max(means):.3f} over {plural(len(means), 'arm')}"
