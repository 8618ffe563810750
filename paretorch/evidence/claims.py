"""What may be claimed of a speed-up: the decision rule, and the verdict in three lines.

Claimed is a difference, in either direction, whose interval of the average ratio over the range of qualities
(`Speedup.average`) excludes 1. That one result was chosen beforehand, and nothing else decides. A time ratio within
`RESOLUTION` of 1 is never claimed: the placement of code in memory changes a time by as much.

Refused, whatever the numbers say, is what could not be defended: fewer than 5 durations or a span under 8, which is a
point estimate; fewer than 5 paired seeds (3 are enough where one run takes over five minutes, and are printed "low-n");
more tuning trials for the candidate than for the baseline; points of a screening; a control that is missing or never
ended well; times that were not taken in turns; steps of batches that differ in size; runs that are missing, or the same
under several seeds; and arms that share no quality.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from paretorch.errors import InputError
from paretorch.evidence.claim_words import beside, finding, name_of_ratio, noun_of, why
from paretorch.evidence.comparable import interleaved, machine_differences
from paretorch.evidence.families import Family, charge, decay_warning
from paretorch.evidence.quantities import RESOLUTION
from paretorch.evidence.sampled import control_problems, control_warnings, fewest_trials, sample_problems
from paretorch.evidence.speedup import Speedup
from paretorch.evidence.statistics import LOW_N, Interval
from paretorch.evidence.words import listing, percent, plain, plural

Mode = Literal["claim", "screening"]
MODES: tuple[Mode, ...] = ("claim", "screening")
CONTROLS = ("control:smaller", "control:random")
MIN_DURATIONS = 5
MIN_SPAN = 8.0
MIN_SEEDS = LOW_N
MIN_SEEDS_LONG = 3  # where one run takes longer than this:
LONG_RUN_S = 300.0
ONCE = 1e-9  # two measurements do not agree to so many digits
SINGLE_RUN = 1.2  # seed noise alone changes the time to a target by as much; one run cannot tell


@dataclass(frozen=True)
class Verdict:
    """What may be said of a comparison.

    Args:
        lines: the finding; why; and what stands beside it.
        claimed: whether a difference is claimed, in either direction.
        refusals: full sentences, why nothing can be claimed and what to do; empty when nothing stands in the way.
        warnings: full sentences that a reader of the finding must see.
    """

    lines: tuple[str, str, str]
    claimed: bool
    refusals: tuple[str, ...]
    warnings: tuple[str, ...]


def claim(speedup: Speedup, *, mode: Mode, controls: Mapping[str, Speedup | None]) -> Verdict:
    """The verdict on a comparison.

    Args:
        speedup: of the candidate over its baseline.
        mode: "claim" for the full grid of durations, "screening" for points that were read from one run each.
        controls: role -> the candidate compared with that control, for each of `CONTROLS` and any others; None for one
            that was left out on purpose, which the verdict then says.

    Raises:
        InputError: an unknown mode, or a control of another candidate or axis.
    """
    if mode not in MODES:
        raise InputError(f"mode is one of {MODES}, got {mode!r}")
    for role, control in controls.items():
        if control is not None and (control.candidate.label, control.axis) != (speedup.candidate.label, speedup.axis):
            raise InputError(
                f"{role!r} compares {control.candidate.label!r} in {control.axis}, the claim is about "
                f"{speedup.candidate.label!r} in {speedup.axis}; compare the same candidate with each control"
            )
    refusals = _refusals(speedup, mode, controls)
    reasons = refusals or _doubts(speedup)
    outcomes = {role: (_outcome(control), control) for role, control in controls.items()}
    warnings = (
        *_warnings(speedup, [role for role, (said, _) in outcomes.items() if said == "not beaten"]),
        *control_warnings(controls),
    )
    first = finding(speedup, reasons=reasons)
    if warnings and not reasons:  # a claim that is read alone must not look unconditional
        first += f" Read it with the {plural(len(warnings), 'warning')} below."
    return Verdict(
        lines=(first, why(speedup), beside(speedup, controls=outcomes)),
        claimed=not reasons,
        refusals=tuple(refusals),
        warnings=warnings,
    )


def _doubts(speedup: Speedup) -> list[str]:
    """Why a comparison that is in order shows nothing; empty when it does."""
    average = speedup.average
    assert average is not None
    if average.low is None or average.high is None or average.contains(1.0):
        p = "" if speedup.p_value is None else f" (p = {plain(speedup.p_value, digits=2)})"
        ends = f"{average.low:.3f} to {average.high:.3f}" if average.low is not None else "unknown"
        return [
            f"The {percent(average.confidence)} interval of the {name_of_ratio(speedup.axis)}, {ends}, contains 1{p}, "
            f"so no difference in {noun_of(speedup.axis)} to equal {speedup.candidate.metric.name} can be claimed."
        ]
    if speedup.axis == "seconds" and 1 / (1 + RESOLUTION) <= average.mean <= 1 + RESOLUTION:
        return [
            f"A time ratio of {average.mean:.3f} lies within the {percent(RESOLUTION)} by which the placement of code "
            "in memory alone changes a time, so no difference can be claimed."
        ]
    return []


def _refusals(speedup: Speedup, mode: Mode, controls: Mapping[str, Speedup | None]) -> list[str]:
    candidate, baseline = speedup.candidate, speedup.baseline
    found = []
    if mode == "screening":
        found.append("These are points of a screening, read from one run each; run the full grid of durations.")
    if speedup.points < MIN_DURATIONS or speedup.span < MIN_SPAN:
        found.append(
            f"The curves hold {plural(speedup.points, 'duration')} over a span of {plain(speedup.span, digits=3)}, "
            f"which gives a point estimate and no claim; run at least {MIN_DURATIONS} durations, the longest at least "
            f"{MIN_SPAN:g} times the shortest."
        )
    if problem := _too_few_seeds(speedup):
        found.append(problem)
    if candidate.trials > (given := fewest_trials(baseline)):
        found.append(
            f"The candidate was tuned with {plural(candidate.trials, 'trial')} and the baseline with "
            f"{given}, so part of the difference may be tuning; give the baseline {candidate.trials} as well."
        )
    if missing := [role.removeprefix("control:") for role in CONTROLS if role not in controls]:
        found.append(
            f"The {'control' if len(missing) == 1 else 'controls'} {listing(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing; run the same durations of a smaller model and of the "
            "random version of the method, or say that a control was left out."
        )
    found += [*control_problems(controls), *sample_problems(speedup)]
    if speedup.axis == "seconds" and not (interleaved(candidate) and interleaved(baseline)):
        found.append(
            "The steps of the two arms were not timed in turns, and a machine drifts between timings by tens of per "
            "cent; time the steps interleaved, or compare steps."
        )
    if speedup.range is None:
        found.append(
            "There is no quality that every seed of both arms passes through, so there is nothing to compare at; add "
            "shorter runs of the better arm and longer runs of the other."
        )
    return found


def _too_few_seeds(speedup: Speedup) -> str | None:
    n = len(speedup.seeds)
    if n >= MIN_SEEDS:
        return None
    if n < MIN_SEEDS_LONG:
        return f"There {'is' if n == 1 else 'are'} {plural(n, 'paired seed')}; run at least {MIN_SEEDS}."
    longest = _longest_run(speedup)
    if longest is not None and longest > LONG_RUN_S:
        return None
    took = "an unknown time" if longest is None else f"{plain(longest, digits=3)} s"
    return (
        f"There are {n} paired seeds, which are enough only where one run takes over {LONG_RUN_S:g} s, and the longest "
        f"took {took}; run at least {MIN_SEEDS}."
    )


def _longest_run(speedup: Speedup) -> float | None:
    """Training seconds of the longest run of either arm; None where a run does not say."""
    runs = [run for family in (speedup.candidate, speedup.baseline) for run in family.runs if run.status == "ok"]
    try:
        return max((charge(run, "seconds") for run in runs), default=None)
    except InputError:  # a record without seconds
        return None


def _outcome(control: Speedup | None) -> str:
    """Whether the candidate is better than a control: "beaten", "not beaten", "unknown" or "left out"."""
    if control is None:
        return "left out"
    if control_problems({"": control}):
        return "unknown"
    if control.average is not None:
        return "beaten" if control.average.low is not None and control.average.low > 1 else "not beaten"
    return "beaten" if _always_above(control) else "not beaten"


def _always_above(control: Speedup) -> bool:
    """Whether the candidate's cheapest run of every seed is better than all that any seed of the control reaches."""
    ours = [control.candidate.curve(seed, axis=control.axis, scope=control.scope) for seed in control.seeds]
    theirs = [control.baseline.curve(seed, axis=control.axis, scope=control.scope) for seed in control.seeds]
    bests = [curve.quality_range[1] for curve in theirs if curve.quality_range is not None]
    return all(curve.reached_at_start(best) for curve in ours for best in bests) and all(c.points for c in ours)


