"""Sentences about the two kinds of compression: masks, which write zeros, and cuts, which make tensors smaller.

A masked model is stored and run as the dense tensors that it still is: fewer numbers matter, and neither its file nor
its time need fall. A cut model is a smaller model of the same kind. Either way time is said from a measured ratio with
its interval, and nothing is said where none was measured.
"""

from collections.abc import Callable, Mapping, Sequence

from paretorch.evidence.arms import Arm
from paretorch.evidence.quantities import MeasuredSpeed, cost_field, is_cut, last_pruning, measured_speeds, total_bytes
from paretorch.evidence.records import RunRecord
from paretorch.evidence.words import listing, percent, plural, ratio

_MASKED = "weights are zero, tensors keep their shapes"
_CUT = "tensors are smaller"


def kind_sentences(compressed: Sequence[Arm], baseline: Arm | None, *, timed: bool) -> list[str]:
    """One sentence per kind of which there is an arm; [] without a dense model to compare with.

    Args:
        compressed: arms with a result.
        baseline: the dense arm.
        timed: also say what was measured of their time.
    """
    if baseline is None:
        return []
    masked = [arm for arm in compressed if _any(arm, last_pruning) and not _any(arm, is_cut)]
    cut = [arm for arm in compressed if _any(arm, is_cut)]
    kinds = [("Masked models", _MASKED, masked), ("Cut models", _CUT, cut)]
    return [
        _sentence(name, what, arms, baseline) + (_time(arms, baseline) if timed else "")
        for name, what, arms in kinds
        if arms
    ]


def _any(arm: Arm, read: Callable[[RunRecord], object]) -> bool:
    return any(read(run) for run in arm.finished)


def _sentence(name: str, what: str, arms: Sequence[Arm], baseline: Arm) -> str:
    sizes = {
        "non-zero parameters": lambda run: cost_field(run, "nonzeros"),
        "stored bytes": total_bytes,
        "MACs (counted)": lambda run: cost_field(run, "macs_dense"),
    }
    shares = [f"{words} {share}" for words, read in sizes.items() if (share := _share(arms, baseline, read))]
    left = f"; left of the dense model's: {listing(shares)}" if shares else ""
    return f"{name} ({plural(len(arms), 'arm')}): {what}{left}."


def _share(arms: Sequence[Arm], baseline: Arm, read: Callable[[RunRecord], float | None]) -> str:
    """'50 %', '2 % to 20 %'; "" where it is not known."""
    whole = baseline.interval(read)
    found = [interval.mean for arm in arms if (interval := arm.interval(read)) is not None]
    if whole is None or not whole.mean or not found:
        return ""
    low, high = (percent(float(f"{value / whole.mean:.3g}")) for value in (min(found), max(found)))
    return low if low == high else f"{low} to {high}"


def _time(arms: Sequence[Arm], baseline: Arm) -> str:
    by_batch: dict[int, list[tuple[Arm, MeasuredSpeed]]] = {}
    for arm in arms:
        for speed in measured_speeds(arm, baseline):
            by_batch.setdefault(speed.batch, []).append((arm, speed))
    if not by_batch:
        return " Their latency was not measured beside the dense model's, so nothing is said about speed."
    said = f" Measured dense time over theirs: {'; '.join(_at(batch, found) for batch, found in by_batch.items())}."
    return said + (" Time falls less than MACs do." if _behind_counts(arms, baseline, by_batch) else "")


def _behind_counts(
    arms: Sequence[Arm], baseline: Arm, speeds: Mapping[int, Sequence[tuple[Arm, MeasuredSpeed]]]
) -> bool:
    """Whether MACs fell in every arm, and every time less than they did: a call costs more than its products."""
    whole = baseline.interval(lambda run: cost_field(run, "macs_dense"))
    counts = {arm.label: arm.interval(lambda run: cost_field(run, "macs_dense")) for arm in arms}
    if whole is None or any(left is None or not 0 < left.mean < whole.mean for left in counts.values()):
        return False
    left_of = {label: left.mean for label, left in counts.items() if left is not None}
    return all(
        speed.interval.high is not None and speed.interval.high < whole.mean / left_of[arm.label]
        for found in speeds.values()
        for arm, speed in found
    )


def _at(batch: int, found: Sequence[tuple[Arm, MeasuredSpeed]]) -> str:
    """The ratio with its interval at one batch size, and whether it is a change."""
    noisy = "" if all(speed.certified for _, speed in found) else ", not certified"
    faster = [item for item in found if item[1].changed and item[1].interval.mean > 1]
    slower = [item for item in found if item[1].changed and item[1].interval.mean < 1]
    if not faster and not slower:
        low, high = (f"{end(speed.interval.mean for _, speed in found):.3f}" for end in (min, max))
        span = ratio(found[0][1].interval) if len(found) == 1 else low if low == high else f"{low} to {high}"
        return f"{span} at batch size {batch}, no change can be claimed{noisy}"
    parts = []
    for word, items, best in (("faster", faster, max), ("slower", slower, min)):
        if items:
            arm, speed = best(items, key=lambda item: item[1].interval.mean)
            which = "" if len(found) == 1 else f"{len(items)} of {len(found)} {word}, the most "
            parts.append(f"{which}{ratio(speed.interval)}{'' if len(found) == 1 else f' ({arm.label})'}")
    return f"{listing(parts)} at batch size {batch}{noisy}"
