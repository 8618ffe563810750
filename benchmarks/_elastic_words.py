"""Figures, tables and conclusions of `elastic_width`, all computed from the results of its cells.

    conclusions(figures)    sentences of the form "better than A and B; worse than C; not told apart from D"

An arm is called better or worse only where the 95 % interval of the paired difference excludes 0. How many such calls
chance alone would make is said beside them, and so is which arm has the highest mean, whoever it is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from _elastic_problem import BUDGETS
from _harness import over_seeds, table

from paretorch.evidence.statistics import LOW_N, ratio_interval
from paretorch.evidence.words import listing

CANDIDATE = "DPOD"
SCRATCH, SCRATCH_UNIFORM = "scratch, DPOD profile", "scratch, uniform widths"
FAMILIES = {  # arm: the elastic training it is read from
    CANDIDATE: "DPOD",
    "single layer, searched": "single layer",
    "independent, searched": "independent",
    "uniform OD, searched": "uniform OD",
    "uniform OD, uniform widths": "uniform OD",
    "slimmable, uniform widths": "slimmable",
    "plain, cut by norm": "plain",
}
SEPARATE = (SCRATCH, SCRATCH_UNIFORM)
ARMS = (*FAMILIES, *SEPARATE)
MOMENTS = ("before", "after")
UNIT = "percentage points"
TERA = 1e12
Cells = Mapping[int, Mapping[str, Any]]  # by seed


def label(budget: float) -> str:
    return f"{budget:.0%}"


def figures_of(cells: Cells) -> dict[str, Any]:
    """All figures of one task that rest on its seeds, in their order."""
    seeds = sorted(cells)
    figures: dict[str, Any] = {}

    def over(read: Any, **options: Any) -> dict[str, Any]:
        return over_seeds([read(cells[seed]) for seed in seeds], **options)

    figures["plain training, uncut"] = over(lambda cell: cell["plain"]["accuracy"], unit="%", factor=100)
    for budget in map(label, BUDGETS):
        for arm in ARMS:
            figures[f"{arm}, {budget}, parameters"] = over(
                lambda cell, a=arm, b=budget: cell["arms"][a][b]["params"], unit=""
            )
            figures[f"{arm}, {budget}, MACs"] = over(lambda cell, a=arm, b=budget: cell["arms"][a][b]["macs"], unit="")
            for moment in MOMENTS if arm in FAMILIES else ("after",):
                own = [cells[seed]["arms"][arm][budget][moment] for seed in seeds]
                figures[f"{arm}, {budget}, {moment}"] = over_seeds(own, unit="%", factor=100)
                if arm != CANDIDATE:
                    first = [cells[seed]["arms"][CANDIDATE][budget][moment] for seed in seeds]
                    gap = over_seeds(first, minus=own, unit=UNIT, factor=100)
                    figures[f"{CANDIDATE} minus {arm}, {budget}, {moment}"] = gap
        figures[f"{CANDIDATE} profiles, {budget}"] = [
            "-".join(map(str, cells[seed]["arms"][CANDIDATE][budget]["profile"])) for seed in seeds
        ]
    return figures | _costs(cells, seeds)


def _costs(cells: Cells, seeds: Sequence[int]) -> dict[str, Any]:
    """Training MACs and seconds of every family, and of as many separate trainings at the profiles of DPOD."""
    figures: dict[str, Any] = {}
    for kind, unit, factor in (("macs", "tera-MACs", 1 / TERA), ("seconds", "s", 1.0)):
        separate = {arm: [_sum(cells[seed], arm, kind) for seed in seeds] for arm in SEPARATE}
        for arm, values in separate.items():
            figures[f"{arm}, {kind}"] = over_seeds(values, unit=unit, factor=factor)
        for arm, run in FAMILIES.items():
            parts = {
                "elastic training": [cells[seed]["runs"][run]["train"][kind] for seed in seeds],
                "choosing": [cells[seed]["arms"][arm]["choosing"][kind] for seed in seeds],
                "fine-tuning": [_sum(cells[seed], arm, kind) for seed in seeds],
            }
            for part, values in parts.items():
                figures[f"{arm}, {part}, {kind}"] = over_seeds(values, unit=unit, factor=factor)
            total = [sum(each) for each in zip(*parts.values(), strict=True)]
            figures[f"{arm}, family, {kind}"] = over_seeds(total, unit=unit, factor=factor)
            interval = ratio_interval(separate[SCRATCH], total)
            figures[f"separate trainings over {arm}, {kind}"] = {
                "mean": interval.mean,
                "low": None if interval.low is None else min(interval.low, interval.mean),
                "high": None if interval.high is None else max(interval.high, interval.mean),
                "n": interval.n,
                "unit": "x",
            }
    return figures


def _sum(cell: Mapping[str, Any], arm: str, kind: str) -> float:
    """Over the budgets: fine-tuning of a family's members, whole trainings of separate models."""
    return sum(cell["arms"][arm][label(budget)]["train"][kind] for budget in BUDGETS)


