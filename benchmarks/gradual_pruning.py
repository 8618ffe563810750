"""BIMP against the methods that make a model sparse while it trains, at the same total of epochs.

LeNet-300-100 on 20,000 images of Fashion-MNIST, 10 epochs from scratch in all for every arm, 90, 95 and 98 % sparsity,
five paired seeds. SGD with momentum 0.9, the rate falling from 0.1 to 0 in a straight line; BIMP trains dense for half
of the epochs so, then prunes and retrains with ALLR, above 90 % in three cycles. Other settings are defaults.

STR and DST have no prescribed sparsity: it follows from a setting; and LC is as strong as the weight decay. Several
values are tried on another seed and chosen by validation accuracy, which is charged; what is then missing to the
sparsity is pruned at the end. The sparsities that came of it stand beside the accuracies.

At the end, seconds of training steps of every method are timed in turns, with three epochs of real training each.

    python benchmarks/gradual_pruning.py --data DATA [--minutes 9]

Resumable: run it again with the same --work; several processes may share it. The result file is written from what is
finished, with --write-only without running anything; methods with fewer than three seeds are left out of it.
"""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _gradual_arms import FULL, MADE, QUICK, SEARCH, SEARCH_SEED, Budget, own_settings, run_arm, search
from _gradual_words import BUDGETED, DENSE, METHODS, SPARSITIES, conclusions, figures_of, tables
from _grid import Cell, Progress
from _harness import figure, table, write_result
from _script import grid_parser, progress_of, unfinished

from paretorch.measurement.interleaved import interleaved, ratio
from paretorch.methods.method import Method
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.methods.sparsity.magnitude import magnitude_masks

BENCHMARK = {"tier": "nightly", "minutes": 90, "data": ["fashion_mnist"], "arguments": ["--data", "{data}"]}
VERSION = 1
ROUNDS, TIMED_EPOCHS = 6, 3
RETRAINING = f"{BUDGETED}, retraining"


def try_value(method: str, value: float, quick: bool, *, data: Path) -> dict[str, Any]:
    """One value of the setting that a sparsity follows from."""
    return search(QUICK if quick else FULL, method, value, data=data)


def run(
    method: str, sparsity: float, options: dict[str, float], seed: int, quick: bool, *, data: Path
) -> dict[str, Any]:
    """One arm with one seed."""
    return run_arm(QUICK if quick else FULL, method, sparsity, options, seed, data=data)


def search_grid(quick: bool, data: Path) -> list[Cell]:
    """The values that are tried."""
    return [
        Cell(
            name=f"search-{method}-{value:g}",
            run=partial(try_value, data=data),
            parameters={"method": method, "value": value, "quick": quick},
        )
        for method, (_, values) in SEARCH.items()
        for value in values
    ]


def chosen(results: Mapping[str, Any]) -> dict[tuple[str, float], dict[str, float]]:
    """The value with the highest validation accuracy for each method and sparsity; the first among equals.

    A method of which a value was not tried yet is left out.
    """
    found = {}
    for method, (setting, values) in SEARCH.items():
        tried = {value: results.get(f"search-{method}-{value:g}") for value in values}
        if None in tried.values():
            continue
        for sparsity in SPARSITIES:
            best = max(tried, key=lambda value: tried[value][f"{sparsity:g}"])
            found[method, sparsity] = {setting: best}
    return found


def grid(quick: bool, data: Path, searched: Mapping[tuple[str, float], dict[str, float]]) -> list[Cell]:
    """Every arm and seed, those of the first seeds first; without the arms whose setting is not searched yet."""
    budget = QUICK if quick else FULL
    arms = [(DENSE, 0.0), *((method, sparsity) for sparsity in (0.9, 0.98, 0.95) for method in METHODS)]
    cells = []
    for late in (False, True):
        for (method, sparsity), seed in ((arm, seed) for arm in arms for seed in budget.seeds if (seed >= 3) == late):
            if method in SEARCH and (method, sparsity) not in searched:
                continue
            parameters = {
                "method": method,
                "sparsity": sparsity,
                "options": searched.get((method, sparsity), {}),
                "seed": seed,
                "quick": quick,
            }
            name = f"{method}-{sparsity:g}-s{seed}"
            cells.append(Cell(name=name, run=partial(run, data=data), parameters=parameters, kind=method))
    return cells


