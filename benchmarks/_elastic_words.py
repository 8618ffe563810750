"""Figures, tables and conclusions of `elastic_width`, all computed from the results of its cells.

    conclusions(figures)    "Better than A (at 25 %). Worse than B (at 12 %). Not told apart from C."

An arm is called better or worse only where the 95 % interval of the paired difference excludes 0. How many such calls
chance alone would make is said beside them, and so is which arm has the highest mean, whoever it is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from _elastic_problem import BUDGETS, EACH, ONE_RUN, SCRATCH, SCRATCH_UNIFORM, label
from _harness import over_seeds, table

from paretorch.evidence.statistics import LOW_N, ratio_interval
from paretorch.evidence.words import listing

CANDIDATES = (ONE_RUN, EACH)
FAMILIES = {  # arm: the elastic training it is read from
    ONE_RUN: ONE_RUN,
    EACH: EACH,
    "single layer, searched": "single layer",
    "independent, searched": "independent",
    "uniform OD, searched": "uniform OD",
    "uniform OD, uniform widths": "uniform OD",
    "slimmable, uniform widths": "slimmable",
    "plain, cut by norm": "plain",
}
SEPARATE = (*SCRATCH.values(), SCRATCH_UNIFORM)
ARMS = (*FAMILIES, *SEPARATE)
MOMENTS = ("before", "after")
UNIT = "percentage points"
GIGA = 1e9
SIZES = ("parameters", "MACs")
Cells = Mapping[int, Mapping[str, Any]]  # by seed


def rivals(candidate: str, moment: str) -> list[str]:
    """Arms that a candidate is compared with; from scratch, those at its own profile and at uniform widths."""
    others = [arm for arm in FAMILIES if arm not in CANDIDATES]
    return others if moment == "before" else [*others, SCRATCH[candidate], SCRATCH_UNIFORM]


def figures_of(cells: Cells) -> dict[str, Any]:
    """All figures of one task that rest on its seeds, in their order."""
    seeds = sorted(cells)
    figures: dict[str, Any] = {}

    for run in dict.fromkeys(FAMILIES.values()):
        if run not in CANDIDATES:
            own = [cells[seed]["runs"][run]["accuracy"] for seed in seeds]
            figures[f"{run}, uncut"] = over_seeds(own, unit="%", factor=100)
    for budget in map(label, BUDGETS):
        accuracy: dict[tuple[str, str], list[float]] = {}
        for arm in ARMS:
            members = [cells[seed]["arms"][arm][budget] for seed in seeds]
            figures[f"{arm}, {budget}, parameters"] = _short([one["params"] for one in members], unit="")
            figures[f"{arm}, {budget}, MACs"] = _short([one["macs"] for one in members], unit="")
            for moment in MOMENTS if arm in FAMILIES else ("after",):
                accuracy[arm, moment] = [one[moment] for one in members]
                figures[f"{arm}, {budget}, {moment}"] = over_seeds(accuracy[arm, moment], unit="%", factor=100)
        for candidate in CANDIDATES:
            for moment in MOMENTS:
                for arm in rivals(candidate, moment):
                    own, other = accuracy[candidate, moment], accuracy[arm, moment]
                    gap = _short(own, minus=other, unit=UNIT, factor=100)
                    figures[f"{candidate} minus {arm}, {budget}, {moment}"] = gap
            profiles = [cells[seed]["arms"][candidate][budget]["profile"] for seed in seeds]
            figures[f"{candidate}, {budget}, profiles"] = ["-".join(map(str, profile)) for profile in profiles]
    for candidate in CANDIDATES:
        figures[f"{candidate}, events"] = [cells[seed]["runs"][candidate]["events"] for seed in seeds]
    return figures | _costs(cells, seeds)


def _costs(cells: Cells, seeds: Sequence[int]) -> dict[str, Any]:
    """Training MACs and seconds of every family, and of as many separate trainings at the profiles of DPOD."""
    figures: dict[str, Any] = {}
    for kind, unit, factor in (("macs", "giga-MACs", 1 / GIGA), ("seconds", "s", 1.0)):
        separate = {arm: [_sum(cells[seed], arm, kind) for seed in seeds] for arm in SEPARATE}
        for arm, values in separate.items():
            figures[f"{arm}, {kind}"] = _short(values, unit=unit, factor=factor)
        for arm, run in FAMILIES.items():
            parts = {
                "training": [cells[seed]["runs"][run]["train"][kind] for seed in seeds],
                "choosing": [cells[seed]["arms"][arm]["choosing"][kind] for seed in seeds],
                "fine-tuning": [_sum(cells[seed], arm, kind) for seed in seeds],
            }
            for part, values in parts.items() if kind == "macs" else ():
                figures[f"{arm}, {part}, {kind}"] = _short(values, unit=unit, factor=factor)
            total = [sum(each) for each in zip(*parts.values(), strict=True)]
            figures[f"{arm}, family, {kind}"] = _short(total, unit=unit, factor=factor)
            figures[f"separate over {arm}, {kind}"] = _ratio(separate[SCRATCH[ONE_RUN]], total)
    return figures


def _short(values: Sequence[float], **options: Any) -> dict[str, Any]:
    """As `over_seeds`, without the values, which the file holds for accuracies alone."""
    return {key: value for key, value in over_seeds(values, **options).items() if key != "values"}


def _ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, Any]:
    interval = ratio_interval(above, below)
    ends = {"low": interval.low, "high": interval.high}
    if interval.low is not None and interval.high is not None:  # equal values: rounding must not put them outside
        ends = {"low": min(interval.low, interval.mean), "high": max(interval.high, interval.mean)}
    return {"mean": interval.mean, **ends, "n": interval.n, "unit": "x"}


def _sum(cell: Mapping[str, Any], arm: str, kind: str) -> float:
    """Over the budgets: fine-tuning of a family's members, whole trainings of separate models."""
    return sum(cell["arms"][arm][label(budget)]["train"][kind] for budget in BUDGETS)


