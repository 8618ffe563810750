"""DPOD as reconstructed from its abstract, against other elastic trainings, plain cuts, and separate trainings.

Digits (a perceptron) and Fashion-MNIST (a convolutional network), five seeds, budgets of 50, 25 and 12 % of the
parameters. Arms, all of as many steps, nothing tuned per arm:

    DPOD, one run        one layer per step, centre shrinking to 12 %; larger members from weights kept on the way
    DPOD, a run each     the same, run to each budget anew
    single layer         the same sampling without shrinking; widths searched afterwards on measured tables
    independent          every layer draws its own width; searched
    uniform OD           one level for all layers; searched, and at uniform widths
    slimmable            universally slimmable: widest, narrowest and two between, with in-place distillation
    plain                ordinary training, cut to uniform widths by the norms of units
    scratch              ordinary training of a model built at the profiles of DPOD, or at uniform widths

All cut models get batch-norm statistics of their own and are fine-tuned for 15 % of the steps; models trained from
scratch get these steps as well. Profiles are chosen on training examples, accuracies are of the test set, costs hold
every pass that trains or chooses. The notes of the results page are computed from the figures (`_elastic_words`).

    python benchmarks/elastic_width.py --data DATA [--minutes 9]

Resumable: run it again with the same --work; processes may share it (one cell per task and seed).
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _elastic_arms import run_seed
from _elastic_bench import bench
from _elastic_problem import BUDGETS, ONE_RUN, PROBLEMS, SCRATCH, Problem, label
from _elastic_words import conclusions, figures_of, tables
from _grid import Cell, Progress, add_arguments, finished, run_grid
from _harness import figure, table, write_result

from paretorch.measurement.interleaved import interleaved, ratio
from paretorch.measurement.paths import dense_fp32_paths
from paretorch.methods.width.extract import extract

BENCHMARK = {"tier": "minutes", "minutes": 45, "data": ["fashion_mnist"], "arguments": ["--data", "{data}"]}
VERSION = 1
BATCH = 64  # of latencies
QUICK = {"seeds": (0, 1), "steps": 260}


def run(task: str, seed: int, quick: bool, *, data: Path) -> dict[str, Any]:
    """One seed of one task."""
    problem = problems(quick)[task]
    return run_seed(bench(problem, problem.task(data), seed))


def problems(quick: bool) -> dict[str, Problem]:
    """The tasks by name; digits alone, two seeds and few steps for a quick look."""
    if not quick:
        return PROBLEMS
    return {name: replace(problem, **QUICK) for name, problem in PROBLEMS.items() if name == "digits"}


def grid(quick: bool, data: Path) -> list[Cell]:
    """One cell per task and seed."""
    return [
        Cell(
            name=f"{name}-s{seed}",
            run=partial(run, data=data),
            parameters={"task": name, "seed": seed, "quick": quick},
            kind=name,
        )
        for name, problem in problems(quick).items()
        for seed in problem.seeds
    ]


def latencies(problem: Problem, data: Path, profiles: dict[str, list[int]], *, compiled: bool) -> dict[str, Any]:
    """Latency of models cut to the profiles, against the uncut one: eager, and each on its best path."""
    made = bench(problem, problem.task(data), problem.seeds[0])
    inputs = made.trainer.task.example_inputs()[0].repeat(
        BATCH, *[1] * (made.trainer.task.example_inputs()[0].dim() - 1)
    )
    uncut = made.trainer.model().eval()
    models = {"uncut": uncut, **{budget: extract(uncut, made.groups, tuple(w)) for budget, w in profiles.items()}}
    with torch.no_grad():
        paths = {name: dense_fp32_paths(model, (inputs,), compiled=compiled).calls for name, model in models.items()}
        calls = {f"{name}, {path}": call for name, found in paths.items() for path, call in found.items()}
        timings = interleaved(calls, rounds=9, min_seconds=0.1)
    times = {name: figure(timing) for name, timing in timings.items()}
    best = {name: min(found, key=lambda path, n=name: times[f"{n}, {path}"]["median"]) for name, found in paths.items()}
    figures: dict[str, Any] = {}
    for name in models:
        figures[f"{name}, eager, latency"] = times[f"{name}, eager"]
        figures[f"{name}, best path"] = best[name]
        figures[f"{name}, best path, latency"] = times[f"{name}, {best[name]}"]
    for budget in profiles:
        eager = ratio(timings["uncut, eager"], timings[f"{budget}, eager"])
        fastest = ratio(timings[f"uncut, {best['uncut']}"], timings[f"{budget}, {best[budget]}"])
        figures[f"{budget}, speedup, eager"] = figure(eager)
        figures[f"{budget}, speedup, best paths"] = figure(fastest)
    return figures


def latency_table(task: str) -> dict[str, Any]:
    columns = {
        "eager": f"{task} latency/{{0}}, eager, latency",
        "uncut / cut, eager": f"{task} latency/{{0}}, speedup, eager",
        "best path": f"{task} latency/{{0}}, best path",
        "on it": f"{task} latency/{{0}}, best path, latency",
        "uncut / cut, best paths": f"{task} latency/{{0}}, speedup, best paths",
    }
    rows = [(label(budget),) for budget in BUDGETS]
    return table(
        f"{task}: latency of cut models, {BATCH} examples", factors={"budget": "{}"}, rows=rows, columns=columns
    )


def headlines(task: str) -> list[dict[str, str]]:
    """What the summary of the page shows of one task, in favour of the method or not."""
    middle = label(BUDGETS[1])
    gaps = {
        "uniform OD, uniform widths": "uniform ordered dropout at uniform widths",
        SCRATCH[ONE_RUN]: "training from scratch at the same profiles",
    }
    words = f"{task}, {middle.replace('%', ' %')} of the parameters, after fine-tuning: DPOD in one run minus "
    found = [
        {"claim": words + name, "figure": f"{task}/{ONE_RUN} minus {arm}, {middle}, after", "format": "signed"}
        for arm, name in gaps.items()
    ]
    claim = (
        f"{task}: training MACs of {len(BUDGETS)} models from scratch over those of the whole family of DPOD in one run"
    )
    return [*found, {"claim": claim, "figure": f"{task}/separate over {ONE_RUN}, macs", "format": "full"}]


def write(progress: Progress, arguments: argparse.Namespace) -> None:
    """The result file, from all cells."""
    figures: dict[str, Any] = {}
    shown = []
    chosen = problems(arguments.quick)
    for name, problem in chosen.items():
        cells = {seed: progress.results[f"{name}-s{seed}"] for seed in problem.seeds}
        figures[name] = figures_of(cells)
        shown += tables(name)
    said = conclusions(figures)
    for name, problem in chosen.items():
        arm = progress.results[f"{name}-s{problem.seeds[0]}"]["arms"][ONE_RUN]
        profiles = {label(budget): arm[label(budget)]["profile"] for budget in BUDGETS}
        compiled = not arguments.no_compile
        figures[f"{name} latency"] = latencies(problem, arguments.data, profiles, compiled=compiled)
        shown.append(latency_table(name))
    longest = max(problem.seeds for problem in chosen.values())
    sizes = [
        f"{name}: {problem.steps} steps of {problem.batch_size} examples and {problem.finetune_steps} of fine-tuning, "
        f"hidden layers of {'-'.join(map(str, problem.widths))} units in blocks of {problem.quantum}, SGD with "
        f"momentum 0.9 and a peak rate of {problem.lr:g} falling to 0 along a cosine"
        for name, problem in chosen.items()
    ]
    write_result(
        "elastic_width",
        figures,
        tier=str(BENCHMARK["tier"]),
        seeds=longest,
        command="python benchmarks/elastic_width.py --data DATA" + (" --quick" if arguments.quick else ""),
        layout={"headlines": [line for name in chosen for line in headlines(name)], "tables": shown},
        keep_noisy=arguments.keep_noisy,
        notes=[
            *said,
            *sizes,
            "DPOD is reconstructed from the abstract of a thesis; its text and code were not available. Intervals are "
            "95 % over seeds, differences are paired.",
            "Arms have equal steps, and steps differ in cost, see there. The rate of the slimmable arm is divided by "
            "its four passes per step, whose gradients add up. Nothing is tuned.",
            "A member of 'DPOD, one run' that is larger than the smallest comes from weights kept in mid-training, "
            "while the rate was still high. At 12 % both DPOD arms are the same model.",
            "Fine-tuning: a fifth of the peak rate, falling to 0. Costs in MACs: 3 x forward for a pass that learns, "
            "1 x for one on calibration examples; seconds are CPU seconds of one thread.",
            "Latency: one thread, ratios of paired rounds, profiles of the first seed; the best of eager, channels "
            "last, oneDNN and torch.compile for each model.",
            "No arm was trained until it stopped improving, and with more steps their order may change. Only "
            "parameters were limited. CIFAR-10 was not run.",
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="digits alone, two seeds, few steps")
    parser.add_argument("--no-compile", action="store_true", help="no torch.compile among the paths of latencies")
    parser.add_argument("--no-write", action="store_true", help="run cells, and write no result file")
    parser.add_argument("--keep-noisy", action="store_true", help="write times of a machine that was not quiet")
    add_arguments(parser, work="runs/elastic-width")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cells = grid(arguments.quick, arguments.data)
    progress = run_grid(
        cells, arguments.work, version=VERSION, minutes=arguments.minutes, retry_failed=arguments.retry_failed
    )
    if not arguments.no_write and not progress.left and not progress.failed:
        write(finished(cells, arguments.work, version=VERSION), arguments)


if __name__ == "__main__":
    main()
