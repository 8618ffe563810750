"""Do layers that may share their weights find the loop of an algorithm? Grid paths, tested on larger grids.

A stack of equal convolutional layers learns which cells of small grids can be reached from a start (task `grid-paths`:
one local step over and over) and answers on larger grids. Arms, all trained for the same steps, ten paired seeds:

    unshared            every layer has a weight of its own
    one weight          all layers have the same: the recurrence is given
    soft                every layer is a combination of a few templates
    soft with penalty   and layers are pulled towards being alike, weakly or ten times as much; folded afterwards
    random search       patterns of which layers have one weight, drawn at random, each trained once

The random search is charged its trainings: `expected best of n` says what n of them reach, if the best is chosen by its
accuracy on the larger grids themselves, which favours the search.

    python benchmarks/implicit_recurrence.py [--minutes 9]

Resumable: run it again with the same --work; several processes may share it. The result file is written from what is
finished, with --write-only without running anything; arms with fewer than three seeds are left out of it.
"""

import re
from typing import Any

import torch
from _grid import Cell, Progress
from _harness import write_result
from _recurrence_arms import FULL, PATTERN_SEED, QUICK, Budget, run_arm, run_pattern
from _recurrence_words import ARMS, PENALTY, WEAK, conclusions, figures_of, headlines, tables
from _script import grid_parser, progress_of, unfinished

BENCHMARK = {"tier": "minutes", "minutes": 30, "data": [], "arguments": []}
VERSION = 1


def run(arm: str, seed: int, quick: bool) -> dict[str, Any]:
    """One arm with one seed."""
    return run_arm(QUICK if quick else FULL, arm, seed)


def search(number: int, quick: bool) -> dict[str, Any]:
    """One pattern of the random search."""
    return run_pattern(QUICK if quick else FULL, number)


def grid(quick: bool) -> list[Cell]:
    """All cells: three seeds of every arm, half of the patterns, the other seeds, the other patterns."""
    budget = QUICK if quick else FULL
    arms = [
        Cell(name=name_of(arm, seed), run=run, parameters={"arm": arm, "seed": seed, "quick": quick})
        for seed in budget.seeds
        for arm in ARMS
    ]
    patterns = [
        Cell(name=f"pattern-{number}", run=search, parameters={"number": number, "quick": quick})
        for number in range(budget.patterns)
    ]
    first, half = 3 * len(ARMS), len(patterns) // 2
    return [*arms[:first], *patterns[:half], *arms[first:], *patterns[half:]]


def name_of(arm: str, seed: int) -> str:
    """Of a cell and its file."""
    return re.sub(r"\W+", "-", f"{arm}-s{seed}")


def write(progress: Progress, *, quick: bool) -> None:
    """The result file of what is finished."""
    budget = QUICK if quick else FULL
    cells: dict[str, dict[int, Any]] = {}
    for arm in ARMS:
        for seed in budget.seeds:
            if (one := progress.results.get(name_of(arm, seed))) is not None:
                cells.setdefault(arm, {})[seed] = one
    patterns = [one for name, one in progress.results.items() if name.startswith("pattern-")]
    figures = figures_of(cells, patterns)
    task = budget.trainer(0).task
    grids, chance_level = task.describe(), task.references()["commonest answer"]
    figures["commonest answer, larger"] = chance_level
    write_result(
        "implicit_recurrence",
        figures,
        tier=str(BENCHMARK["tier"]),
        seeds=sorted({seed for one in cells.values() for seed in one}),
        command="python benchmarks/implicit_recurrence.py" + (" --quick" if quick else ""),
        layout={"headlines": headlines(figures), "tables": tables(figures)},
        notes=[
            *conclusions(figures),
            f"Grids of {grids['size']} x {grids['size']} cells to train on, of {grids['test_size']} x "
            f"{grids['test_size']} to test on, {100 * grids['obstacles']:g} % obstacles, no cell that can be reached "
            f"farther than {grids['reach']} steps. The commonest answer is right in {100 * chance_level:.1f} % of the "
            "cells of the larger grids.",
            settings_of(budget),
            "Choices before the runs, each on one seed: network and rate (the better of 0.01 and 0.03 for the unshared "
            "stack and for one weight); the stronger penalty, because folding after the weaker one changed answers.",
            "The pairs come from an earlier series of runs with seeds 0 to 9, half of which were added after a look at "
            "the others. These seeds are new, and nothing was chosen or changed after a look at them.",
            f"Patterns are trained with seeds from {PATTERN_SEED} on, one each; the interval of the expected best is "
            "over patterns, and too short upwards. Grids and network are our design, not those of the paper.",
            "Intervals are 95 % over seeds, differences are paired.",
            *unfinished(progress),
        ],
    )


def settings_of(budget: Budget) -> str:
    """How every arm is trained, in one sentence."""
    kwargs = budget.trainer(0).task.constructor()[1]
    return (
        f"{kwargs['layers']} layers of {kwargs['channels']} channels, {budget.epochs:g} epochs with batch "
        f"{budget.batch_size}, Adam, the rate falling from {budget.lr:g} to 0; {budget.templates} templates, the "
        f"penalty's strength growing from 0 to {budget.strengths[WEAK]:g} or {budget.strengths[PENALTY]:g}."
    )


def main() -> None:
    arguments = grid_parser(__doc__, work="runs/implicit-recurrence", quick="tiny grids, two epochs").parse_args()
    torch.set_num_threads(1)
    progress = progress_of(grid(arguments.quick), arguments, version=VERSION)
    if not arguments.no_write:
        write(progress, quick=arguments.quick)


if __name__ == "__main__":
    main()
