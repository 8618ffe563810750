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

Generated images are judged by the classifier that the recipe `fashion-mnist-classifier` makes in `runs/` below the
current folder; it is made where it is missing. Resumable: run it again with the same --work; several processes may
share it once the classifier is there. Cells judged by another classifier are other cells. The result file is written
from what is finished, with --write-only without running anything; tasks with fewer than three whole seeds are left out
of it.
"""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import _harness
import torch
from _grid import Cell, Progress
from _harness import write_result
from _judge import add_judge, judge_of, judge_parameter
from _optimizer_grids_problems import (
    DECAY,
    NAMES,
    OURS,
    SAMPLES,
    Problem,
    problems,
    trial,
    untrained,
)
from _optimizer_grids_words import (
    FROM,
    LATE,
    LINES,
    WHOLE,
    conclusions,
    decades_of,
    figures_of,
    short,
    studies_of,
    tables,
)
from _script import grid_parser, progress_of, unfinished

from paretorch.errors import RunError

BENCHMARK = {
    "tier": "minutes",
    "minutes": 40,
    "data": ["fashion_mnist", "text_tinyshakespeare"],
    "arguments": ["--data", "{data}"],
}
VERSION = 2


def line(
    problem: str,
    optimizer: str,
    epsilon: float | None,
    seed: int,
    quick: bool,
    judge: str = "",
    *,
    data: Path,
    classifier: Path,
) -> list[dict[str, Any]]:
    """The trials at all rates for one epsilon; `judge` tells cells of different classifiers apart."""
    del judge
    task = problems(quick=quick)[problem]
    return [trial(task, optimizer, rate, epsilon, seed, data=data, classifier=classifier) for rate in task.rates]


def start(problem: str, seed: int, quick: bool, judge: str = "", *, data: Path, classifier: Path) -> dict[str, float]:
    """The model before any training; `judge` as in `line`."""
    del judge
    return untrained(problems(quick=quick)[problem], seed, data=data, classifier=classifier)


def grid(quick: bool, data: Path, classifier: Path) -> list[Cell]:
    """Task by task whole seeds; AdamW on the tasks with a judge last."""
    cells, late = [], []
    folders = {"data": data, "classifier": classifier}
    for problem in problems(quick=quick).values():
        judge = judge_parameter(classifier) if problem.judged else {}
        for seed in problem.seeds:
            shared = {"problem": problem.name, "seed": seed, "quick": quick, **judge}
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
            figures[problem.name] = figures_of(problem, studies, lines, starts)
            shown.append(problem)
            seeds |= set(studies)
    write_result(
        "optimizer_grids",
        figures,
        tier=str(BENCHMARK["tier"]),
        seeds=sorted(seeds),
        command="python benchmarks/optimizer_grids.py --data DATA" + (" --quick" if arguments.quick else ""),
        layout={"headlines": headlines(shown, figures), "tables": tables(shown, figures)},
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
            *unfinished(progress),
        ],
    )


def headlines(shown: list[Problem], figures: Mapping[str, Any]) -> list[dict[str, str]]:
    """How far the best rates move, then AvaGrad against Adam, on every task, in its favour or not."""
    if not shown:
        raise RunError("no task has three whole seeds yet: nothing to write; run it again with the same --work")
    found = [
        {
            "claim": f"{problem.name}: decades that the best learning rate of {name} moves as epsilon goes "
            f"from {short(FROM)} to {short(max(problem.epsilons))}",
            "figure": f"{problem.name}/{name}, moved",
        }
        for problem, *_ in decades_of(shown, figures)
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
    parser = grid_parser(__doc__, work="runs/optimizer-grids", quick="digits alone, a few steps and points")
    parser.add_argument("--data", type=Path, required=True)
    add_judge(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    classifier = judge_of(parser, arguments)
    progress = progress_of(grid(arguments.quick, arguments.data, classifier), arguments, version=VERSION)
    if not arguments.no_write:
        write(progress, arguments)


if __name__ == "__main__":
    main()
