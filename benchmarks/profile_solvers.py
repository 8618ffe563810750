"""Time of choosing a profile of widths: the hull and the Lagrangian solver, 16 layers with 32 widths each.

    python benchmarks/profile_solvers.py [--rounds 9]

Random tables of errors that rise as layers narrow; parameters as costs, separable for the hull, of neighbouring layers
for the Lagrangian solver and the exact one; one budget of a quarter of the full cost. One thread, CPU seconds.
"""

import argparse
import random
import time
from functools import partial
from typing import Any

import torch
from _harness import figure, table, write_result

from paretorch.measurement.interleaved import interleaved
from paretorch.measurement.timing import Clock
from paretorch.methods.width.allocation.costs import Cost, chain, separable
from paretorch.methods.width.profile import Solver, allocate
from paretorch.methods.width.tables import Table

BENCHMARK = {"tier": "minutes", "minutes": 1}
LAYERS, LEVELS, QUANTUM, SEED = 16, 32, 8, 0
BUDGET = 0.25


def random_tables(layers: int, levels: int) -> tuple[Table, ...]:
    """One table per layer: errors fall from the narrowest width to 0 at the widest, by random steps."""
    draw = random.Random(SEED)
    tables = []
    for layer in range(layers):
        steps = [draw.expovariate(1.0) / (level + 1) for level in range(levels - 1)]
        errors = [sum(steps[level:]) for level in range(levels)]
        widths = tuple(QUANTUM * (level + 1) for level in range(levels))
        tables.append(Table(f"layer {layer}", widths, tuple(errors)))
    return tuple(tables)


def problems(layers: int) -> dict[str, tuple[Solver, Cost]]:
    """Solver and cost by the name of the figure."""
    inner = separable([partial(_scaled, 512 + 64 * layer) for layer in range(layers)])
    path = chain([9] * (layers - 1), [27, *[2] * (layers - 2), 12])
    return {
        "hull, separable cost": ("hull", inner),
        "Lagrangian, chain cost": ("lagrange", path),
        "exact, separable cost": ("dp", inner),
        "exact, chain cost": ("chain_dp", path),
    }


def _scaled(per_unit: int, width: int) -> int:
    return per_unit * width


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--levels", type=int, default=LEVELS)
    parser.add_argument("--keep-noisy", action="store_true", help="write times of a machine that was not quiet")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tables = random_tables(arguments.layers, arguments.levels)
    full = tuple(each.widths[-1] for each in tables)
    chosen = problems(arguments.layers)
    calls = {
        name: partial(allocate, tables, cost, BUDGET * cost(full), method=method)
        for name, (method, cost) in chosen.items()
    }
    figures: dict[str, Any] = {}
    for name, call in calls.items():
        found = call()
        figures[f"{name}: proved optimal"] = "yes" if found.optimal else "no"
        bound = found.predicted_loss if found.lower_bound is None else found.lower_bound
        figures[f"{name}: predicted error over its lower bound"] = found.predicted_loss / bound
    clock = Clock(wall=time.process_time)
    timings = interleaved(calls, rounds=arguments.rounds, min_seconds=0.0, warmup=0, min_calls=1, clock=clock)
    figures |= {f"{name}, seconds": figure(timing) for name, timing in timings.items()}
    print(figures)
    columns = {
        "time": "{0}, seconds",
        "proved optimal": "{0}: proved optimal",
        "predicted / bound": "{0}: predicted error over its lower bound",
    }
    rows = [(name,) for name in calls]
    size = f"{arguments.layers} layers, {arguments.levels} widths each"
    write_result(
        "profile_solvers",
        figures,
        tier=str(BENCHMARK["tier"]),
        seeds=[SEED],
        keep_noisy=arguments.keep_noisy,
        layout={
            "headlines": [
                {"claim": f"Choosing a profile, {size}: {name}", "figure": f"{name}, seconds", "format": "ms full"}
                for name in list(calls)[:2]
            ],
            "tables": [table(f"One budget, {size}", factors={"solver": "{}"}, rows=rows, columns=columns)],
        },
        notes=[
            f"{size}; random errors, one budget of {100 * BUDGET:.0f} % of the full cost; the time is that of the "
            "whole call, its certificate included. CPU seconds of one thread, one call per round.",
            "The lower bound holds for every profile within the budget, so that 1 means optimal.",
        ],
    )


if __name__ == "__main__":
    main()
