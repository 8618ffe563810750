"""Grids of learning rates and epsilons: how far the best rate of AvaGrad, Adam and AdamW moves, and what tuning costs.

Five tasks, a short training per trial from scratch, the rate falling from its peak to 0 in a straight line:

    digits          perceptron; settings are chosen by training loss, five seeds
    char-LM         a GPT of two layers on Tiny Shakespeare; by validation loss
    DCGAN           on Fashion-MNIST, generator and discriminator with the same optimizer; by Frechet distance
    diffusion       a small U-Net on Fashion-MNIST; by Frechet distance
    Fashion-MNIST   LeNet-300-100 on 10,000 images; by validation accuracy

Rates and epsilons are the same for all optimizers; SGD has momentum and no epsilon. Three ways of tuning are compared
for each: the whole grid; two lines, the best rate at one epsilon and then the best epsilon at this rate, in the mean
over the epsilon that one starts from; and as many random points of the grid as two lines try.

    python benchmarks/optimizer_grids.py --data DATA [--minutes 9]

Resumable: run it again with the same --work; several processes may share it. The result file is written from what is
finished, with --write-only without running anything; tasks with fewer than three whole seeds are left out of it.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import _harness
import torch
from _grid import Cell, Progress, add_arguments, finished, run_grid
from _harness import write_result
from _optimizer_grids_problems import (
    DECAY,
    NAMES,
    OURS,
    SAMPLES,
    Problem,
    make_classifier,
    problems,
    trial,
    untrained,
)
from _optimizer_grids_words import FROM, LATE, LINES, WHOLE, conclusions, figures_of, short, studies_of, tables

from paretorch.errors import RunError

BENCHMARK = {
    "tier": "minutes",
    "minutes": 40,
    "data": ["fashion_mnist", "text_tinyshakespeare"],
    "arguments": ["--data", "{data}"],
}
VERSION = 1


def line(
    problem: str, optimizer: str, epsilon: float | None, seed: int, quick: bool, *, data: Path, work: Path
) -> list[dict[str, Any]]:
    """The trials at all rates for one epsilon."""
    task = problems(quick=quick)[problem]
    return [trial(task, optimizer, rate, epsilon, seed, data=data, work=work) for rate in task.rates]


def start(problem: str, seed: int, quick: bool, *, data: Path, work: Path) -> dict[str, float]:
    """The model before any training."""
    return untrained(problems(quick=quick)[problem], seed, data=data, work=work)


def classifier(*, data: Path, work: Path) -> dict[str, str]:
    """What judges generated images."""
    return make_classifier(data=data, work=work)


def grid(quick: bool, data: Path, work: Path) -> list[Cell]:
    """Task by task whole seeds; the classifier before the first task that needs it, AdamW on these tasks last."""
    cells, late = [], []
    folders = {"data": data, "work": work}
    for problem in problems(quick=quick).values():
        if problem.judged and not any(cell.name == "classifier" for cell in cells):
            cells.append(Cell(name="classifier", run=partial(classifier, **folders), kind="classifier"))
        for seed in problem.seeds:
            shared = {"problem": problem.name, "seed": seed, "quick": quick}
            name, kind = f"{problem.name}-untrained-s{seed}", f"{problem.name}-untrained"
            cells.append(Cell(name=name, run=partial(start, **folders), parameters=shared, kind=kind))
            for optimizer in NAMES:
                place = late if problem.judged and optimizer == LATE else cells
                place += [
                    Cell(
                        name=name_of(problem, optimizer, epsilon, seed),
                        run=partial(line, **folders),
                        parameters={**shared, "optimizer": optimizer, "epsilon": epsilon},
                        kind=problem.name,
                    )
                    for epsilon in problem.epsilons_of(optimizer)
                ]
    return cells + late


def name_of(problem: Problem, optimizer: str, epsilon: float | None, seed: int) -> str:
    """Of a cell and its file."""
    return f"{problem.name}-{optimizer}{'' if epsilon is None else f'-{epsilon:g}'}-s{seed}"


def write(progress: Progress, arguments: argparse.Namespace) -> None:
    """The result file of what is finished."""
    figures: dict[str, Any] = {}
    shown, seeds = [], set()
    for problem in problems(quick=arguments.quick).values():
        lines = {
            (optimizer, epsilon, seed): found
            for seed in problem.seeds
            for optimizer in NAMES
            for epsilon in problem.epsilons_of(optimizer)
            if (found := progress.results.get(name_of(problem, optimizer, epsilon, seed))) is not None
        }
        names = {seed: f"{problem.name}-untrained-s{seed}" for seed in problem.seeds}
        starts = {seed: progress.results[name] for seed, name in names.items() if name in progress.results}
        studies = studies_of(problem, lines, starts)
        if len(studies) >= _harness.MIN_SEEDS:
            floors = [one["floor"] for one in starts.values() if "floor" in one]
            figures[problem.name] = figures_of(problem, studies, floors)
            shown.append(problem)
            seeds |= set(studies)
    write_result(
        "optimizer_grids",
        figures,
        tier=str(BENCHMARK["tier"]),
        seeds=sorted(seeds),
        command="python benchmarks/optimizer_grids.py --data DATA" + (" --quick" if arguments.quick else ""),
        layout={"headlines": headlines(shown), "tables": tables(shown, figures)},
        notes=[
            *conclusions(shown, figures),
            *(
                f"{problem.name}: {problem.steps} steps of {problem.batch_size} examples per trial, settings chosen by "
                f"{problem.criterion.words}, tested by {problem.test.words}."
                for problem in shown
            ),
            "A trial that diverged, or left the model worse than it was before training, counts as the untrained "
            "model. Cells of the grids are means over seeds; 'diverged' with any seed, 'no better' than untrained.",
            f"AdamW has weight decay {DECAY}, the others none. beta1, and the momentum of SGD, is 0.9, for the DCGAN "
            f"0.5. Frechet distances are of {SAMPLES} generated and {SAMPLES} real images in the features of one "
            "classifier, and a trial is far from a full training.",
            "Two lines: in the mean over the epsilon that one starts from. Random points: the expected best of as many "
            "points of the same grid without replacement, which depends on the range of the grid.",
            "Intervals are 95 % over seeds, differences are paired.",
            *([f"{len(progress.left)} of the grid's cells are not run yet."] if progress.left else []),
            *(f"{name} failed: {reason}" for name, reason in progress.failed.items()),
        ],
    )


def headlines(shown: list[Problem]) -> list[dict[str, str]]:
    """How far the best rates move, then AvaGrad against Adam on every task, in its favour or not."""
    if not shown:
        raise RunError("no task has three whole seeds yet: nothing to write; run it again with the same --work")
    first = shown[0]
    found = [
        {
            "claim": f"{first.name}: decades that the best learning rate of {name} moves as epsilon goes "
            f"from {short(FROM)} to {short(max(first.epsilons))}",
            "figure": f"{first.name}/{name}, moved",
        }
        for name in (OURS, "Adam")
    ]
    for problem in shown:
        test = f"{problem.test.words} ({'higher' if problem.test.higher else 'lower'} is better)"
        found += [
            {
                "claim": f"{problem.name}, {test}, {words}: {OURS} minus Adam",
                "figure": f"{problem.name}/{OURS} minus Adam, {way}, test",
                "format": "signed",
            }
            for way, words in ((WHOLE, "best of the whole grid"), (LINES, "rate tuned first, then epsilon"))
        ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="digits alone, a few steps and points")
    parser.add_argument("--write-only", action="store_true", help="run nothing")
    parser.add_argument("--no-write", action="store_true", help="run cells, and write no result file")
    add_arguments(parser, work="runs/optimizer-grids")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cells = grid(arguments.quick, arguments.data, arguments.work)
    if arguments.write_only:
        progress = finished(cells, arguments.work, version=VERSION)
    else:
        progress = run_grid(
            cells, arguments.work, version=VERSION, minutes=arguments.minutes, retry_failed=arguments.retry_failed
        )
    if not arguments.no_write:
        write(progress, arguments)


if __name__ == "__main__":
    main()
