"""SWRN-28: wide residual networks whose stages share k = 1 to 6 templates, against the unshared network.

WRN-28-1 on 10,000 images of Fashion-MNIST, each made 7 pixels wide, a few epochs from scratch, paired seeds. SGD with
Nesterov momentum, the rate falling from 0.1 to 0 in a straight line, no decay on coefficients; nothing is tuned. With
k = 2 and k = 6 also with the recurrence penalty (power 2, a linear ramp to 0.01), which draws layers together. These,
and k = 1, where all layers of a stage are one from the beginning, are then folded at similarity 0.95 and held against
the same network unfolded, both with batch-norm statistics re-estimated. At the end training steps are timed in turns.

    python benchmarks/shared_networks.py --data DATA [--minutes 9]

Resumable: run it again with the same --work; several processes may share it. The result file is written from what is
finished, with --write-only without running anything; arms with fewer than three seeds are left out of it.
"""

import argparse
import re
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _grid import Cell, Progress
from _harness import figure, table, write_result
from _script import grid_parser, progress_of, unfinished
from _shared_arms import BATCHES, FULL, QUICK, Arm, Problem, run_arm
from _shared_words import MATRIX, conclusions, figures_of, matrix_of, matrix_table, tables

from paretorch.measurement.interleaved import interleaved, ratio
from paretorch.measurement.timing import Clock

BENCHMARK = {"tier": "minutes", "minutes": 45, "data": ["fashion_mnist"], "arguments": ["--data", "{data}"]}
VERSION = 2
ROUNDS, STEPS = 7, 8
TIMED = (None, 1, 2, 6)  # templates of the networks whose steps are timed


def run(templates: int | None, recurrence: float, seed: int, quick: bool, *, data: Path) -> dict[str, Any]:
    """One arm with one seed."""
    return run_arm(QUICK if quick else FULL, Arm(templates=templates, recurrence=recurrence), seed, data=data)


def grid(quick: bool, data: Path) -> list[Cell]:
    """Every arm and seed; first the arms that matter most, with all seeds."""
    problem = QUICK if quick else FULL
    first = [arm for arm in problem.arms if arm.templates in (None, 1, 2)]
    order = [first, [arm for arm in problem.arms if arm not in first]]
    return [
        Cell(
            name=name_of(arm, seed),
            run=partial(run, data=data),
            parameters={
                "templates": arm.templates,
                "recurrence": arm.recurrence,
                "seed": seed,
                "quick": quick,
            },
        )
        for arms in order
        for seed in problem.seeds
        for arm in arms
    ]


def name_of(arm: Arm, seed: int) -> str:
    """Of a cell and its file."""
    return f"{re.sub(r'[^a-z0-9]+', '-', arm.name)}-s{seed}"


def step_times(problem: Problem, data: Path, rounds: int) -> dict[str, Any]:
    """CPU seconds of training steps over those of the unshared network."""
    trainer = problem.trainer(data, 0)

    def steps(arm: Arm) -> float:
        methods = [] if arm.templates is None else [problem.sharing(arm)()]
        return trainer.rehearse(trainer.model(), num_steps=STEPS, methods=methods)

    calls = {arm.name: partial(steps, arm) for arm in problem.arms if arm.templates in TIMED}
    clock = Clock(wall=time.process_time)  # other programs on the machine are no cost of ours
    timings = interleaved(calls, rounds=rounds, min_seconds=0.0, warmup=1, min_calls=1, clock=clock)
    plain = timings[problem.arms[0].name]
    return {
        "unshared, s per step": figure(plain.round_p10_s / STEPS, unit="s"),
        **{f"{name} over unshared": figure(ratio(one, plain)) for name, one in timings.items() if one is not plain},
    }


def write(progress: Progress, arguments: argparse.Namespace) -> None:
    """The result file of what is finished."""
    problem = QUICK if arguments.quick else FULL
    cells: dict[str, dict[int, Any]] = {}
    for arm in problem.arms:
        for seed in problem.seeds:
            if (one := progress.results.get(name_of(arm, seed))) is not None:
                cells.setdefault(arm.name, {})[seed] = one
    figures = figures_of(problem.arms, cells)
    shown = tables(problem.arms, figures)
    drawn = next(arm for arm in problem.arms if arm.templates == 2)  # with a penalty, all entries are near 1
    if (one := cells.get(drawn.name, {}).get(problem.seeds[0])) is not None:
        figures[MATRIX] = matrix_of(one[MATRIX])
        title = f"Similarity of layers within a stage: {drawn.name}, seed {problem.seeds[0]}"
        shown.append(matrix_table(title, figures[MATRIX]))
    if not arguments.no_timing:
        figures["steps"] = step_times(problem, arguments.data, 1 if arguments.quick else ROUNDS)
        rows = [(arm.name,) for arm in problem.arms if f"{arm.name} over unshared" in figures["steps"]]
        columns = {"time over unshared": "steps/{0} over unshared"}
        shown.append(table("Time of a training step", factors={"network": "{}"}, rows=rows, columns=columns))
    write_result(
        "shared_networks",
        figures,
        tier=str(BENCHMARK["tier"]),
        seeds=sorted({seed for own in cells.values() for seed in own}),
        command="python benchmarks/shared_networks.py --data DATA" + (" --quick" if arguments.quick else ""),
        layout={"headlines": headlines(problem, figures), "tables": shown},
        keep_noisy=arguments.keep_noisy,
        notes=[
            *conclusions(problem.arms, figures),
            f"WRN-{problem.depth}-1 on {problem.trainer(arguments.data, 0).task.name}, {problem.epochs:g} epochs from "
            f"scratch, batch {problem.batch_size}: short runs of a narrow network on small pictures. Nothing is tuned.",
            "Parameters are exact counts. A folded layer that is like no other has a weight of its own: folding "
            "stores less than the templates did only where layers are alike.",
            f"Folded and unfolded networks are compared with batch-norm statistics re-estimated on the same {BATCHES} "
            "training batches, as the pipeline does after folding, and in another column with those of training.",
            "Sharing saves no products: the time of a step is that of the unshared network and of making the weights. "
            "Times are CPU seconds on one thread, the same steps in turns.",
            "Intervals are 95 % over seeds, differences are paired.",
            *unfinished(progress),
        ],
    )


def headlines(problem: Problem, figures: Mapping[str, Any]) -> list[dict[str, str]]:
    """Two templates, folding, and the time of a step, in favour of sharing or not."""
    penalised = [arm.name for arm in problem.arms if arm.recurrence]
    where = f"WRN-{problem.depth}-1, a few epochs on small pictures"
    claims = {
        "k = 2 minus unshared": (f"{where}: two templates per stage minus unshared", "signed"),
        **{
            f"{name}, folded minus unfolded": (
                f"{where}: folded minus unfolded, {name}, batch norm re-estimated",
                "signed .2",
            )
            for name in penalised
        },
        "steps/k = 2 over unshared": (f"{where}: training step with two templates over unshared", ""),
    }
    known = {*figures, *(f"steps/{name}" for name in figures.get("steps", {}))}
    return [{"claim": claim, "figure": key, "format": words} for key, (claim, words) in claims.items() if key in known]


def main() -> None:
    parser = grid_parser(__doc__, work="runs/shared-networks", quick="digits, a shallow network, one epoch")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--no-timing", action="store_true", help="time no steps")
    parser.add_argument("--keep-noisy", action="store_true", help="write times of a machine that was not quiet")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    progress = progress_of(grid(arguments.quick, arguments.data), arguments, version=VERSION)
    if not arguments.no_write:
        write(progress, arguments)


if __name__ == "__main__":
    main()