def step_times(budget: Budget, data: Path, options: Mapping[str, Mapping[str, float]], rounds: int) -> dict[str, Any]:
    """Time of training with each method over that of plain training, and seconds of a plain step.

    Args:
        budget: of the arms.
        data: the data folder.
        options: settings by method.
        rounds: in turns; each trains every method for a few epochs.
    """
    trainer = budget.trainer(data, 0)
    steps = trainer.num_steps(TIMED_EPOCHS)

    def masked() -> list[Method]:
        return [MaskEnforcement(magnitude_masks(trainer.model(), sparsity=SPARSITIES[0]))]

    def made(method: str) -> list[Method]:
        return [MADE[method](sparsity=SPARSITIES[0], **own_settings(options.get(method, {})))]

    kinds = {DENSE: list, RETRAINING: masked, **{method: partial(made, method) for method in MADE}}
    calls = {
        name: (lambda make=make: trainer.rehearse(trainer.model(), num_steps=steps, methods=make()))
        for name, make in kinds.items()
    }
    timings = interleaved(calls, rounds=rounds, min_seconds=0.0, warmup=0, min_calls=1)
    plain = timings[DENSE]
    return {
        "plain training, s per step": figure(plain.round_p10_s / steps, unit="s"),
        **{f"{name} over plain": figure(ratio(timing, plain)) for name, timing in timings.items() if name != DENSE},
    }


def write(progress: Progress, tried: Progress, arguments: argparse.Namespace) -> None:
    """The result file of what is finished."""
    budget = QUICK if arguments.quick else FULL
    cells: dict[tuple[str, float], dict[int, Any]] = {}
    for method, sparsity in [(DENSE, 0.0), *((method, sparsity) for method in METHODS for sparsity in SPARSITIES)]:
        for seed in budget.seeds:
            if (one := progress.results.get(f"{method}-{sparsity:g}-s{seed}")) is not None:
                cells.setdefault((method, sparsity), {})[seed] = one
    figures = figures_of(cells)
    searched = chosen(tried.results)
    for (method, sparsity), options in searched.items():
        figures |= {f"{method}, {sparsity:g}, {name}": value for name, value in options.items()}
    figures["search, epochs"] = len(tried.results) * budget.epochs
    shown = tables(figures)
    if not arguments.no_timing:
        options = {method: searched[method, SPARSITIES[0]] for method in SEARCH if (method, SPARSITIES[0]) in searched}
        figures["steps"] = step_times(budget, arguments.data, options, 1 if arguments.quick else ROUNDS)
        shown.append(timing_table())
    write_result(
        "gradual_pruning",
        figures,
        tier=str(BENCHMARK["tier"]),
        seeds=sorted({seed for one in cells.values() for seed in one}),
        command="python benchmarks/gradual_pruning.py --data DATA" + (" --quick" if arguments.quick else ""),
        layout={"headlines": headlines(figures), "tables": shown},
        keep_noisy=arguments.keep_noisy,
        notes=[
            *conclusions(figures),
            f"{budget.epochs:g} epochs of training in all for every arm, batch {budget.batch_size}. Settings are the "
            "defaults of each method; only LC's weight decay, and what the sparsity of STR and DST follows from, are "
            f"searched: {len(tried.results)} trainings on seed {SEARCH_SEED}, chosen by validation accuracy once what "
            "was missing to the sparsity was pruned. They cost as much as so many further arms.",
            "In a perceptron, the MACs that are left are the weights that are left: one sparsity, one count of MACs.",
            "Times: one thread, the same trainings in turns, over plain dense training; no kernel skips what is zero.",
            "Intervals are 95 % over seeds, differences are paired.",
            *unfinished(tried, progress),
        ],
    )


def timing_table() -> dict[str, Any]:
    rows = [(name,) for name in (RETRAINING, *MADE)]
    return table(
        "Training time over that of plain training, same steps",
        factors={"method": "{}"},
        rows=rows,
        columns={"time over plain": "steps/{0} over plain"},
    )


def headlines(figures: Mapping[str, Any]) -> list[dict[str, str]]:
    """BIMP against the method that has the highest mean beside it, at every sparsity, in its favour or not."""
    lines = []
    for sparsity in SPARSITIES:
        means = {
            method: figures[f"{method}, {sparsity:g}"]["mean"]
            for method in METHODS[1:]
            if f"{BUDGETED} minus {method}, {sparsity:g}" in figures
        }
        if means:
            best = max(means, key=lambda method: means[method])
            claim = (
                f"Fashion-MNIST, {100 * sparsity:g} % sparsity, equal epochs: {BUDGETED} minus {best}, the best other"
            )
            lines.append({"claim": claim, "figure": f"{BUDGETED} minus {best}, {sparsity:g}", "format": "signed"})
    return lines


def main() -> None:
    parser = grid_parser(__doc__, work="runs/gradual-pruning", quick="digits, few epochs")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--no-timing", action="store_true", help="time no steps")
    parser.add_argument("--keep-noisy", action="store_true", help="write times of a machine that was not quiet")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tried = progress_of(search_grid(arguments.quick, arguments.data), arguments, version=VERSION)
    cells = grid(arguments.quick, arguments.data, chosen(tried.results))
    progress = progress_of(cells, arguments, version=VERSION)
    if not arguments.no_write:
        write(progress, tried, arguments)


if __name__ == "__main__":
    main()
