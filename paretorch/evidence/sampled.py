"""Whether the runs of two arms are the sample that a claim takes them for: whole, drawn anew, counted alike, tuned.

A run that is missing may be the one that did badly, two seeds with the same results are one, a step of a larger batch
is another amount of work, and a control that was tuned less, or never trained to the end, is easily beaten.
"""

from collections.abc import Mapping, Sequence

from paretorch.evidence.families import Family, duration_of
from paretorch.evidence.speedup import Speedup
from paretorch.evidence.words import listing, plain, plural

REPEATED = 3  # durations at which two seeds would have to agree by chance


def sample_problems(speedup: Speedup) -> list[str]:
    """Full sentences, why the runs of the two arms carry no claim and what to do; [] when nothing is wrong."""
    arms = (speedup.candidate, speedup.baseline)
    found = [sentence for arm in arms for sentence in (*_incomplete(arm, speedup.seeds), *_repeated(arm))]
    batches = [arm.batch for arm in arms]
    if speedup.axis == "steps" and None not in batches and batches[0] != batches[1]:
        found.append(
            f"A step of {arms[0].label} has {batches[0]} examples and one of {arms[1].label} {batches[1]}, so their "
            "steps are different amounts of work; compare samples or seconds."
        )
    return found


def control_problems(controls: Mapping[str, Speedup | None]) -> list[str]:
    """One sentence per control that has a seed without any run that ended well: it was never there to be beaten."""
    found = []
    for role, control in controls.items():
        if control is None:
            continue
        if lost := [seed for seed in control.seeds if not control.baseline.finished(seed)]:
            found.append(
                f"No run of the control {role.removeprefix('control:')} ended well in seeds "
                f"{listing([str(seed) for seed in lost])}, so nobody knows whether it is beaten; make it train, or say "
                "that it was left out."
            )
    return found


def control_warnings(controls: Mapping[str, Speedup | None]) -> list[str]:
    """One sentence per control with fewer tuning trials than the candidate."""
    found = []
    for role, control in controls.items():
        if control is not None and (given := fewest_trials(control.baseline)) < control.candidate.trials:
            found.append(
                f"The control {role.removeprefix('control:')} was tuned with {plural(given, 'trial')} and "
                f"{control.candidate.label} with {control.candidate.trials}, so beating it may be tuning."
            )
    return found


def fewest_trials(family: Family) -> int:
    """Tuning trials that every run which ended well had; 1 when one of them was not tuned."""
    return min((int(run.tuning.get("trials", 1)) for run in family.runs if run.status == "ok"), default=family.trials)


def _incomplete(family: Family, seeds: Sequence[int]) -> list[str]:
    held = {seed: {duration_of(run) for run in family.records[seed]} for seed in seeds}
    whole = set().union(*held.values())
    lacking = [
        f"seed {seed} at {listing([plain(duration, digits=6) for duration in sorted(whole - own)])}"
        for seed, own in held.items()
        if whole - own
    ]
    if not lacking:
        return []
    return [
        f"{family.label} has no run of {listing(lacking)}, where other seeds have one, and what is missing may be what "
        "did badly; run it, or leave that duration out for every seed."
    ]


def _repeated(family: Family) -> list[str]:
    by_results: dict[tuple[tuple[float, float], ...], list[int]] = {}
    for seed, runs in family.records.items():
        results = tuple((duration_of(run), run.quality) for run in runs if run.quality is not None)
        if len(results) >= REPEATED:
            by_results.setdefault(results, []).append(seed)
    return [
        f"{family.label} has the same qualities in seeds {listing([str(seed) for seed in same])}, digit for digit, so "
        "they are one run and not several; run them with seeds that change the result."
        for same in by_results.values()
        if len(same) > 1
    ]