def _warnings(speedup: Speedup, unbeaten: Sequence[str]) -> list[str]:
    arms = (speedup.candidate, speedup.baseline)
    found = [sentence for arm in arms for sentence in (*_undecayed(arm), *_failed(arm), *_alone(arm, speedup.seeds))]
    if differences := machine_differences(arms):
        found.append(
            f"The runs come from different environments ({'; '.join(differences)}); {noun_of(speedup.axis)} can be "
            "compared across them, times cannot."
        )
    if len(speedup.seeds) == 1 and speedup.average is not None and speedup.average.mean < SINGLE_RUN:
        found.append(
            f"This is a single run of each arm; seed noise alone makes ratios up to {SINGLE_RUN:g} common, so this one "
            "is no evidence."
        )
    if speedup.axis == "flops" and (uncounted := _uncounted(arms)):
        named = listing(uncounted)
        found.append(f"Operations without a formula are not in these counts: {named}; compare seconds too.")
    if unbeaten:
        names = [role.removeprefix("control:") for role in unbeaten]
        found.append(
            f"{speedup.candidate.label} does not beat {listing(names)}; what it gains over {speedup.baseline.label} "
            "may be had without it."
        )
    if _measured_once(speedup.split.hardware):
        found.append(
            "The ratio of the times of a step is the same for every seed, so it was measured once and the intervals do "
            "not hold its uncertainty; time the arms again for each seed."
        )
    return found


