"""The tables of a comparison: what its figures show, as text."""

import math

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.families import AXES
from paretorch.evidence.report.cost_words import cost_label, level_words, ratio_label
from paretorch.evidence.report.table import UNKNOWN, Table
from paretorch.evidence.speedup import AtQuality, Speedup, compare_families
from paretorch.evidence.statistics import Interval
from paretorch.evidence.words import minus, plain, ratio

NOT_CLAIMED = "Measured, and not claimed: the verdict at the top says why."


def ratio_table(speedup: Speedup, *, claimed: bool) -> Table | None:
    """The ratio at each compared quality and its mean over the range; None when there is neither."""
    metric = speedup.baseline.metric
    names = level_words(metric, [level.quality for level in speedup.at])
    rows = [
        [
            name,
            *_ratio_cells(level.ratio, bound=bound_words(level)),
            *[str(level.censored_candidate), str(level.censored_baseline)],
            _side(level.ratio),
        ]
        for name, level in zip(names, speedup.at, strict=True)
    ]
    if speedup.average is not None and speedup.range is not None:
        low, high = level_words(metric, speedup.range)
        claim = _claim(speedup.average) if claimed else "not claimed"
        rows.append([f"mean from {low} to {high}", *_ratio_cells(speedup.average), *[UNKNOWN] * 2, claim])
    if not rows:
        return None
    p_value = "" if speedup.p_value is None or not claimed else f" p of the mean: {speedup.p_value:.2g}, two-sided."
    return Table(
        key="ratios",
        title=f"{upper(ratio_label(speedup.axis))} at equal quality",
        caption=f"Baseline cost over candidate cost to reach the same {metric.name}, in "
        f"{cost_label(speedup.axis, speedup.scope)}; above 1, the candidate costs less. Paired over seeds, geometric "
        "mean. Cost saved is 1 - 1 / ratio: 1.25 is 20 % less. The mean over the range decides, single qualities do "
        f"not.{p_value}{'' if claimed else f' {NOT_CLAIMED}'}",
        head=[
            *["quality", ratio_label(speedup.axis), "cost saved", "pairs of seeds"],
            *["candidate seeds that miss it", "baseline seeds that miss it", "reading"],
        ],
        rows=rows,
    )


def split_table(speedup: Speedup) -> Table | None:
    """Steps and time per step at the middle quality; None when neither factor is known."""
    split = speedup.split
    if split.statistical is None and split.hardware is None:
        return None
    assert speedup.range is not None
    middle = sum(speedup.range) / 2
    whole = next((x.ratio for x in (*speedup.at, *speedup.grid) if math.isclose(x.quality, middle)), None)
    factors = {
        f"statistical: {split.unit} needed": split.statistical,
        f"hardware: time of one {split.unit[:-1]}": split.hardware,
        f"both: {ratio_label(speedup.axis)}": whole,
    }
    return Table(
        key="split",
        title="Where it comes from",
        caption=f"At {speedup.baseline.metric.name} {speedup.baseline.metric.value(middle)}, the middle of the range. "
        f"The whole is the product of both, seed by seed: how many {split.unit}, and how long each takes. A method "
        "that gains by one of them can lose by the other.",
        head=["factor", "baseline / candidate", "pairs of seeds"],
        rows=[
            [name, *([UNKNOWN] * 2 if value is None else [ratio(value), str(value.n)])]
            for name, value in factors.items()
        ],
    )


def axes_table(speedup: Speedup) -> Table | None:
    """The mean ratio on every axis of cost that both families have; None when there is no other than the chosen one.

    A conclusion that holds for one cost only must name it.
    """
    rows = []
    for axis in AXES:
        try:
            found = compare_families(speedup.candidate, speedup.baseline, axis=axis, scope=speedup.scope)
        except (InputError, NotComparableError):  # a cost that some run does not hold, or that was not measured alike
            continue
        if found.average is not None:
            rows.append([cost_label(axis, speedup.scope), ratio(found.average), _side(found.average)])
    if len(rows) < 2:
        return None
    return Table(
        key="axes",
        title="The same by other costs",
        caption="Mean ratio of baseline over candidate over the range of qualities. Only seconds are time; what holds "
        "for one cost need not hold for another. A cost that some run did not record is missing.",
        head=["cost", "baseline / candidate", "reading"],
        rows=rows,
    )


def gain_table(speedup: Speedup) -> Table | None:
    """Candidate minus baseline quality at equal cost; None without any cost that both were measured at."""
    metric = speedup.baseline.metric
    rows = [
        [plain(gain.cost), metric.signed(gain.difference), str(gain.difference.n)]
        for gain in speedup.gains
        if gain.difference is not None
    ]
    if not rows:
        return None
    unit = " (points)" if metric.is_fraction else ""
    return Table(
        key="gains",
        title="Quality at equal cost",
        caption=f"{upper(metric.name)} of the candidate minus that of the baseline, each the best at most that cost; "
        f"{metric.direction}. Paired over seeds.",
        head=[cost_label(speedup.axis, speedup.scope), f"{metric.name}, candidate minus baseline{unit}", "seeds"],
        rows=rows,
    )


def grid_table(speedup: Speedup) -> Table | None:
    """The points of the curve of ratios; None without any."""
    if not speedup.grid:
        return None
    names = level_words(speedup.baseline.metric, [level.quality for level in speedup.grid])
    return Table(
        key="grid",
        title="The curve in numbers",
        caption="Intervals hold for one quality at a time, not for the whole curve.",
        head=["quality", ratio_label(speedup.axis)],
        rows=[
            [name, bound_words(level) if level.ratio is None else ratio(level.ratio)]
            for name, level in zip(names, speedup.grid, strict=True)
        ],
    )


def bound_words(level: AtQuality) -> str:
    """'at least 1.3', 'from 0.8 to 1.3', or a dash: what is known where some seeds have no cost."""
    low, high = (None if end is None else f"{end:.3f}" for end in (level.at_least, level.at_most))
    if low and high:
        return f"from {low} to {high}"
    return f"at least {low}" if low else f"at most {high}" if high else UNKNOWN


def _side(interval: Interval | None) -> str:
    if interval is None:
        return "no interval: not every pair has a cost"
    return "interval contains 1" if interval.contains(1.0) else "interval excludes 1"


def _claim(interval: Interval) -> str:
    if interval.contains(1.0):
        return "no difference can be claimed"
    return "candidate is cheaper" if interval.mean > 1 else "candidate is dearer"


def _ratio_cells(interval: Interval | None, *, bound: str = UNKNOWN) -> list[str]:
    if interval is None:
        return [bound, UNKNOWN, UNKNOWN]
    low_n = ", low-n" if interval.low_n else ""
    return [ratio(interval), minus(f"{100 * (1 - 1 / interval.mean):.1f} %"), f"{interval.n}{low_n}"]


def upper(text: str) -> str:
    """With a capital first letter."""
    return text[:1].upper() + text[1:]
