"""The three lines of a verdict, as words: the finding, why, and what stands beside it.

"Speed-up" is said of seconds only; on the other axes it is a ratio of steps, samples, and so on. A ratio of 1.33 is
written as 25 % less (1 - 1/S), never as "33 % faster", which may mean either. What may be claimed is decided in
`claims`; here it is only spelled.
"""

import json
import math
from collections.abc import Mapping
from statistics import fmean

import numpy as np

from paretorch.evidence.best_of_n import expected_best
from paretorch.evidence.families import Axis, Family, trial_charge
from paretorch.evidence.significance import permutation_p_value, smallest_p_value
from paretorch.evidence.speedup import AtQuality, Speedup
from paretorch.evidence.statistics import LOW_N, time_reduction
from paretorch.evidence.words import listing, percent, plain, plural, ratio

_NOUNS: dict[Axis, tuple[str, str, str]] = {  # what there is less of, the adjective, the unit
    "seconds": ("training time", "less", "s"),
    "steps": ("steps", "fewer", "steps"),
    "samples": ("samples", "fewer", "samples"),
    "epochs": ("epochs", "fewer", "epochs"),
    "flops": ("operations", "fewer", "operations"),
    "energy_j": ("energy", "less", "J"),
}


def noun_of(axis: Axis) -> str:
    """'training time', 'steps'."""
    return _NOUNS[axis][0]


def name_of_ratio(axis: Axis) -> str:
    """'speed-up' for seconds, else 'ratio of steps' and so on."""
    return "speed-up" if axis == "seconds" else f"ratio of {noun_of(axis)}"


def difference(value: float, axis: Axis) -> str:
    """A ratio baseline / candidate as a share: '25 % less training time', '10 % more steps'."""
    noun, less, _ = _NOUNS[axis]
    share = abs(time_reduction(value))
    return f"{percent(round(share, 2 if share >= 0.1 else 3))} {less if value >= 1 else 'more'} {noun}"


def finding(speedup: Speedup, *, reasons: list[str]) -> str:
    """Line 1: the ratios with their intervals, or "No evidence" with the reasons and the point estimate.

    Args:
        speedup: the comparison.
        reasons: full sentences, why nothing is claimed; empty when something is.
    """
    if reasons:
        first = reasons[0][0].lower() + reasons[0][1:]
        return " ".join([f"No evidence: {first}", *reasons[1:], *_point_estimate(speedup)])
    average = speedup.average
    assert average is not None
    return (
        f"{speedup.candidate.label} takes {difference(average.mean, speedup.axis)} than {speedup.baseline.label} to "
        f"equal {speedup.candidate.metric.name}: {name_of_ratio(speedup.axis)} {ratio(average)} on average "
        f"{_range(speedup)}; {_levels(speedup)} ({percent(average.confidence)} intervals)."
    )


def why(speedup: Speedup) -> str:
    """Line 2: statistical times hardware efficiency, seeds, durations, tuning."""
    n = len(speedup.seeds)
    seeds = plural(n, "paired seed") + (", low-n" if n < LOW_N else _permuted(speedup))
    durations = f"{plural(speedup.points, 'duration')} over a span of {plain(speedup.span, digits=3)}"
    return f"Why: {_split(speedup)}; {seeds}; {durations}; {_tuning(speedup)}."


def beside(speedup: Speedup, *, controls: Mapping[str, tuple[str, Speedup | None]]) -> str:
    """Line 3: quality at equal cost, the controls, and the levels that are not significant.

    Args:
        speedup: the comparison.
        controls: role -> ("beaten", "not beaten", "unknown" or "left out", its comparison).
    """
    sentences = [_gains(speedup)]
    if controls:
        said = [_control(role, outcome, control) for role, (outcome, control) in controls.items()]
        sentences.append(f"Controls: {', '.join(said)}.")
    if level := [at for at in speedup.at if at.ratio is not None and at.ratio.contains(1.0)]:
        where = listing([speedup.candidate.metric.value(at.quality) for at in level])
        sentences.append(f"Not significant on its own: the ratio at {where}.")
    return " ".join(sentences)


def _point_estimate(speedup: Speedup) -> list[str]:
    if speedup.average is None:
        return []
    return [
        f"The point estimate of the {name_of_ratio(speedup.axis)} is {speedup.average.mean:.3f} on average "
        f"{_range(speedup)}; {_levels(speedup)}."
    ]


def _range(speedup: Speedup) -> str:
    assert speedup.range is not None
    low, high = (speedup.candidate.metric.value(quality) for quality in speedup.range)
    return f"from {low} to {high}"


def _levels(speedup: Speedup) -> str:
    return listing([_level(at, speedup) for at in speedup.at])


