"""Sentences about whole models trained with several optimizers: the best of each, how its best rate moves, its tuning.

The setting to speak of is chosen by validation and quoted on test data. Every optimizer is said with the number of its
settings and what they cost together, since the best of many looks better than it is; all are compared once more at an
equal number of trials.
"""

import math
from collections.abc import Sequence

from paretorch.evidence.arms import Arm, difference
from paretorch.evidence.difference_words import difference_words
from paretorch.evidence.grids import Grid, best_of, grids_of
from paretorch.evidence.quantities import training_epochs
from paretorch.evidence.statistics import LOW_N, Interval, paired_interval
from paretorch.evidence.words import listing, plural, seeds

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
    moves = [sentence for grid in grids for sentence in (_moves(grid), _in_turn(grid)) if sentence]
    return [*_best(grids, baseline), *moves, *_tuning(grids), *_failures(grids)]


def _best(grids: Sequence[Grid], baseline: Arm | None) -> list[str]:
    """What validation chooses of all, beside the dense model; then what it chooses of the other grids."""
    workload = next(iter(grids[0].arms.values())).runs[0].workload
    found = [(grid, arm) for grid in grids if (arm := grid.best) is not None]
    first = best_of(grids)
    if first is None:
        return [f"On {workload}, no setting of {listing([grid.name for grid in grids])} ended well with every seed."]
    best = next(arm for grid, arm in found if grid is first)
    level = [arm.label for grid, arm in found if grid is not first and grid.score == first.score]
    level_words = f" (level with {listing(level)})" if level else ""
    among = f"best of {plural(len(grids), 'optimizer')}" if len(grids) > 1 else "best setting"
    subject = f"the {among} by validation is {best.label}{level_words}, {_chosen(first)}: it"
    if len(grids) == len(first.arms) == 1:
        subject = f"{best.label}, the only setting that was tried,"
    sentence = f"On {workload}, {subject} reaches {_reached(best)}"
    if baseline is not None and baseline.quality is not None:
        dense = best.metric.mean(baseline.quality)
        sentence += f" against the dense model's {dense}, {_against(best, baseline, 'dense')}"
        dense_epochs = baseline.interval(training_epochs)
        sentence += _unequal(first, 1, dense_epochs, dense_epochs)
    return (
        [f"{sentence}."]
        + [
            f"Of {grid.name}, validation chooses {arm.label}, {_chosen(grid)}: it reaches {_reached(arm)}, "
            f"{_against(arm, best, best.label)}"
            f"{_unequal(grid, len(first.arms), best.interval(training_epochs), _epochs_of_all(first))}."
            for grid, arm in found
            if arm is not best
        ]
        + [f"Of {grid.name}, nothing is chosen: no seed has run all its settings." for grid in grids if not grid.seeds]
    )


def _unequal(grid: Grid, settings: int, one: Interval | None, every: Interval | None) -> str:
    """A clause when the choice of a grid was not made with as many settings and as long trainings as another's.

    Args:
        grid: whose choice is spoken of.
        settings: from how many the other was chosen.
        one: epochs of the other's training.
        every: epochs of all its settings together.
    """
    found = []
    if len(grid.arms) != settings:
        found.append(f"chosen among {plural(len(grid.arms), 'setting')} against {settings}")
    best = grid.best
    assert best is not None  # else there was no choice
    for mine, other, words in (
        (best.interval(training_epochs), one, "trained for {} against {}"),
        (_epochs_of_all(grid), every, "{} for all settings against {}"),
    ):
        if mine is not None and other is not None and not math.isclose(mine.mean, other.mean, rel_tol=1e-3):
            found.append(words.format(plural(mine.mean, "epoch"), f"{round(other.mean, 2):g}"))
    return f"; {', '.join(found)}" if found else ""


def _epochs_of_all(grid: Grid) -> Interval | None:
    """Of all settings of a grid together, with one seed."""
    return None if grid.charged is None else grid.charged.interval(training_epochs)


def _moves(grid: Grid) -> str:
    """Where the best rate lies at each epsilon, and what of its movement can be claimed."""
    if grid.moved is None or grid.moved_surely is None:
        return ""
    epsilons = grid.compared
    best = [rate for epsilon in epsilons if (rate := grid.best_rate(epsilon)) is not None]
    at_edge = [rate for epsilon, rate in zip(epsilons, best, strict=True) if epsilon in grid.at_edge]
    where = f"{grid.name}: at {len(epsilons)} epsilons from {epsilons[0]:g} to {epsilons[-1]:g}, "
    given = [epsilon for epsilon in grid.epsilons if epsilon is not None]
    others = "; at other epsilons fewer than two rates ended well" if len(epsilons) < len(given) else ""
    if grid.moved == 0:
        words = f"validation chooses the learning rate {best[0]:g} of the {len(grid.rates)} tried each time"
        edge = ", an end of the grid: a better rate may lie outside, so whether the best one moves is not known"
    else:
        span = plural(round(grid.moved, 1), "decade")
        words = (
            f"the learning rates that validation chooses of the {len(grid.rates)} tried lie between {min(best):g} and "
            f"{max(best):g}, {span} apart"
        )
        edge = "; some are ends of the grid, and a better rate may lie outside"
    return f"{where}{words}{edge if at_edge else ''}{others}; {_surely(grid, grid.moved, grid.moved_surely)}."