def _measured_once(hardware: Interval | None) -> bool:
    """Whether the ratio of the times of a step is another than 1, as of unequal steps, and has no spread."""
    if hardware is None or hardware.half_width is None or abs(hardware.mean - 1) < ONCE:
        return False
    return hardware.half_width < ONCE


def _undecayed(family: Family) -> list[str]:
    found = [sentence for run in family.runs if (sentence := decay_warning(run)) is not None]
    if not found:
        return []
    return [f"{family.label}: {len(found)} of {plural(len(family.runs), 'run')} ended too high. {found[0]}"]


def _failed(family: Family) -> list[str]:
    failed = [run for run in family.runs if run.status != "ok"]
    if not failed:
        return []
    names = listing([f"{run.run_id} ({run.status.replace('_', ' ')})" for run in failed])
    return [
        f"{family.label}: {len(failed)} of {plural(len(family.runs), 'run')} did not end well and count as not "
        f"reaching anything: {names}."
    ]


def _alone(family: Family, paired: Sequence[int]) -> list[str]:
    alone = [str(seed) for seed in family.seeds if seed not in paired]
    if not alone:
        return []
    return [f"{family.label} alone has seeds {listing(alone)}; they are left out, since runs are compared in pairs."]


def _uncounted(arms: Sequence[Family]) -> list[str]:
    """Operations of a training step that a run could not count, each once."""
    return sorted({str(name) for arm in arms for run in arm.runs for name in run.flops_step.get("uncounted", [])})
