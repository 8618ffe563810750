"""How often a comparison claims a speed-up where there is none: 20 real comparisons of a recipe with itself.

Digits, a small perceptron, five durations from 1 to 16 epochs. In every comparison both arms are the same recipe, five
runs each, with different random seeds; whatever is claimed is false. At the 95 % level one in twenty is expected.
Resumable: run it again with the same --work.

    python benchmarks/false_claims.py
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _harness import over_seeds, write_result

from paretorch.comparisons import judge
from paretorch.evidence.records import RunRecord
from paretorch.methods.schedules import Linear, Schedule
from paretorch.pipelines.comparison import Comparison
from paretorch.pipelines.trained_family import TrainedFamily
from paretorch.recipes import CompareTable
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.tasks.digits import digits

BENCHMARK = {"tier": "minutes", "minutes": 30, "data": [], "arguments": []}
COMPARISONS = 20
PAIRS = 5
DURATIONS = (1.0, 2.0, 4.0, 8.0, 16.0)
PEAK = 0.1
SETTINGS = TrainSettings(batch_size=32, optimizer=OptimizerSpec(lr=PEAK, weight_decay=1e-4), device="cpu")
TABLE = CompareTable(
    candidate="first",
    baseline="second",
    durations=list(DURATIONS),
    left_out={"smaller": "both arms are the same", "random": "nothing is removed"},
)


def schedule(num_steps: int, rate: float | None = None) -> Schedule:
    """Linear to zero."""
    return Linear(num_steps=num_steps, peak=PEAK if rate is None else rate)


def comparison() -> Comparison:
    """One family; every seed of it is a run of one arm or the other."""
    task = digits(hidden=(64, 32))
    family = TrainedFamily(name="recipe", role="", durations=DURATIONS, task=task, settings=SETTINGS, curve=schedule)
    return Comparison(
        name="false-claims",
        task=task,
        settings=SETTINGS,
        seeds=range(COMPARISONS * PAIRS * 2),
        families=[family],
        dense_epochs=1,
        dense_schedule=schedule,
        recipe=__doc__ or "",
        recipe_hash="false-claims",
        command="python benchmarks/false_claims.py",
    )


def arms(records: Sequence[RunRecord], number: int, *, same_turns: bool) -> list[RunRecord]:
    """The runs of one comparison: the first five seeds are one arm and the next five the other, paired by their place.

    With `same_turns`, both runs of a pair are charged the times of the first, as in any comparison of two families
    whose training steps are the same; else each is charged times that were taken at another moment.
    """
    first = range(number * 2 * PAIRS, (number * 2 + 1) * PAIRS)
    found = []
    for name, role, start in (("first", "candidate", first.start), ("second", "baseline", first.stop)):
        for record in records:
            place = record.seed - start
            if place not in range(PAIRS):
                continue
            partner = next(one for one in records if one.seed == first[place] and one.duration == record.duration)
            times = {phase["kind"]: phase["step_s"] for phase in (partner if same_turns else record).phases}
            phases = [{**phase, "step_s": times[phase["kind"]]} for phase in record.phases]
            found.append(replace(record, family=name, role=role, arm=name, seed=place, phases=phases))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/false-claims"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runs = comparison()
    with RunDirectory(arguments.work, recipe=runs.recipe, resume=True):
        runs.time_steps(arguments.work)
        for unit in runs.units():
            runs.run_unit(unit, arguments.work)
    records = runs.records(arguments.work)
    figures: dict[str, Any] = {"comparisons": COMPARISONS}
    for name, same_turns in (("steps timed in turns", True), ("steps timed at different moments", False)):
        found = [judge(arms(records, number, same_turns=same_turns), TABLE) for number in range(COMPARISONS)]
        ratios = []
        for one in found:
            print(name, one.verdict.lines[0], flush=True)
            assert not one.verdict.refusals, one.verdict.refusals
            assert one.speedup.average is not None
            ratios.append(one.speedup.average.mean)
        figures[name] = {
            "false claims": sum(one.verdict.claimed for one in found),
            "smallest ratio": min(ratios),
            "largest ratio": max(ratios),
            "average ratio": over_seeds(ratios, unit="x"),
        }
    write_result(
        "false_claims",
        figures,
        tier=BENCHMARK["tier"],
        seeds=list(runs.seeds),
        command="python benchmarks/false_claims.py",
        notes=[
            f"{COMPARISONS} comparisons of one recipe with itself, {PAIRS} paired runs each, durations {DURATIONS} "
            "epochs; digits, multilayer perceptron 64-32. Every claim is false by construction.",
            "The ratios are averages over the range of qualities that all runs of a comparison share; the truth is 1.",
            "The same runs charged with step times that were taken at different moments show why steps are timed in "
            "turns: a machine's drift then looks like a difference between the arms.",
        ],
        layout={
            "headlines": [
                {
                    "claim": "Comparisons of a recipe with itself that claimed a speed-up, of twenty",
                    "figure": "steps timed in turns/false claims",
                    "format": "",
                }
            ],
            "tables": [],
        },
    )


if __name__ == "__main__":
    main()
