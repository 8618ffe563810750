"""Sentences about whole models trained with several optimizers: the best of each, how its best rate moves, its tuning.

The setting to speak of is chosen by validation, and every optimizer is said with the number of its settings: the best
of many looks better than it is, so all are compared once more at an equal number of trials.
"""

from collections.abc import Sequence

from paretorch.evidence.arms import Arm, difference
from paretorch.evidence.difference_words import difference_words
from paretorch.evidence.grids import Grid, grids_of
from paretorch.evidence.words import listing, plural

EQUAL = 4  # trials at which optimizers are compared, or as many as the smallest grid has
NAMED = 3  # runs that did not end well


def grid_sentences(arms: Sequence[Arm], baseline: Arm | None) -> list[str]:
    """Sentences, the main finding first; [] where no arm has an optimizer of its own.

    Args:
        arms: of one sweep.
        baseline: its dense arm.
    """
    if not (grids := grids_of(arms)):
        return []
    return [*_best(grids, baseline), *_moves(grids), *_tuning(grids), *_failures(grids)]


def _best(grids: Sequence[Grid], baseline: Arm | None) -> list[str]:
    """What validation chooses of all, beside the dense model; then what it chooses of the other grids."""
    workload = next(iter(grids[0].arms.values())).runs[0].workload
    found = [(grid, arm) for grid in grids if (arm := grid.best) is not None]
    if not found:
        return [f"On {workload}, no setting of {listing([grid.name for grid in grids])} ended well with every seed."]
    first, best = max(found, key=lambda item: item[0].score(item[1]))
    among = f"the best of {plural(len(grids), 'optimizer')} " if len(grids) > 1 else ""
    sentence = f"On {workload}, {among}by validation is {best.label}, {_chosen(first)}: it reaches {_reached(best)}"
    if baseline is not None and baseline.quality is not None:
        dense = best.metric.mean(baseline.quality)
        sentence += f" against the dense model's {dense}, {_against(best, baseline, 'dense')}"
    return [f"{sentence}."] + [
        f"Of {grid.name}, validation chooses {arm.label}, {_chosen(grid)}: it reaches {_reached(arm)}, "
        f"{_against(arm, best, best.label)}."
        for grid, arm in found
        if arm is not best
    ]


def _moves(grids: Sequence[Grid]) -> list[str]:
    """Whether the best rate stays where it is when epsilon changes."""
    sentences = []
    for grid in grids:
        if (moved := grid.moved) is None:
            continue
        best = [rate for epsilon in grid.given if (rate := grid.best_rate(epsilon)) is not None]
        where = (
            f"{grid.name}: from eps {grid.given[0]:g} to {grid.given[-1]:g}, the learning rate that validation chooses "
        )
        if moved == 0:
            words = f"stays at {best[0]:g}"
        else:
            words = f"moves over {plural(round(moved, 1), 'decade')}, between {min(best):g} and {max(best):g}"
        outside = "; some are ends of the grid, and a better rate may lie outside" if grid.at_edge else ""
        sentences.append(f"{where}{words}{outside}. {_in_turn(grid)}")
    return sentences


def _in_turn(grid: Grid) -> str:
    """What the cheaper search finds: rates at one epsilon, then epsilons at the best of them."""
    means = {start: arm.validation.mean for start, arm in grid.in_turn.items() if arm.validation is not None}
    best = grid.best
    if not means or best is None or best.validation is None:
        return ""
    worst, top = (pick(means.values(), key=lambda mean: grid.sign * mean) for pick in (min, max))
    value = grid.metric.value
    reached = f"{value(worst)} whichever eps they start from"
    if worst != top:
        reached = f"{value(worst)} to {value(top)}, depending on the eps they start from"
    trials = plural(len(grid.rates) + len(grid.given) - 1, "trial")
    return (
        f"{trials}, the rates at one eps and then each eps at the best of them, find a validation {grid.metric.name} "
        f"of {reached}; all {len(grid.arms)} find {value(best.validation.mean)}."
    )


def _tuning(grids: Sequence[Grid]) -> list[str]:
    """What each optimizer is expected to reach with the same number of trials."""
    n = min([EQUAL, *(len(grid.arms) for grid in grids)])
    expected = {grid.name: value for grid in grids if (value := grid.expected(n)) is not None}
    if n < 2 or len(expected) < 2:
        return []
    metric = grids[0].metric
    ranked = sorted(expected, key=expected.__getitem__, reverse=metric.higher_is_better)
    named = listing([f"{name} {metric.value(expected[name])}" for name in ranked])
    return [
        f"The best of {n} settings drawn at random from each grid is expected to reach, on validation data: {named} "
        "(median over seeds)."
    ]


def _failures(grids: Sequence[Grid]) -> list[str]:
    failed = [run for grid in grids for run in grid.failed]
    if not failed:
        return []
    runs = sum(len(arm.runs) for grid in grids for arm in grid.arms.values())
    named = listing(failed) if len(failed) <= NAMED else f"{', '.join(failed[:NAMED])} and more"
    return [f"{len(failed)} of {plural(runs, 'training')} did not end well and count as the worst there is: {named}."]


def _chosen(grid: Grid) -> str:
    return f"one of {plural(len(grid.arms), 'setting')}"


def _reached(arm: Arm) -> str:
    assert arm.quality is not None  # else it was not the best
    return f"{arm.metric.mean(arm.quality)} test {arm.metric.name}"


def _against(arm: Arm, other: Arm, name: str) -> str:
    return difference_words(arm, difference(arm, other), name)
