"""Figures, tables and conclusions of `optimizer_grids`, all computed from the results of its cells.

A task is shown once at least three seeds of its grid are whole, AdamW on it once it is whole for all of these;
differences are paired by seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from _harness import add_equal, over_seeds, table
from _optimizer_grids_problems import NAMES, OURS, Measure, Problem
from _sides import ABOVE, APART, BELOW, chance, side

from paretorch.evidence.grid_values import GridValues, Point, mean_values
from paretorch.evidence.statistics import LOW_N
from paretorch.evidence.words import listing

OTHERS = tuple(name for name in NAMES if name != OURS)
TUNED = tuple(name for name in NAMES if name != "SGD")  # SGD has one line, which is its grid
LATE = "AdamW"  # may be missing: with little decay and few steps it is close to Adam
FROM = 1e-2  # the smallest epsilon over which the best rate is followed
COUNTS = (1, 2, 4, 8, 16)  # of random points
WHOLE, LINES, RANDOM = "whole grid", "two lines", "random points"
DIVERGED, NO_BETTER = "diverged", "no better"


@dataclass(frozen=True)
class Study:
    """The grids of one seed by optimizer: what settings are chosen by, and the test metric."""

    criterion: Mapping[str, GridValues]
    test: Mapping[str, GridValues]


def studies_of(
    problem: Problem,
    lines: Mapping[tuple[str, float | None, int], Sequence[Mapping[str, Any]]],
    starts: Mapping[int, Mapping[str, float]],
) -> dict[int, Study]:
    """The seeds whose grid is whole for all optimizers, or for all but `LATE`.

    Args:
        problem: the task.
        lines: by optimizer, epsilon and seed the trials at all rates.
        starts: by seed what the untrained model measures.
    """
    found = {}
    for seed in problem.seeds:
        keys = {name: [(name, epsilon, seed) for epsilon in problem.epsilons_of(name)] for name in NAMES}
        whole = [name for name in NAMES if all(key in lines for key in keys[name])]
        if seed not in starts or {*NAMES} - {LATE} - {*whole}:
            continue
        grids: dict[str, dict[str, GridValues]] = {"criterion": {}, "test": {}}
        for part, measure in (("criterion", problem.criterion), ("test", problem.test)):
            for name in whole:
                values: dict[Point, float | None] = {
                    (one["rate"], epsilon): one[part]
                    for epsilon in problem.epsilons_of(name)
                    for one in lines[name, epsilon, seed]
                }
                floor = starts[seed][part]  # a trial that was no good leaves the untrained model
                grids[part][name] = GridValues(values=values, floor=floor, higher_is_better=measure.higher)
        found[seed] = Study(**grids)
    return found


def figures_of(
    problem: Problem,
    studies: Mapping[int, Study],
    lines: Mapping[tuple[str, float | None, int], Sequence[Mapping[str, Any]]],
    starts: Mapping[int, Mapping[str, float]],
) -> dict[str, Any]:
    """All figures of one task; arguments as for `studies_of`.

    Raises:
        RunError: trials that took another number of examples, or seeds whose real images were judged otherwise.
    """
    figures = _equal(problem, lines, starts)
    figures["untrained, test"] = _over([study.test[OURS].floor for study in studies.values()], problem.test)
    names = [name for name in NAMES if all(name in study.criterion for study in studies.values())]
    values: dict[str, list[float]] = {}
    for name in names:
        own = [study.criterion[name] for study in studies.values()]
        tests = [study.test[name] for study in studies.values()]
        mean = mean_values(own)
        figures |= {f"{name}, {_point(point)}": _shown(mean, point, problem.criterion) for point in mean.values}
        figures[f"{name}, trials"] = len(mean.values)
        figures[f"{name}, trials of two lines"] = trials = mean.trials_in_turn(mean.epsilons[0])
        figures[f"{name}, diverged"] = sum(value is None for grid in own for value in grid.values.values())
        if name in TUNED:
            for epsilon in mean.epsilons:
                rate = mean.best_rate(epsilon)
                figures[f"{name}, best rate, eps {epsilon:g}"] = NO_BETTER if rate is None else rate
            moved = [decades for grid in own if (decades := grid.moved(above=FROM)) is not None]
            if len(moved) == len(own):
                figures[f"{name}, moved"] = over_seeds(moved, unit="decades")
        best = [grid.best() for grid in own]
        ends = [[grid.in_turn(epsilon) for epsilon in grid.epsilons] for grid in own]
        values[f"{name}, {WHOLE}"] = [grid.value(point) for grid, point in zip(own, best, strict=True)]
        values[f"{name}, {RANDOM}"] = [grid.random_points(trials) for grid in own]
        for count in COUNTS:
            if count <= len(mean.values):
                values[f"{name}, best of {count}"] = [grid.random_points(count) for grid in own]
        values[f"{name}, {LINES}"] = [_mean(grid, points) for grid, points in zip(own, ends, strict=True)]
        values[f"{name}, {WHOLE}, test"] = [grid.value(point) for grid, point in zip(tests, best, strict=True)]
        values[f"{name}, {LINES}, test"] = [_mean(grid, points) for grid, points in zip(tests, ends, strict=True)]
    for key, found in values.items():
        figures[key] = _over(found, problem.test if key.endswith("test") else problem.criterion)
    for name in names[1:]:
        for way in (WHOLE, LINES):
            gap = _gap(values[f"{OURS}, {way}, test"], values[f"{name}, {way}, test"], problem.test)
            figures[f"{OURS} minus {name}, {way}, test"] = gap
    for name in [name for name in TUNED if name in names]:
        gap = _gap(values[f"{name}, {LINES}"], values[f"{name}, {RANDOM}"], problem.criterion)
        figures[f"{name}, {LINES} minus {RANDOM}"] = gap
    return figures


def _equal(
    problem: Problem,
    lines: Mapping[tuple[str, float | None, int], Sequence[Mapping[str, Any]]],
    starts: Mapping[int, Mapping[str, float]],
) -> dict[str, Any]:
    """What all trials, or all seeds, have in common."""
    figures: dict[str, Any] = {"training samples of a trial": problem.steps * problem.batch_size}
    for (_, _, seed), trials in lines.items():
        for one in trials:
            if one["criterion"] is not None:
                add_equal(figures, "training samples of a trial", {seed: one}, "samples")
    if problem.judged:
        add_equal(figures, "real against real", starts, "floor")
    return figures


def _mean(grid: GridValues, points: Sequence[Point]) -> float:
    return sum(grid.value(point) for point in points) / len(points)


def _over(values: Sequence[float], measure: Measure) -> dict[str, Any]:
    return over_seeds(values, unit=measure.unit, factor=measure.factor)


def _gap(values: Sequence[float], minus: Sequence[float], measure: Measure) -> dict[str, Any]:
    unit = "percentage points" if measure.unit == "%" else measure.unit
    return over_seeds(values, minus=minus, unit=unit, factor=measure.factor)


def _point(point: Point) -> str:
    rate, epsilon = point
    return f"lr {rate:g}" if epsilon is None else f"lr {rate:g}, eps {epsilon:g}"


def _shown(mean: GridValues, point: Point, measure: Measure) -> float | str:
    """A cell of the heat map: the mean, or why there is none."""
    found = mean.values[point]
    if found is None:
        return DIVERGED
    return NO_BETTER if mean.value(point) == mean.floor else measure.factor * found


def tables(problems: Sequence[Problem], figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How the page shows them: what tuning needs and reaches, then the grid of every task."""
    known = {f"{task}/{name}" for task, own in figures.items() for name in own}
    epsilons = sorted({epsilon for problem in problems for epsilon in problem.epsilons})
    rows = [(task, name) for task, own in figures.items() for name in NAMES if f"{name}, trials" in own]
    adaptive = [row for row in rows if row[1] in TUNED]
    both = {"task": "{}", "optimizer": "{}"}
    rates: dict[str, str | tuple[str, str]] = {
        f"eps {short(epsilon)}": f"{{0}}/{{1}}, best rate, eps {epsilon:g}" for epsilon in epsilons
    }
    moved = {f"decades moved, from eps {short(FROM)} on": "{0}/{1}, moved"}
    title = "Best learning rate at each epsilon"
    made = [table(title, factors=both, rows=adaptive, columns=rates | moved, known=known)]
    columns: dict[str, str | tuple[str, str]] = {
        "trials of the grid": "{0}/{1}, trials",
        f"best of the {WHOLE}": f"{{0}}/{{1}}, {WHOLE}",
        "trials of two lines": "{0}/{1}, trials of two lines",
        f"{LINES}": f"{{0}}/{{1}}, {LINES}",
        f"as many {RANDOM}": f"{{0}}/{{1}}, {RANDOM}",
    }
    title = "What tuning reaches, by what settings are chosen by"
    made.append(table(title, factors=both, rows=rows, columns=columns, known=known))
    columns = {f"best of {count}": f"{{0}}/{{1}}, best of {count}" for count in COUNTS}
    title = "Expected best of random points of the grid"
    made.append(table(title, factors=both, rows=rows, columns=columns, known=known))
    for way in (WHOLE, LINES):
        columns = {name: f"{{0}}/{name}, {way}, test" for name in NAMES}
        columns |= {f"{OURS} minus {name}": (f"{{0}}/{OURS} minus {name}, {way}, test", "signed") for name in OTHERS}
        title = f"On the test set, tuned by {'the whole grid' if way == WHOLE else 'two lines'}"
        names = [(problem.name,) for problem in problems]
        made.append(table(title, factors={"task": "{}"}, rows=names, columns=columns, known=known))
    return [*made, *(_heat_map(problem, figures[problem.name]) for problem in problems)]


