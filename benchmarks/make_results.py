"""Write docs/results.md from the files in benchmarks/results; with --check only say whether it is up to date.

python benchmarks/make_results.py [--check]
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "results.md"
HEAD = """# Results

Generated from `benchmarks/results/` by `make results`; never edited by hand. Each section names the command that
repeats it. Intervals are 95 % unless a coverage is given; what they are over is in the notes.
"""


def page() -> str:
    """The whole page."""
    sections = [section(json.loads(path.read_text())) for path in sorted(RESULTS.glob("*.json"))]
    return "\n".join([HEAD, *sections])


def section(result: dict[str, Any]) -> str:
    """One result file as a section: facts, notes, and a table of its figures."""
    environment = result["environment"]
    lines = [f"## {result['name'].replace('_', ' ')} ({result['device']})", ""]
    lines += [f"`{result['command']}`", "", f"Seeds: {', '.join(map(str, result['seeds'])) or 'none (counts)'}."]
    lines += [f"Measured {result['date']} with {described(environment)}.", ""]
    lines += [f"- {note}" for note in result["notes"]]
    lines += ["", "| figure | value | interval | n | unit |", "|---|---:|---|---:|---|"]
    lines += [line for name, value in result["figures"].items() for line in rows(name, value)]
    return "\n".join([*lines, ""])


def described(environment: dict[str, Any]) -> str:
    """The parts of the environment that a reader compares first."""
    parts = [
        f"{key} {environment[key]}" for key in ("python", "torch", "cpu", "cores", "threads") if key in environment
    ]
    return ", ".join(parts)


def rows(name: str, value: Any) -> list[str]:
    """A figure with its spread, the figures of a group, or a plain value."""
    if not isinstance(value, dict):
        return [f"| {name} | {plain(value)} | | | |"]
    if not {"median", "mean"} & set(value):
        return [line for key, inner in value.items() for line in rows(f"{name}: {key}", inner)]
    centre = value.get("median", value.get("mean"))
    known = value.get("low") is not None and value.get("n") != 1
    spread = f"{number(value['low'])} to {number(value['high'])}" if known else ""
    if known and value.get("coverage") is not None and abs(value["coverage"] - 0.95) > 0.005:
        spread += f" ({value['coverage']:.1%})"
    flag = " (machine not quiet)" if value.get("quiet") is False else ""
    return [f"| {name} | {number(centre)}{flag} | {spread} | {value.get('n', '')} | {value.get('unit', '')} |"]


def plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(plain(item) for item in value)
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    text = page()
    if parser.parse_args().check:
        if not PAGE.exists() or PAGE.read_text() != text:
            sys.exit("docs/results.md does not follow from benchmarks/results; run: make results")
        return
    PAGE.write_text(text)
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