def _surely(grid: Grid, moved: float, surely: float) -> str:
    """What the intervals of the differences between rates allow to say."""
    if len(grid.seeds) < 2:
        return "one seed gives no interval, so nothing can be claimed of it"
    few = ", low-n" if len(grid.seeds) < LOW_N else ""
    bounds = f"(paired intervals, 95 % for all comparisons of rates together, {seeds(len(grid.seeds))}{few})"
    if moved == 0:
        sole = all(len(grid.alike(epsilon)) == 1 for epsilon in grid.compared)
        words = "all others are worse" if sole else "others cannot be told from it"
        return f"{words} {bounds}"
    if surely == 0:
        return f"one rate cannot be told from the best at any of them, so no movement can be claimed {bounds}"
    return f"a movement over at least {plural(round(surely, 1), 'decade')} can be claimed {bounds}"


def _in_turn(grid: Grid) -> str:
    """What the cheaper search chooses: the rate at one epsilon, then the epsilon at this rate."""
    found, best = grid.in_turn, grid.best
    if not found or best is None:
        return ""
    counts = sorted({grid.means.trials_in_turn(start) for start in found})
    trials = plural(counts[0], "trial") if len(counts) == 1 else f"{counts[0]} to {plural(counts[-1], 'trial')}"
    search = f"{grid.name}: {trials}, the rates at one eps and then each eps at the best of them, "
    missed = {start: arm for start, arm in found.items() if arm is not best}
    if not missed:
        return f"{search}choose the same setting as all {len(grid.arms)}, whichever eps they start from."
    worst = min if grid.metric.higher_is_better else max
    start, arm = worst(missed.items(), key=lambda item: grid.means.value(_point(grid, item[1])))
    name = "its own eps" if start is None else f"eps {start:g}"
    return (
        f"{search}choose the same setting as all {len(grid.arms)} from {len(found) - len(missed)} of {len(found)}; "
        f"from {name}, the worst start by validation, they choose {arm.label}, which reaches {_reached(arm)}, "
        f"{_against(arm, best, best.label)}."
    )


def _tuning(grids: Sequence[Grid]) -> list[str]:
    """What each optimizer is expected to reach with the same number of trials."""
    known = [grid for grid in grids if grid.seeds and len(grid.arms) > 1]  # nothing was chosen where one setting is
    if len(known) < 2:
        return []
    n = min([EQUAL, *(len(grid.arms) for grid in known)])
    metric = grids[0].metric
    finite = [(grid, found) for grid in known if (found := grid.expected_mean(n)) is not None]
    finite.sort(key=lambda item: item[1].mean, reverse=metric.higher_is_better)
    parts = [
        f"{grid.name} {metric.mean(found)}{'' if grid is finite[0][0] else f', {_gap(grid, finite[0][0], n)}'}"
        for grid, found in finite
    ]
    parts += [
        f"{grid.name} nothing finite, since {n} settings may all be trainings that did not end well"
        for grid in known
        if grid.expected_mean(n) is None
    ]
    epochs = {grid.name: n * grid.trial_epochs for grid in known if grid.trial_epochs is not None}
    costs = ""
    if epochs and not math.isclose(min(epochs.values()), max(epochs.values()), rel_tol=1e-3):
        named = listing([f"{plural(total, 'epoch')} with {name}" for name, total in epochs.items()])
        costs = f". So many trainings take {named}"
    return [
        f"The best of {n} settings drawn at random from each grid is expected to reach, on validation data: "
        f"{'; '.join(parts)}{costs}."
    ]


def _gap(grid: Grid, other: Grid, n: int) -> str:
    """The paired difference of the expected bests, in words."""
    mine, theirs = grid.expected(n), other.expected(n)
    shared = sorted(mine.keys() & theirs.keys())
    gap = paired_interval([mine[seed] for seed in shared], [theirs[seed] for seed in shared]) if shared else None
    return difference_words(next(iter(grid.arms.values())), gap, other.name)


def _failures(grids: Sequence[Grid]) -> list[str]:
    failed = [run for grid in grids for run in grid.failed]
    if not failed:
        return []
    runs = sum(len(arm.runs) for grid in grids for arm in grid.arms.values())
    named = listing(failed) if len(failed) <= NAMED else f"{', '.join(failed[:NAMED])} and more"
    return [f"{len(failed)} of {plural(runs, 'training')} did not end well and count as the worst there is: {named}."]


def _chosen(grid: Grid) -> str:
    """'one of 9 settings', of which those that did not end well are counted: they were tried."""
    if len(grid.arms) == 1:
        return "its only setting"
    lost = sum(value is None for value in grid.means.values.values())
    return f"one of {plural(len(grid.arms), 'setting')}" + (f", {lost} of which did not end well" if lost else "")


def _point(grid: Grid, arm: Arm) -> tuple[float, float | None]:
    return next(point for point, found in grid.arms.items() if found is arm)


def _reached(arm: Arm) -> str:
    assert arm.quality is not None  # else it was not the best
    return f"{arm.metric.mean(arm.quality)} test {arm.metric.name}"


def _against(arm: Arm, other: Arm, name: str) -> str:
    return difference_words(arm, difference(arm, other), name)
