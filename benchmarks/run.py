"""Run the benchmarks of a tier, one after another, each in a fresh process.

    python benchmarks/run.py [NAME ...] [--tier minutes] [--list]

A benchmark is a script of this folder with a constant that says what it needs:

    BENCHMARK = {
        "tier": "minutes",                    # or "nightly", "gpu"; see `_result.TIERS`
        "minutes": 5,                         # about, on two cores or on the GPU
        "data": ["fashion_mnist"],            # folders below PARETORCH_DATA; may be left out
        "packages": ["datasets"],             # what an extra brings, by import name; may be left out
        "arguments": ["--data", "{data}"],    # {data} becomes PARETORCH_DATA; may be left out
    }

What cannot run here is skipped with its reason, and a benchmark that fails does not stop the others. Exit code 1 when
one failed.
"""

import argparse
import ast
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from _peers import lacking
from _result import TIERS

from paretorch.errors import InputError

HERE = Path(__file__).resolve().parent
OPTIONAL = {"data", "packages", "arguments"}


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A script and what its constant says; see this module."""

    path: Path
    tier: str
    minutes: float
    data: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.path.stem


def find_all(folder: Path) -> list[Benchmark]:
    """Every script of the folder that says it is a benchmark, by name; nothing is imported.

    Raises:
        InputError: a constant that is not as this module says.
    """
    found = []
    for path in sorted(folder.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["BENCHMARK"]:
                found.append(_described(path, node.value))
    return found


def _described(path: Path, node: ast.expr) -> Benchmark:
    try:
        content = ast.literal_eval(node)
        missing_or_unknown = {"tier", "minutes"} ^ (set(content) - OPTIONAL)
        lists = {key: tuple(content.get(key, ())) for key in OPTIONAL}
        minutes = float(content["minutes"])
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"BENCHMARK of {path.name} must be a literal dict with tier and minutes: {error}.") from error
    if missing_or_unknown or content["tier"] not in TIERS or not minutes > 0:
        raise InputError(
            f"BENCHMARK of {path.name} needs a tier of {', '.join(TIERS)}, positive minutes, and may have "
            f"{', '.join(sorted(OPTIONAL))}; got {content}."
        )
    return Benchmark(path=path, tier=content["tier"], minutes=minutes, **lists)


def why_not(benchmark: Benchmark, data: Path | None) -> str | None:
    """Why the benchmark cannot run here, or None."""
    if reason := lacking(benchmark.packages):
        return reason
    if data is None:
        wants_data = benchmark.data or any("{data}" in argument for argument in benchmark.arguments)
        if wants_data:
            return "needs data: PARETORCH_DATA is not set"
    elif missing := [name for name in benchmark.data if not (data / name).is_dir()]:
        return f"needs data: PARETORCH_DATA has no folder {', '.join(missing)}"
    if benchmark.tier == "gpu" and not _has_gpu():
        return "needs a GPU"
    return None


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def run_all(benchmarks: Sequence[Benchmark], data: Path | None) -> dict[str, str]:
    """Run what can run, and say how each ended: "done ...", "skipped: ..." or "FAILED: ..."."""
    outcomes = {}
    for benchmark in benchmarks:
        if reason := why_not(benchmark, data):
            outcomes[benchmark.name] = f"skipped: {reason}"
            continue
        print(f"== {benchmark.name}: about {benchmark.minutes:g} minutes", flush=True)
        arguments = [argument.replace("{data}", str(data)) for argument in benchmark.arguments]
        began = time.monotonic()
        status = subprocess.run([sys.executable, str(benchmark.path), *arguments], check=False).returncode
        minutes = (time.monotonic() - began) / 60
        outcomes[benchmark.name] = f"FAILED: exit code {status}" if status else f"done in {minutes:.1f} minutes"
    return outcomes


def chosen(benchmarks: Sequence[Benchmark], names: Sequence[str], tier: str) -> list[Benchmark]:
    """The benchmarks named, or all of the tier. InputError: an unknown name."""
    known = {benchmark.name: benchmark for benchmark in benchmarks}
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"there is no benchmark {', '.join(unknown)}; there are: {', '.join(known)}.")
    return [known[name] for name in names] or [benchmark for benchmark in benchmarks if benchmark.tier == tier]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all of the tier")
    parser.add_argument("--tier", choices=TIERS, default="minutes")
    parser.add_argument("--list", action="store_true", help="list all benchmarks and run none")
    arguments = parser.parse_args()
    value = os.environ.get("PARETORCH_DATA")
    data = Path(value).resolve() if value else None
    try:
        benchmarks = find_all(HERE)
        selected = chosen(benchmarks, arguments.names, arguments.tier)
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    if arguments.list:
        for each in benchmarks:
            print(f"{each.name}: tier {each.tier}, about {each.minutes:g} minutes; {why_not(each, data) or 'can run'}")
        return
    outcomes = run_all(selected, data)
    print(*(f"{name}: {outcome}" for name, outcome in outcomes.items()), sep="\n")
    sys.exit(1 if any(outcome.startswith("FAILED") for outcome in outcomes.values()) else 0)


if __name__ == "__main__":
    main()
