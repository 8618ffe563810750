"""Sparse model soups of three copies against IMP, IMP with as many epochs in all, and the best of the copies.

LeNet-300-100 on Fashion-MNIST (20 dense epochs, three cycles and one, 2 epochs per copy and cycle, five seeds), and the
published ResNet-20 on CIFAR-10 with reduced epochs (one cycle, three seeds); 90, 95 and 98 % sparsity. Arms:

    SMS              copies differ in their seed; merged after every cycle, evenly or greedily
    best, mean       of the copies that SMS merges last
    IMP              one copy
    IMP 3x           one copy for three times the epochs: the cost of SMS
    IMP with SWA     ends every phase with the mean of its weights over the last quarter; also at 3x
    IMP-RePrune      three separate IMP runs, averaged, and pruned to the sparsity again

All retrain with LLR from the dense run's peak rate, so that a budget changes nothing but the length. Each of the first
five also with distillation from the dense model at equal total cost: a teacher's forward pass is a third of a step's
MACs (forward 1, backward 2), so distilled arms make three quarters of the steps. Nothing is tuned. Choices (best copy,
greedy soup) are made on validation; accuracies are of the test set.

    python benchmarks/sparse_soups.py --data DATA [--minutes 9]

Resumable: run it again with the same --work; several processes may share it. The result file is written from what is
finished, with --write-only without running anything; settings with fewer than three seeds are left out of it.
"""

import argparse
import itertools
import re
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _grid import Cell, Progress
from _harness import MIN_SEEDS, write_result
from _script import grid_parser, progress_of, unfinished
from _soup_arms import run_arm
from _soup_problem import COPIES, REDUCED_IMAGES, Problem, problems
from _soup_words import (
    BEST,
    IMP,
    LONG,
    LONG_SWA,
    REPRUNE,
    SOUP,
    SWA,
    Setting,
    conclusions,
    figures_of,
    settings_of,
    tables,
)

from paretorch.evidence.statistics import LOW_N

BENCHMARK = {
    "tier": "nightly",
    "minutes": 240,
    "data": ["fashion_mnist", "cifar10", "weights_cifar_resnet"],
    "arguments": ["--data", "{data}"],
}
VERSION = 1
MAIN = (SOUP, LONG, IMP)
BESIDE = (LONG_SWA, REPRUNE, SWA)  # only without distillation


def run(
    task: str,
    arm: str,
    sparsity: float,
    cycles: int,
    distilled: bool,
    seed: int,
    quick: bool,
    *,
    data: Path,
    work: Path,
) -> dict[str, Any]:
    """One arm with one seed."""
    setting = Setting(sparsity, cycles, distilled)
    return run_arm(problems(data, quick=quick)[task], arm, setting, seed, data=data, work=work)


def grid(quick: bool, data: Path, work: Path) -> list[Cell]:
    """All cells, those first that matter most: the first three seeds, most cycles, the main arms."""
    cells = []
    for _, problem, arm, setting, seed in sorted(_all(data, quick), key=lambda one: one[0]):
        parameters = {
            "task": problem.name,
            "arm": arm,
            "sparsity": setting.sparsity,
            "cycles": setting.cycles,
            "distilled": setting.distilled,
            "seed": seed,
            "quick": quick,
        }
        name = name_of(problem, arm, setting, seed)
        kind = f"{problem.name}-{arm}-{setting.cycles}"
        cells.append(Cell(name=name, run=partial(run, data=data, work=work), parameters=parameters, kind=kind))
    return cells


def _all(data: Path, quick: bool) -> list[tuple[tuple[bool | int, ...], Problem, str, Setting, int]]:
    """Every cell with what it is sorted by."""
    found = []
    for problem in problems(data, quick=quick).values():
        for setting, seed, arm in itertools.product(settings_of(problem), problem.seeds, (*MAIN, *BESIDE)):
            if arm in BESIDE and setting.distilled:
                continue
            late = (
                setting.cycles != problem.cycles[0]
                or (arm in BESIDE and setting.sparsity != problem.sparsities[0])
                or (setting.distilled and len(problem.seeds) < LOW_N)
            )
            place = problem.sparsities.index(setting.sparsity)
            priority = (late, seed >= MIN_SEEDS, setting.distilled or arm in BESIDE, place, seed)
            found.append((priority, problem, arm, setting, seed))
    return found


