"""Continuous sparsification (CS) beside budgeted IMP, and searches for a ticket, all at the same total of epochs.

LeNet-300-100 on 20,000 images of Fashion-MNIST as in `gradual_pruning`, ResNet-20 on 10,000 images of CIFAR-10 in half
their resolution, a small U-Net that learns denoising diffusion, and a DCGAN; from scratch, with the rate falling in a
straight line. Arms in `_cs_arms`, searches for a ticket and IMP with rewinding in `_cs_tickets`. What is tested has
hard masks.

Runs are too short for the default rate of the mask logits. The pull to the density, or that rate, is searched on
another seed by validation, which is counted, and so are the cycles of BIMP; the values that are tried come from earlier
trials, which are not. The other arms are not tuned.

    python benchmarks/continuous_sparsification.py --data DATA [--minutes 9]

Generated images are judged by the classifier that the recipe `fashion-mnist-classifier` makes in `runs/` below the
current folder; it is made where it is missing. Resumable: run it again with the same --work; several processes may
share it. The result file is written from what is finished, with --write-only without running anything; arms with fewer
than three seeds are left out of it.
"""

import argparse
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _cs_arms import SEARCH_SEED, run_arm, searched_with, tried
from _cs_arms import search as search_arm
from _cs_problem import (
    CIFAR_IMAGES,
    GENERATIVE_IMAGES,
    GENERATIVE_SAMPLES,
    SAMPLING_STEPS,
    Options,
    Problem,
    problems,
)
from _cs_words import (
    ARMS,
    DENSE,
    EQUAL_TIME,
    FIXED,
    FIXED_TUNED,
    OTHERS,
    TICKET_ARMS,
    conclusions,
    figures_of,
    headlines,
    tables,
)
from _grid import Cell, Progress
from _harness import MIN_SEEDS, write_result
from _judge import add_judge, judge_of, judge_parameter
from _script import grid_parser, progress_of, unfinished

BENCHMARK = {
    "tier": "nightly",
    "minutes": 110,
    "data": ["fashion_mnist", "cifar10"],
    "arguments": ["--data", "{data}"],
}
VERSION = 2
MIDDLE = 0.95  # the ablation and the tickets, which are many, leave it out

Chosen = Mapping[tuple[str, str, float], Options]  # by task, arm of the search and sparsity


def try_setting(
    task: str,
    arm: str,
    sparsity: float,
    options: Options,
    quick: bool,
    *,
    judge: str = "",
    data: Path,
    classifier: Path,
) -> dict[str, float]:
    """One training of the search; see `run`."""
    del judge
    return search_arm(problems(quick=quick)[task], arm, sparsity, options, data=data, classifier=classifier)


def run(
    task: str,
    arm: str,
    sparsity: float,
    options: dict[str, float],
    seed: int,
    quick: bool,
    *,
    judge: str = "",
    data: Path,
    classifier: Path,
) -> dict[str, Any]:
    """One arm with one seed; `judge` tells cells apart whose images were judged by different classifiers."""
    del judge
    return run_arm(problems(quick=quick)[task], arm, sparsity, options, seed, data=data, classifier=classifier)


