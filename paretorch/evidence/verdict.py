"""What may be said, in words, from the records of a sweep: the main finding first, then one sentence per finding.

Rules that the sentences keep:

- every mean comes with its interval and number of seeds; under five seeds it says "low-n";
- a difference is claimed only when the 95 % interval of the paired differences excludes 0;
- the arm of the main finding is chosen by validation quality, never by test quality;
- speed is said only of measured time; counted multiply-accumulates are called theoretical;
- runs that failed are named.
"""

import math
from collections.abc import Iterable, Sequence

from paretorch.evidence.arms import Arm, arms_of, baseline_of, compressed_of, difference
from paretorch.evidence.difference_words import claim, difference_words
from paretorch.evidence.front_words import front_sentences
from paretorch.evidence.grid_words import grid_sentences
from paretorch.evidence.grids import leading
from paretorch.evidence.kind_words import kind_sentences
from paretorch.evidence.names import SWEPT, TUNED, name_of
from paretorch.evidence.quantities import is_cut, is_shared, removed_share, training_epochs
from paretorch.evidence.records import RunRecord
from paretorch.evidence.reference_words import reference_sentences
from paretorch.evidence.side_effect_words import COLLAPSE, side_effect_sentences
from paretorch.evidence.speed_words import macs_sentence, speed_sentences
from paretorch.evidence.words import listing, percent, plural, setting

TOLERANCE = 0.01  # relative loss of validation quality that still counts as "keeps the dense model's quality"
_CONTRASTS = ("schedule", "method", "allocation")
_COMPETITOR = (TUNED, "lr", "norm")  # describe a competitor, and do not part settings
_REFERENCES = ("FT", "random")  # the simplest level of a factor, which the others have to beat


def verdict(records: Iterable[RunRecord]) -> list[str]:
    """Sentences about a sweep.

    Args:
        records: the runs of one workload, all arms and seeds; the arm whose method is "dense" is the baseline.

    Returns:
        Sentences as plain text, at least one; the first is the main finding.

    Raises:
        InputError: there are no records.
        NotComparableError: the runs cannot be compared (see `arms_of`).
    """
    arms = arms_of(records)
    baseline = baseline_of(arms)
    compressed, trained = compressed_of(arms), grid_sentences(arms, baseline)
    pairs = contrasts(compressed)
    sentences = [
        *(_against_dense(arms, compressed, baseline) if compressed or not trained else []),
        *trained,
        *_tally(pairs),
        *comparisons(arms),
        *front_sentences(arms, baseline),
        *([] if pairs or baseline is not None else [_level(arm) for arm in compressed]),
        *reference_sentences(leading(arms), baseline),
        *_side_effects(compressed, baseline),
        *_training_cost(compressed, baseline),
        *kind_sentences(compressed, baseline, timed=False),
        *speed_sentences(compressed, baseline),
        *macs_sentence(compressed),
        *_failures(arms),
    ]
    if baseline is None and len(sentences) > 1 and compressed:
        sentences.append(sentences.pop(0))  # a missing baseline is a caveat, not the finding
    return sentences


def closing(records: Iterable[RunRecord]) -> list[str]:
    """The main finding, then what masks and what cuts brought: what the command line ends with.

    Raises:
        InputError, NotComparableError: as `verdict`.
    """
    arms = arms_of(records)
    return [
        verdict(run for arm in arms for run in arm.runs)[0],
        *kind_sentences(compressed_of(arms), baseline_of(arms), timed=True),
    ]