def tables(task: str, figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How the page shows one task; `figures` are all, with tasks as groups."""
    known = {f"{task}/{key}" for key in figures[task]}
    budgets = [label(budget) for budget in BUDGETS]
    words = {"before": "before fine-tuning", "after": "after fine-tuning, or trained from scratch"}
    made = []
    for moment in MOMENTS:
        rows = [(arm,) for arm in ARMS if moment == "after" or arm in FAMILIES]
        columns = {budget: (f"{task}/{{0}}, {budget}, {moment}", "percent") for budget in budgets}
        title = f"{task}: test accuracy {words[moment]}, by share of the parameters"
        made.append(table(title, factors={"arm": "{}"}, rows=rows, columns=columns, known=known))
    for moment in MOMENTS:
        rows = [(arm,) for arm in ARMS if arm != CANDIDATE and (moment == "after" or arm in FAMILIES)]
        columns = {budget: (f"{task}/{CANDIDATE} minus {{0}}, {budget}, {moment}", "signed") for budget in budgets}
        title = f"{task}: {CANDIDATE} minus each other arm, {words[moment]}"
        made.append(table(title, factors={"arm": "{}"}, rows=rows, columns=columns, known=known))
    costs = {
        "elastic training": "elastic training",
        "choosing": "choosing",
        "fine-tuning all": "fine-tuning",
        "whole family": "family",
    }
    columns = {f"{head}, tera-MACs": f"{task}/{{0}}, {part}, macs" for head, part in costs.items()}
    columns |= {"whole family, CPU seconds": f"{task}/{{0}}, family, seconds"}
    columns |= {
        "separate / family, MACs": f"{task}/separate trainings over {{0}}, macs",
        "separate / family, seconds": f"{task}/separate trainings over {{0}}, seconds",
    }
    title = f"{task}: what {len(BUDGETS)} models cost, as one family and as separate trainings at DPOD's profiles"
    rows = [(arm,) for arm in FAMILIES]
    made.append(table(title, factors={"family": "{}"}, rows=rows, columns=columns, known=known))
    sizes = {f"{name}, {budget}": f"{task}/{{0}}, {budget}, {name}" for name in ("parameters",) for budget in budgets}
    sizes |= {f"MACs, {budget}": f"{task}/{{0}}, {budget}, MACs" for budget in budgets}
    title = f"{task}: size of the models"
    made.append(table(title, factors={"arm": "{}"}, rows=[(arm,) for arm in ARMS], columns=sizes, known=known))
    return made


def conclusions(figures: Mapping[str, Any]) -> list[str]:
    """What the data say about DPOD, by task, moment and budget, and no more."""
    sentences = []
    for task, found in figures.items():
        for moment, words in (("before", "before fine-tuning"), ("after", "after fine-tuning")):
            counts = dict.fromkeys(("better", "worse", "apart"), 0)
            details = []
            for budget in map(label, BUDGETS):
                sides = _sides(found, budget, moment)
                for side, arms in sides.items():
                    counts[side] += len(arms)
                details.append(f"at {budget.replace('%', ' %')} {_told(sides)}; {_highest(found, budget, moment)}")
            total = sum(counts.values())
            n = found["plain training, uncut"]["n"]
            few = f" {n} seeds only: low-n." if n < LOW_N else ""
            sentences.append(
                f"{task}, {words}: of {total} paired comparisons {CANDIDATE} is better in {counts['better']}, worse in "
                f"{counts['worse']}, and not told apart in {counts['apart']}. In detail, {'. '.join(details)}.{few} "
                f"Intervals are not adjusted: chance alone makes about {total / 20:.0f} of {total} exclude 0."
            )
        sentences.append(_cost_words(task, found))
    return sentences


def _sides(found: Mapping[str, Any], budget: str, moment: str) -> dict[str, list[str]]:
    """Arms that DPOD is better than, worse than, and not told apart from."""
    sides: dict[str, list[str]] = {"better": [], "worse": [], "apart": []}
    for arm in ARMS:
        gap = found.get(f"{CANDIDATE} minus {arm}, {budget}, {moment}")
        if gap is not None:
            excluded = gap["low"] is not None and not gap["low"] <= 0 <= gap["high"]
            sides["apart" if not excluded else "better" if gap["mean"] > 0 else "worse"].append(f"'{arm}'")
    return sides


def _told(sides: Mapping[str, list[str]]) -> str:
    words = {"better": "it is better than", "worse": "it is worse than", "apart": "it is not told apart from"}
    return ", ".join(f"{words[side]} {listing(arms)}" for side, arms in sides.items() if arms)


def _highest(found: Mapping[str, Any], budget: str, moment: str) -> str:
    means = {arm: found[f"{arm}, {budget}, {moment}"]["mean"] for arm in ARMS if f"{arm}, {budget}, {moment}" in found}
    best = max(means, key=lambda arm: means[arm])
    return f"the highest mean is that of '{best}', {means[best]:.1f} %"


def _cost_words(task: str, found: Mapping[str, Any]) -> str:
    """What separate trainings at the same profiles cost, as a multiple of the family."""
    parts = []
    for kind, words in (("macs", "training MACs"), ("seconds", "CPU seconds")):
        ratio = found[f"separate trainings over {CANDIDATE}, {kind}"]
        sure = ratio["low"] is not None and not ratio["low"] <= 1 <= ratio["high"]
        parts.append(f"{ratio['mean']:.2f} times its {words}{'' if sure else ' (the interval holds 1)'}")
    return (
        f"{task}: training {len(BUDGETS)} models from scratch, one at each profile of {CANDIDATE}, cost "
        f"{' and '.join(parts)}: those of its elastic training, the choice of profiles and all fine-tuning together."
    )