def _heat_map(problem: Problem, own: Mapping[str, Any]) -> dict[str, Any]:
    """Every point of the grid, optimizers and epsilons downwards, rates to the right."""
    laid = []
    for name in [name for name in NAMES if f"{name}, trials" in own]:
        for epsilon in problem.epsilons_of(name):
            keys = [f"{problem.name}/{name}, {_point((rate, epsilon))}" for rate in problem.rates]
            cells = [{"figure": key, "format": f".{problem.criterion.decimals}"} for key in keys]
            laid.append([name, "none" if epsilon is None else short(epsilon), *cells])
    better = "higher" if problem.criterion.higher else "lower"
    return {
        "title": f"{problem.name}, {problem.criterion.words} by learning rate, {better} is better",
        "columns": ["optimizer", "eps", *(short(rate) for rate in problem.rates)],
        "rows": laid,
    }


def short(value: float) -> str:
    """1e-8 and not 1e-08."""
    return f"{value:g}".replace("e-0", "e-").replace("e+0", "e")


def conclusions(problems: Sequence[Problem], figures: Mapping[str, Any]) -> list[str]:
    """What the data say, and no more."""
    measures = {problem.name: (problem.criterion, problem.test) for problem in problems}
    sentences, gaps = [_decades(problems, figures), _edges(problems, figures)], []
    for way, words in ((WHOLE, "the whole grid"), (LINES, "two lines")):
        for name in OTHERS:
            own = _of_tasks(figures, f"{OURS} minus {name}, {way}, test")
            gaps += own.values()
            directions = {task: measures[task][1].higher for task in own}
            sentences.append(preference(f"{OURS} against {name}, tuned by {words}, on the test set", own, directions))
    for name in TUNED:
        own = _of_tasks(figures, f"{name}, {LINES} minus {RANDOM}")
        gaps += own.values()
        directions = {task: measures[task][0].higher for task in own}
        sentences.append(preference(f"{name}, {LINES} against as many {RANDOM} of its grid", own, directions))
    return [*filter(None, sentences), chance(gaps)]