def _level(at: AtQuality, speedup: Speedup) -> str:
    where = f"at {speedup.candidate.metric.value(at.quality)}"
    if at.ratio is not None:
        return f"{ratio(at.ratio)} {where}"
    bounds = [f"at least {at.at_least:.3f}"] if at.at_least is not None else []
    bounds += [f"at most {at.at_most:.3f}"] if at.at_most is not None else []
    n = len(speedup.seeds)
    missed = [
        f"{count} of {plural(n, 'seed')} of {label} did not reach it"
        for count, label in (
            (at.censored_candidate, speedup.candidate.label),
            (at.censored_baseline, speedup.baseline.label),
        )
        if count
    ]
    why_not = listing(missed or ["a shortest run reached it already"])
    return f"{' and '.join(bounds) or 'no bound'} {where} ({why_not})"


def _split(speedup: Speedup) -> str:
    statistical, hardware, unit = speedup.split.statistical, speedup.split.hardware, speedup.split.unit
    if statistical is None or speedup.range is None:
        return "without a common quality nothing can be split"
    middle = speedup.candidate.metric.value(sum(speedup.range) / 2)
    sides = f"of {speedup.baseline.label} over {speedup.candidate.label}"
    text = f"at {middle} the ratio {sides} is {ratio(statistical)} in {unit} (statistical)"
    if hardware is None:
        return f"{text}, and no time was compared"
    return f"{text} times {ratio(hardware)} in seconds per {unit.removesuffix('s')} (hardware)"


def _permuted(speedup: Speedup) -> str:
    """Beside a significant interval, the exact test; it assumes no distribution and cannot be small with few pairs."""
    if speedup.average is None or speedup.average.contains(1.0):
        return ""
    logs = [math.log(ratio) for ratio in speedup.ratios.values()]
    p = permutation_p_value(logs, [0.0] * len(logs), generator=np.random.default_rng(0))
    least = smallest_p_value(len(logs))
    return f" (exact test by signs: p = {plain(p, digits=2)}{', the least there can be' if p <= least else ''})"


def _tuning(speedup: Speedup) -> str:
    arms = (speedup.candidate, speedup.baseline)
    said = [f"{plural(arm.trials, 'trial')} for {arm.label}{_searches(arm)}{_tuning_cost(arm)}" for arm in arms]
    text = f"tuning: {listing(said)}"
    studies = [[study["values"] for study in _studies(arm) if study.get("values")] for arm in arms]
    if not all(studies):
        return text
    n = min(len(values) for arm in studies for values in arm)
    metric, better = arms[0].metric, arms[0].runs[0].higher_is_better
    best = [fmean(expected_best(v, n, higher_is_better=better) for v in arm) for arm in studies]
    if not all(map(math.isfinite, best)):
        return f"{text}; too many trials failed to say what {plural(n, 'trial')} reach"
    reached = " and ".join(metric.value(value) for value in best)
    return f"{text}; expected best validation {metric.name} of {plural(n, 'trial')}: {reached}"


def _searches(family: Family) -> str:
    number = len(_studies(family))
    return f" in each of {number} searches" if number > 1 else ""


def _tuning_cost(family: Family) -> str:
    costs = [cost for study in _studies(family) for cost in study.get("costs", [])]
    seconds = math.fsum(costs) or math.fsum(trial_charge(run, "seconds") for run in family.runs)
    return f" ({plain(seconds, digits=3)} s)" if seconds else ""


def _studies(family: Family) -> list[dict[str, list[float]]]:
    """The different searches of a family; one that served many runs is in each of their records."""
    found = {json.dumps(run.tuning, sort_keys=True): run.tuning for run in family.runs if run.tuning}
    return list(found.values())


def _gains(speedup: Speedup) -> str:
    metric = speedup.candidate.metric
    said = []
    for gain in speedup.gains:
        if gain.difference is not None:
            doubt = ", not significant" if gain.difference.contains(0.0) else ""
            said.append(f"{metric.signed(gain.difference)} at {_amount(gain.cost, speedup.axis)}{doubt}")
    if not said:
        return "At equal cost: the two arms share no cost."
    points = ", in points" if metric.is_fraction else ""
    sides = f"{metric.name} of {speedup.candidate.label} minus that of {speedup.baseline.label}"
    return f"At equal cost, {sides}{points}: {'; '.join(said)}."


def _amount(cost: float, axis: Axis) -> str:
    unit = _NOUNS[axis][2]
    return f"{plain(cost, digits=3)} {unit.removesuffix('s') if cost == 1 and unit != 's' else unit}"


def _control(role: str, outcome: str, control: Speedup | None) -> str:
    name = role.removeprefix("control:")
    if control is None or control.average is None:
        return f"{name} {outcome}"
    return f"{name} {outcome} ({ratio(control.average)})"
