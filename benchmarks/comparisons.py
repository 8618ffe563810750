"""Runs comparisons that ship, as `paretorch compare NAME` does, and writes what may be claimed: one result file each.

The ratio of costs at equal quality (baseline over candidate), its parts, the difference of quality at equal cost, and
the candidate against each control. Resumable: run it again in the same folder.

    python benchmarks/comparisons.py compare-allr-ft compare-llr-clr --data DATA
"""

import argparse
from pathlib import Path
from typing import Any

from _harness import table, write_result

from paretorch.comparisons import Compared, compare
from paretorch.evidence.statistics import Interval
from paretorch.recipes import cookbook, load_recipe

BENCHMARK = {
    "tier": "minutes",
    "minutes": 30,
    "data": ["fashion_mnist", "tabular_adult"],
    "arguments": ["--data", "{data}"],
}
DEFAULT = ("compare-digits", "compare-llr-clr", "compare-allr-ft")


def figure_of(interval: Interval | None, *, unit: str, factor: float = 1.0) -> dict[str, Any] | str:
    """An interval as a figure; a word where there is none."""
    if interval is None:
        return "not measured"
    scaled = interval.scaled(factor)
    return {"mean": scaled.mean, "low": scaled.low, "high": scaled.high, "n": scaled.n, "unit": unit}


def figures_of(found: Compared) -> dict[str, Any]:
    """All that the verdict says, as numbers."""
    speedup, metric = found.speedup, found.speedup.baseline.metric
    unit, factor = "percentage points" if metric.is_fraction else metric.name, metric.factor
    figures: dict[str, Any] = {
        "claimed": "yes" if found.verdict.claimed else "no",
        "average ratio": figure_of(speedup.average, unit="x"),
        "statistical part": figure_of(speedup.split.statistical, unit="x"),
        "hardware part": figure_of(speedup.split.hardware, unit="x"),
    }
    for name, one in zip(("low", "middle", "high"), speedup.at, strict=True):
        figures[f"{name} quality"] = {"level": one.quality * factor, "ratio": figure_of(one.ratio, unit="x")}
    for name, one in zip(("least", "middle", "largest"), speedup.gains, strict=True):
        gained = figure_of(one.difference, unit=unit, factor=factor)
        figures[f"{name} cost"] = {"seconds": one.cost, "candidate minus baseline": gained}
    for role, control in found.controls.items():
        if control is not None:
            figures[f"ratio to {role}"] = figure_of(control.average, unit="x")
    return figures


def write(name: str, found: Compared) -> None:
    """The result file of one comparison."""
    speedup, figures = found.speedup, figures_of(found)
    rows = [(level,) for level in ("low", "middle", "high")]
    columns = {"quality": "{0} quality/level", "baseline / candidate": ("{0} quality/ratio", "full")}
    title = f"{speedup.candidate.label} against {speedup.baseline.label}: cost at equal {speedup.baseline.metric.name}"
    write_result(
        name.replace("-", "_"),
        figures,
        tier=BENCHMARK["tier"],
        seeds=list(speedup.seeds),
        command=f"python benchmarks/comparisons.py {name} --data DATA",
        notes=[*found.verdict.lines, *found.verdict.refusals, *found.verdict.warnings],
        layout={
            "headlines": [
                {
                    "claim": f"Recipe {name}: seconds of {speedup.baseline.label} over those of "
                    f"{speedup.candidate.label} to equal quality (claimed: {figures['claimed']})",
                    "figure": "average ratio",
                    "format": "full",
                }
            ],
            "tables": [table(title, factors={"level": "{}"}, rows=rows, columns=columns)],
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=DEFAULT, metavar="NAME", help="recipes; default: all that ship")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs"), help="folder that holds one folder per recipe")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    known = [name for name in cookbook() if load_recipe(name).compare is not None]
    if unknown := sorted(set(arguments.names) - set(known)):
        parser.error(f"no comparison {unknown[0]!r}; there are {', '.join(known)}")
    for name in arguments.names:
        command = f"paretorch compare {name}"
        out = arguments.work / name
        found = compare(name, out, data=arguments.data, workers=arguments.workers, resume=out.exists(), command=command)
        write(name, found)


if __name__ == "__main__":
    main()