def _of_tasks(figures: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {task: own[key] for task, own in figures.items() if key in own}


def preference(name: str, gaps: Mapping[str, Mapping[str, Any]], higher: Mapping[str, bool]) -> str:
    """On which tasks a paired difference is for the first and on which for the second.

    Args:
        name: of the comparison.
        gaps: first minus second, by task.
        higher: by task, whether more is better.
    """
    words: dict[str, list[str]] = {"better": [], "worse": [], "not told apart": []}
    for task, gap in gaps.items():
        good, bad = (ABOVE, BELOW) if higher[task] else (BELOW, ABOVE)
        words[{good: "better", bad: "worse", APART: "not told apart"}[side(gap)]].append(task)
    parts = [f"{word} on {listing(tasks)}" for word, tasks in words.items() if tasks]
    few = " Few seeds: low-n." if any(gap["n"] < LOW_N for gap in gaps.values()) else ""
    return f"{name}: {', '.join(parts)}.{few}" if parts else ""


def decades_of(problems: Sequence[Problem], figures: Mapping[str, Any]) -> list[tuple[Problem, float, float]]:
    """Tasks, and how far the best rate moves on them with AvaGrad and with Adam, in the mean over seeds.

    First the tasks that speak against the claim: at most one decade with AvaGrad and at least two with Adam.
    """
    keys = {name: f"{name}, moved" for name in (OURS, "Adam")}
    known = [problem for problem in problems if {*keys.values()} <= figures[problem.name].keys()]
    found = [(problem, *(figures[problem.name][key]["mean"] for key in keys.values())) for problem in known]
    return sorted(found, key=lambda one: _fits(*one[1:]))


def _fits(ours: float, adam: float) -> bool:
    return ours <= 1 and adam >= 2


def _decades(problems: Sequence[Problem], figures: Mapping[str, Any]) -> str:
    """On which tasks the best rate stays with one optimizer and moves with the other."""
    words: dict[str, list[str]] = {"false on": [], "true on": []}
    for problem, ours, adam in decades_of(problems, figures):
        ends = f"{ours:.1f} and {adam:.1f} decades to eps {short(max(problem.epsilons))}"
        words["true on" if _fits(ours, adam) else "false on"].append(f"{problem.name} ({ends})")
    parts = [f"{word} {listing(tasks)}" for word, tasks in words.items() if tasks]
    claim = f"at most one decade with {OURS} and by at least two with Adam, in the mean over seeds"
    return f"That from eps {short(FROM)} on the best rate moves by {claim}, is {' and '.join(parts)}." if parts else ""


def _edges(problems: Sequence[Problem], figures: Mapping[str, Any]) -> str:
    """Where the best rate may lie outside the grid."""
    found = []
    for problem in problems:
        for name in NAMES:
            some = [figures[problem.name].get(f"{name}, best rate, eps {epsilon:g}") for epsilon in problem.epsilons]
            if {problem.rates[0], problem.rates[-1]} & set(some):
                found.append(f"{name} on {problem.name}")
    return f"A best rate at an edge of the grid, which may lie beyond it: {listing(found)}." if found else ""