def name_of(*parts: object) -> str:
    """Of a cell and its file."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", "-".join(str(part) for part in parts))


def name_of_trial(problem: Problem, arm: str, sparsity: float, options: Options) -> str:
    """Of one training of the search."""
    return name_of("search", problem.name, arm, f"{sparsity:g}", *(f"{value:g}" for value in options.values()))


def search_grid(quick: bool, data: Path, classifier: Path) -> list[Cell]:
    """The settings that are tried."""
    cells = []
    for problem in problems(quick=quick).values():
        for sparsity, arm in ((one, arm) for one in problem.search_at for arm in tried(problem)):
            for options in tried(problem)[arm]:
                parameters = {
                    "task": problem.name,
                    "arm": arm,
                    "sparsity": sparsity,
                    "options": dict(options),
                    "quick": quick,
                    **({} if problem.higher_is_better else judge_parameter(classifier)),
                }
                name = name_of_trial(problem, arm, sparsity, options)
                own = partial(try_setting, data=data, classifier=classifier)
                cells.append(Cell(name=name, run=own, parameters=parameters, kind=f"{problem.name}-search"))
    return cells


def chosen(results: Mapping[str, Any], quick: bool) -> dict[tuple[str, str, float], Options]:
    """The settings that are best on validation for each task, arm of the search and sparsity, the first among equals.

    Those of which a training of the search is missing are left out.
    """
    found = {}
    for problem in problems(quick=quick).values():
        sign = 1 if problem.higher_is_better else -1
        for arm, sparsity in ((arm, sparsity) for arm in tried(problem) for sparsity in problem.sparsities):
            at = problem.searched_at(sparsity)
            names = [name_of_trial(problem, arm, at, options) for options in tried(problem)[arm]]
            if all(name in results for name in names):
                best = max(range(len(names)), key=lambda place: sign * results[names[place]]["validation"])
                found[problem.name, arm, sparsity] = tried(problem)[arm][best]
    return found


def arms_of(problem: Problem) -> list[tuple[int, str, float]]:
    """Every arm with every sparsity at which it is run, behind the stage of the grid that it belongs to."""
    main = [
        (int(place >= problem.early), arm, sparsity)
        for place, sparsity in enumerate(problem.sparsities)
        for arm in ARMS
        if arm not in (FIXED, FIXED_TUNED, *OTHERS) and (arm != EQUAL_TIME or problem.slower > 1)
    ]
    beside = (*TICKET_ARMS, FIXED, FIXED_TUNED) if problem.tickets else ()
    ends = [sparsity for sparsity in problem.sparsities if sparsity != MIDDLE]
    top = max(problem.sparsities)
    return [
        (0, DENSE, 0.0),
        *main,
        *((0 if sparsity == top else 2, arm, sparsity) for sparsity in ends for arm in beside),
        *((2, other, sparsity) for sparsity in problem.sparsities for other in problem.others),
    ]


def grid(quick: bool, data: Path, classifier: Path, searched: Chosen) -> list[Cell]:
    """Every arm and seed, three seeds of all first; without the arms whose settings are not searched yet."""
    cells: list[tuple[tuple[bool, int], Cell]] = []
    for problem in problems(quick=quick).values():
        for (stage, arm, sparsity), seed in ((one, seed) for one in arms_of(problem) for seed in problem.seeds):
            source = searched_with(arm)
            if source is not None and (problem.name, source, sparsity) not in searched:
                continue
            parameters = {
                "task": problem.name,
                "arm": arm,
                "sparsity": sparsity,
                "options": {} if source is None else dict(searched[problem.name, source, sparsity]),
                "seed": seed,
                "quick": quick,
                **({} if problem.higher_is_better else judge_parameter(classifier)),
            }
            name = name_of(problem.name, arm, f"{sparsity:g}", f"s{seed}")
            own = partial(run, data=data, classifier=classifier)
            cell = Cell(name=name, run=own, parameters=parameters, kind=f"{problem.name}-{arm}")
            cells.append(((seed >= MIN_SEEDS, stage), cell))
    return [cell for _, cell in sorted(cells, key=lambda one: one[0])]


def figures_by_task(progress: Progress, searching: Progress, quick: bool) -> tuple[dict[str, Any], list[int]]:
    """All figures, one group per task, and the seeds they rest on."""
    figures: dict[str, Any] = {}
    seeds, searched = set(), chosen(searching.results, quick)
    for problem in problems(quick=quick).values():
        cells: dict[tuple[str, float], dict[int, Any]] = {}
        for (_, arm, sparsity), seed in ((one, seed) for one in arms_of(problem) for seed in problem.seeds):
            if (one := progress.results.get(name_of(problem.name, arm, f"{sparsity:g}", f"s{seed}"))) is not None:
                cells.setdefault((arm, sparsity), {})[seed] = one
        if own := figures_of(problem, cells):
            for sparsity, arm in ((sparsity, arm) for sparsity in problem.sparsities for arm in tried(problem)):
                options = searched.get((problem.name, arm, sparsity), {})
                own |= {f"{arm}, {sparsity:g}, {name}": value for name, value in options.items()}
            figures[problem.name] = own
            seeds |= {seed for found in cells.values() for seed in found}
    return figures, sorted(seeds)


def write(progress: Progress, searching: Progress, arguments: argparse.Namespace) -> None:
    """The result file of what is finished."""
    figures, seeds = figures_by_task(progress, searching, arguments.quick)
    tasks = list(problems(quick=arguments.quick).values())
    shares = ", ".join(f"{task.name} {task.epochs:g} (the last {task.finetune_epochs:g})" for task in tasks)
    write_result(
        "continuous_sparsification",
        figures,
        tier=str(BENCHMARK["tier"]),
        seeds=seeds,
        command="python benchmarks/continuous_sparsification.py --data DATA" + (" --quick" if arguments.quick else ""),
        layout={"headlines": headlines(tasks, figures), "tables": tables(tasks, figures)},
        notes=[
            *conclusions(tasks, figures),
            f"Epochs of all training of an arm, and those of fine-tuning where there are any: {shares}. Only '... half "
            "the epochs' has fewer. Every figure is of hard masks with exactly the wanted zeros.",
            "BIMP trains half of its epochs dense and retrains with ALLR. Searched on validation: its cycles, of CS "
            "the pull to the density, on the generative tasks the rate of the mask logits, and both of CS with a fixed "
            f"temperature: {len(searching.results)} trainings on seed {SEARCH_SEED}, which cost as much as so many "
            "further arms. The rate of the mask logits of CS on the other tasks, and the ranges, come from earlier "
            "trials that are not counted. The searches for a ticket take the settings of CS.",
            "Two settings of each were tried, with a fixed temperature five, so that better ones may lie outside of "
            "them; arms that fine-tune take what was best without.",
            f"Equal epochs are not equal time where layers are small: {EQUAL_TIME} has "
            f"{', '.join(f'{task.slower:g} times the epochs on {task.name}' for task in tasks if task.slower > 1)}, "
            "the ratio of the step times in the section sparsification step.",
            "The fixed temperature is beta = 1 throughout, and the largest logits are kept at the end.",
            f"CIFAR-10: ResNet-20 from scratch, {CIFAR_IMAGES} images, pixels are means of 2 x 2, batch 128; "
            "accuracies are far below those of full training. Statistics of batch normalisation are computed anew for "
            "every finished model, the dense one included.",
            f"Diffusion: a U-Net, trained by Adam in batches of 16 of {GENERATIVE_IMAGES} images of Fashion-MNIST, and "
            f"{SAMPLING_STEPS} steps of sampling. DCGAN: its generator is sparse, its discriminator dense; batches of "
            f"32 of as many images. {GENERATIVE_SAMPLES} samples each: distances compare with each other within one "
            "task, and with no others.",
            "Tickets: the phases of a search of three rounds and of three prunings with rewinding are equally long, "
            "and so are those of one round and one pruning; weights are rewound to half an epoch on Fashion-MNIST.",
            "Intervals are 95 % over seeds, differences are paired.",
            *unfinished(searching, progress),
        ],
    )


def main() -> None:
    parser = grid_parser(__doc__, work="runs/continuous-sparsification", quick="digits, few epochs")
    parser.add_argument("--data", type=Path, required=True)
    add_judge(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    classifier = judge_of(parser, arguments)
    searching = progress_of(search_grid(arguments.quick, arguments.data, classifier), arguments, version=VERSION)
    searched = chosen(searching.results, arguments.quick)
    cells = grid(arguments.quick, arguments.data, classifier, searched)
    progress = progress_of(cells, arguments, version=VERSION)
    if not arguments.no_write:
        write(progress, searching, arguments)


if __name__ == "__main__":
    main()
