"""Runs recipes that ship, as `paretorch run NAME` does, and writes the figures of their arms: one result file each.

Test metric, the same on validation and on a sample of the training examples, non-zero parameters, and the references of
the task (simple baselines, a floor) beside them. Resumable: run it again in the same folder.

    python benchmarks/recipe_runs.py text-lm generative-dcgan --data DATA

Runs lie in `runs/` below the current folder, where the generative recipes find that of `fashion-mnist-classifier`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from _harness import over_seeds, table, write_result

from paretorch.evidence.records import RunRecord
from paretorch.recipes import cookbook, load_recipe

BENCHMARK = {
    "tier": "minutes",
    "minutes": 60,
    "data": ["fashion_mnist", "text_techdocs", "audio_fsdd", "tabular_adult"],
    "packages": ["tokenizers"],
    "arguments": ["--data", "{data}"],
}
WORK = Path("runs")  # where the recipes of the generative task look for their classifier
DEFAULT = ("adult", "spoken-digits", "text-lm", "fashion-mnist-classifier", "generative-dcgan", "generative-diffusion")
UNITS = {"accuracy": ("%", 100.0), "bits_per_byte": ("bits per byte", 1.0)}


def run(name: str, data: Path) -> list[RunRecord]:
    """The records of the recipe's runs, which are made or finished now."""
    recipe = load_recipe(name)
    return recipe.sweep(data=data, command=f"paretorch run {name}").run(WORK / name, resume=True)


def figures_of(records: Sequence[RunRecord]) -> dict[str, Any]:
    """Every arm's metric on test, validation and training examples, and its size; then the references."""
    unit, factor = UNITS.get(records[0].metric, (records[0].metric, 1.0))
    figures: dict[str, Any] = {}
    for arm in dict.fromkeys(record.arm for record in records):
        runs = [record for record in records if record.arm == arm and record.status != "diverged"]
        parts = {
            "test": [one.quality for one in runs],
            "validation": [one.validation for one in runs],
            "training sample": [one.train_quality for one in runs],
        }
        for part, values in parts.items():
            if values and None not in values:
                figures[f"{arm}, {part}"] = over_seeds(values, unit=unit, factor=factor)
        if runs:
            figures[f"{arm}, non-zero parameters"] = runs[0].cost["nonzeros"]
    for name, value in records[0].references.items():
        figures[f"reference, {name}"] = over_seeds([value], unit=unit, factor=factor)
    return figures


def write(name: str, records: Sequence[RunRecord]) -> None:
    """The result file of one recipe."""
    first, figures = records[0], figures_of(records)
    arms = list(dict.fromkeys(record.arm for record in records))
    columns = {
        "test": "{0}, test",
        "validation": "{0}, validation",
        "training sample": "{0}, training sample",
        "non-zero parameters": "{0}, non-zero parameters",
    }
    better = "higher" if first.higher_is_better else "lower"
    gaps = table(f"{first.metric}, {better} is better", factors={"arm": "{}"}, rows=[(arm,) for arm in arms],
                 columns=columns, known=figures)  # fmt: skip
    write_result(
        f"recipe_{name.replace('-', '_')}",
        figures,
        tier=BENCHMARK["tier"],
        seeds=sorted({record.seed for record in records}),
        command=f"python benchmarks/recipe_runs.py {name} --data DATA",
        notes=[
            f"The recipe `{name}` as it ships: task {first.workload}, metric {first.metric} ({better} is better).",
            "References need no model of ours; they are values of the same metric on the same test data.",
            *([f"diverged: {one.run_id}" for one in records if one.status == "diverged"]),
        ],
        layout={"headlines": [], "tables": [gaps]},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=DEFAULT, metavar="NAME", help="recipes; default: all but the long")
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(cookbook())):
        parser.error(f"no recipe {unknown[0]!r}; there are {', '.join(cookbook())}")
    torch.set_num_threads(1)
    for name in arguments.names:
        write(name, run(name, arguments.data))


if __name__ == "__main__":
    main()