def tables(task: str) -> list[dict[str, Any]]:
    """How the page shows one task, which is a group of the figures."""
    budgets = [label(budget) for budget in BUDGETS]
    words = {"before": "before fine-tuning", "after": "after fine-tuning, or trained from scratch"}
    made = []

    def add(title: str, arms: Sequence[str], columns: Mapping[str, str | tuple[str, str]]) -> None:
        rows = [(arm,) for arm in arms]
        made.append(table(f"{task}: {title}", factors={"arm": "{}"}, rows=rows, columns=columns))

    for moment in MOMENTS:
        shown = [arm for arm in ARMS if moment == "after" or arm in FAMILIES]
        columns = {budget: (f"{task}/{{0}}, {budget}, {moment}", "percent") for budget in budgets}
        add(f"test accuracy {words[moment]}, by share of the parameters", shown, columns)
    for candidate in CANDIDATES:
        for moment in MOMENTS:
            columns = {budget: (f"{task}/{candidate} minus {{0}}, {budget}, {moment}", "signed") for budget in budgets}
            add(f"'{candidate}' minus each other arm, {words[moment]}", rivals(candidate, moment), columns)
    parts = {"training": "training", "choosing": "choosing", "fine-tuning": "fine-tuning", "whole family": "family"}
    columns = {f"{head}, giga-MACs": (f"{task}/{{0}}, {part}, macs", "bare") for head, part in parts.items()}
    columns |= {
        "whole family, CPU seconds": (f"{task}/{{0}}, family, seconds", "bare"),
        "separate / family, MACs": f"{task}/separate over {{0}}, macs",
        "separate / family, seconds": f"{task}/separate over {{0}}, seconds",
    }
    title = f"cost of {len(BUDGETS)} models as one family, and of separate trainings ('{SCRATCH[ONE_RUN]}') over it"
    add(title, list(FAMILIES), columns)
    columns = {f"{name}, {budget}": f"{task}/{{0}}, {budget}, {name}" for name in SIZES for budget in budgets}
    add("size of the models", ARMS, columns)
    return made