def name_of(problem: Problem, arm: str, setting: Setting, seed: int) -> str:
    """Of a cell and its file."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", f"{problem.name}-{arm}-{setting.key}-s{seed}")


def found_by(problem: Problem, results: dict[str, Any]) -> dict[tuple[str, Setting], dict[int, Any]]:
    """What is finished of one task, by arm and setting, then by seed."""
    found: dict[tuple[str, Setting], dict[int, Any]] = {}
    for setting, seed, arm in itertools.product(settings_of(problem), problem.seeds, (*MAIN, *BESIDE)):
        if (one := results.get(name_of(problem, arm, setting, seed))) is not None:
            found.setdefault((arm, setting), {})[seed] = one
    return found


def headlines(problem: Problem, figures: dict[str, Any]) -> list[dict[str, str]]:
    """What the summary of the page shows of one task, in favour of the method or not."""
    setting = Setting(max(problem.sparsities), max(problem.cycles), False)
    gaps = {LONG: "IMP at equal total cost", BEST: "the copy that is best on validation"}
    where = f"{problem.name}, {setting.words}"
    return [
        {"claim": f"{where}: {SOUP} minus {words}", "figure": f"{problem.name}/{key}", "format": "signed"}
        for other, words in gaps.items()
        if (key := f"{SOUP} minus {other}, {setting.key}") in figures
    ]


def write(progress: Progress, arguments: argparse.Namespace) -> None:
    """The result file of what is finished."""
    figures: dict[str, Any] = {}
    said, shown, heads, seeds = [], [], [], set()
    for problem in problems(arguments.data, quick=arguments.quick).values():
        found = found_by(problem, progress.results)
        own = figures_of(problem, found)
        if not own:
            continue
        figures[problem.name] = own
        seeds |= {seed for one in found.values() for seed in one}
        said += conclusions(problem, own)
        shown += tables(problem, own)
        heads += headlines(problem, own)
    write_result(
        "sparse_soups",
        figures,
        tier=str(BENCHMARK["tier"]),
        seeds=sorted(seeds),
        command="python benchmarks/sparse_soups.py --data DATA" + (" --quick" if arguments.quick else ""),
        layout={"headlines": heads, "tables": shown},
        notes=[
            *said,
            "Fashion-MNIST: LeNet-300-100, 20 dense epochs per seed, 2 epochs per copy and cycle. CIFAR-10: published "
            f"ResNet-20, one dense model for all seeds; an epoch is reduced to {REDUCED_IMAGES} images (20 steps), and "
            "accuracies are far below those of full retraining. Batch 128, SGD with momentum 0.9, weight decay 1e-4.",
            f"{COPIES} copies, which differ in their seed. LLR from the dense run's peak rate 0.1 in all arms; nothing "
            "is tuned, distillation has the defaults of its page. Dense training is in no cost: all arms share it.",
            "On CIFAR-10 copies and averages of a soup have their batch-norm statistics re-estimated before they are "
            "tested; IMP's model has those of its training, which is to its disadvantage after so few steps.",
            "Intervals are 95 % over seeds, differences are paired. Settings with fewer than three seeds are left out.",
            *unfinished(progress),
        ],
    )


def main() -> None:
    parser = grid_parser(__doc__, work="runs/sparse-soups", quick="digits alone, one epoch")
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    progress = progress_of(grid(arguments.quick, arguments.data, arguments.work), arguments, version=VERSION)
    if not arguments.no_write:
        write(progress, arguments)


if __name__ == "__main__":
    main()