def contrasts(arms: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """Pairs (arm, reference) of one setting that differ in one factor only: schedule, else method, else allocation.

    The reference is the simplest level ("FT" for schedules) where a setting has it, else the first one.
    """
    name = next((name for name in _CONTRASTS if len({str(arm.group.get(name)) for arm in arms}) > 1), None)
    if name is None:
        return []
    settings: dict[str, list[Arm]] = {}
    for arm in arms:
        rest = {key: value for key, value in sorted(arm.group.items()) if key not in (name, *_COMPETITOR)}
        settings.setdefault(repr(rest), []).append(arm)
    pairs = []
    for competitors in settings.values():
        reference = next((arm for arm in competitors if arm.group.get(name) in _REFERENCES), competitors[0])
        pairs += [(arm, reference) for arm in competitors if arm is not reference]
    return pairs


def comparisons(arms: Sequence[Arm]) -> list[str]:
    """One sentence per pair of `contrasts`, with both the level and the paired difference."""
    return [_comparison(arm, reference) for arm, reference in contrasts(compressed_of(arms))]


def _against_dense(arms: Sequence[Arm], compressed: Sequence[Arm], baseline: Arm | None) -> list[str]:
    """The main finding: the most compressed arm that keeps validation quality, or the one that comes closest."""
    workload = arms[0].runs[0].workload
    if baseline is None or baseline.quality is None:
        state = "These runs hold no dense baseline" if baseline is None else "No dense run finished with a test result"
        return [f"{state}, so nothing can be said about what compression costs in {arms[0].metric.name}."]
    metric = baseline.metric
    dense = f"the dense model's {metric.mean(baseline.quality)}"
    if not compressed:
        reached = metric.mean(baseline.quality)
        return [f"On {workload} the dense model reaches {reached} {metric.name}; there is nothing to compare it with."]
    arm, keeps = headline_arm(compressed, baseline)
    assert arm.quality is not None
    gap = difference(arm, baseline)
    smaller = any(is_cut(run) or is_shared(run) for other in compressed for run in other.runs)
    most = "most compressed" if smaller else "sparsest"
    chosen = {
        True: f"the {most} arm that keeps validation {metric.name} within {percent(TOLERANCE)} of dense is",
        False: f"no arm keeps validation {metric.name} within {percent(TOLERANCE)} of dense; the closest is",
        None: "validation results are missing, so the least compressed arm is shown:",
    }[keeps]
    return [
        f"On {workload}, {chosen} {name_of(arm)}: it reaches {metric.mean(arm.quality)} test {metric.name} against "
        f"{dense}, {difference_words(arm, gap, 'dense')}."
    ]


def headline_arm(compressed: Sequence[Arm], baseline: Arm) -> tuple[Arm, bool | None]:
    """The arm to speak of, chosen without test data, and whether it keeps the dense validation quality."""

    def removed(arm: Arm) -> float:
        interval = arm.interval(removed_share)
        return 0.0 if interval is None else interval.mean

    dense = baseline.validation
    known = [(arm, arm.validation.mean) for arm in compressed if arm.validation is not None]
    if dense is None or not known:
        return min(compressed, key=removed), None
    sign = 1 if baseline.metric.higher_is_better else -1
    keeping = [item for item in known if sign * (dense.mean - item[1]) <= TOLERANCE * abs(dense.mean)]
    if keeping:
        return max(keeping, key=lambda item: (removed(item[0]), sign * item[1]))[0], True
    return max(known, key=lambda item: sign * item[1])[0], False


def _comparison(arm: Arm, reference: Arm) -> str:
    assert arm.quality is not None
    group = {key: arm.group[key] for key in SWEPT if key in arm.group and (key != "cycles" or arm.group[key] != 1)}
    place = f"At {setting(group)}, " if group else ""
    return (
        f"{place}{name_of(arm, without=SWEPT)} reaches {arm.metric.mean(arm.quality)}, "
        f"{difference_words(arm, difference(arm, reference), name_of(reference, without=SWEPT))}"
        f"{_unequal_training(arm, reference)}."
    )


def _unequal_training(arm: Arm, reference: Arm) -> str:
    """A clause when the two did not train for as long; "" when they did or it is unknown."""
    mine, other = arm.interval(training_epochs), reference.interval(training_epochs)
    if mine is None or other is None or math.isclose(mine.mean, other.mean, rel_tol=1e-3):
        return ""
    return f"; trained for {plural(mine.mean, 'epoch')} in all against {plural(other.mean, 'epoch')}"


def _tally(pairs: Sequence[tuple[Arm, Arm]]) -> list[str]:
    """One sentence per competitor that met its reference in several settings."""
    outcomes: dict[tuple[str, str], list[str]] = {}
    for arm, reference in pairs:
        key = (name_of(arm, without=SWEPT), name_of(reference, without=SWEPT))
        outcomes.setdefault(key, []).append(claim(difference(arm, reference)))
    better, worse = ("more", "less") if not pairs or pairs[0][0].metric.higher_is_better else ("less", "more")
    return [
        f"{name} against {other} in {len(found)} settings: better in {found.count(better)}, worse in "
        f"{found.count(worse)}, no difference can be claimed in {found.count('none')} (one 95 % interval each, "
        "not adjusted for their number)."
        for (name, other), found in outcomes.items()
        if len(found) > 1
    ]


def _level(arm: Arm) -> str:
    assert arm.quality is not None
    return f"{name_of(arm)} reaches {arm.metric.mean(arm.quality)}."


def _training_cost(compressed: Sequence[Arm], baseline: Arm | None) -> list[str]:
    """Epochs of all phases against the dense training's."""
    dense = baseline.interval(training_epochs) if baseline is not None else None
    found = [interval.mean for arm in compressed if (interval := arm.interval(training_epochs)) is not None]
    if dense is None or not dense.mean or not found:
        return []
    low, high = min(found), max(found)
    span = plural(low, "epoch") if low == high else f"{round(low, 2):g} to {plural(high, 'epoch')}"
    times = f"{low / dense.mean:.2f}" if low == high else f"{low / dense.mean:.2f} to {high / dense.mean:.2f}"
    return [
        f"Training cost, all phases included (dense training, retraining, tuning trials): {span} for the compressed "
        f"arms against {plural(dense.mean, 'epoch')} for the dense model, {times} times as much."
    ]


def _side_effects(compressed: Sequence[Arm], baseline: Arm | None) -> list[str]:
    """What compression broke in the arm of the main finding, and how many other runs hide a lost class."""
    if baseline is None or baseline.quality is None or not compressed:
        return []
    chosen, _ = headline_arm(compressed, baseline)
    sentences = side_effect_sentences({name_of(chosen): chosen.runs})
    hiding = [run.run_id for arm in compressed if arm is not chosen for run in arm.runs if _warned(run)]
    if hiding:
        sentences.append(
            f"In {plural(len(hiding), 'other run')} the mean hides a class that lost over {COLLAPSE} points: "
            f"{listing(hiding[:3])}{' and more' if len(hiding) > 3 else ''}."
        )
    return sentences


def _warned(run: RunRecord) -> bool:
    return bool(run.side_effects.get("warnings"))


def _failures(arms: Sequence[Arm]) -> list[str]:
    runs = [run for arm in arms if not arm.is_whole for run in arm.runs if run.status != "ok"]
    if not runs:
        return []
    names = listing([f"{run.run_id} ({run.status.replace('_', ' ')})" for run in runs])
    verb = "is" if len(runs) == 1 else "are"
    return [f"{plural(len(runs), 'run')} did not finish and {verb} left out of every mean: {names}."]