def conclusions(figures: Mapping[str, Any]) -> list[str]:
    """What the data say about DPOD, by task, way of running it, moment and budget, and no more."""
    sentences = []
    for task, found in figures.items():
        for candidate in CANDIDATES:
            sentences += [_verdict(task, candidate, moment, found) for moment in MOMENTS]
        sentences += [_cost_words(task, candidate, found) for candidate in CANDIDATES]
    return sentences


def _verdict(task: str, candidate: str, moment: str, found: Mapping[str, Any]) -> str:
    """How often a candidate is better and worse than its rivals, which these are, and who has the highest mean."""
    sides = {arm: _sides(candidate, arm, found, moment) for arm in rivals(candidate, moment)}
    counts = {side: sum(len(own[side]) for own in sides.values()) for side in ("better", "worse", "apart")}
    total, n = sum(counts.values()), found["plain, uncut"]["n"]
    sentences = [
        f"{task}, '{candidate}' {moment} fine-tuning: of {total} paired comparisons it is better in "
        f"{counts['better']}, worse in {counts['worse']}, and not told apart in {counts['apart']}."
    ]
    for side, words in (("better", "Better than"), ("worse", "Worse than")):
        if arms := [f"'{arm}' (at {listing(own[side])})" for arm, own in sides.items() if own[side]]:
            sentences.append(f"{words} {listing(arms)}.")
    if arms := [f"'{arm}'" for arm, own in sides.items() if len(own["apart"]) == len(BUDGETS)]:
        sentences.append(f"Not told apart at any budget from {listing(arms)}.")
    highest = [f"{_words(budget)} '{_highest(found, label(budget), moment)}'" for budget in BUDGETS]
    sentences.append(f"Highest means: at {listing(highest)}.")
    if n < LOW_N:
        sentences.append(f"{n} seeds only: low-n.")
    sentences.append(f"Intervals are not adjusted: chance alone makes about {total / 20:.1f} of {total} exclude 0.")
    return " ".join(sentences)


def _sides(candidate: str, arm: str, found: Mapping[str, Any], moment: str) -> dict[str, list[str]]:
    """Budgets at which the candidate is better than another arm, worse than it, and not told apart from it."""
    sides: dict[str, list[str]] = {"better": [], "worse": [], "apart": []}
    for budget in BUDGETS:
        gap = found[f"{candidate} minus {arm}, {label(budget)}, {moment}"]
        excluded = gap["low"] is not None and not gap["low"] <= 0 <= gap["high"]
        sides["apart" if not excluded else "better" if gap["mean"] > 0 else "worse"].append(_words(budget))
    return sides


def _words(budget: float) -> str:
    return f"{100 * budget:.0f} %"


def _highest(found: Mapping[str, Any], budget: str, moment: str) -> str:
    means = {arm: found[f"{arm}, {budget}, {moment}"]["mean"] for arm in ARMS if f"{arm}, {budget}, {moment}" in found}
    return max(means, key=lambda arm: means[arm])


def _cost_words(task: str, candidate: str, found: Mapping[str, Any]) -> str:
    """What separate trainings at the same profiles cost, as a multiple of the family."""
    parts = []
    for kind, words in (("macs", "training MACs"), ("seconds", "CPU seconds")):
        ratio = found[f"separate over {candidate}, {kind}"]
        sure = ratio["low"] is not None and not ratio["low"] <= 1 <= ratio["high"]
        parts.append(f"{ratio['mean']:.2f} times its {words}{'' if sure else ' (the interval holds 1)'}")
    return (
        f"{task}, '{candidate}': {len(BUDGETS)} trainings from scratch at the profiles of '{ONE_RUN}' cost "
        f"{' and '.join(parts)}, those of all its training, calibration and fine-tuning."
    )
