"""Write docs/results.md from benchmarks/results and fill the markers in README and docs; refuse what is false.

    python benchmarks/make_results.py [--check | --update]

Refused, with file, line, what was expected and what was found, and nothing is written: a marker whose text is not what
its file gives, a marker of an unknown file or key, docs/results.md edited by hand, a malformed result file. A bare
measured figure (see `bare_figures`) is reported too. Exit code 1 when anything was refused or reported.

--check writes nothing and also reports empty markers and a page that is older than the result files. --update replaces
texts that are not what the files give, and prints each change: for figures that were measured again.
"""

import argparse
import sys
from pathlib import Path

from _page import edited_by_hand, page
from _result import load_all
from bare_figures import lint
from markers import Problem, fill, pages

from paretorch.artefacts.files import write_text
from paretorch.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


def make(root: Path, *, check: bool = False, update: bool = False) -> tuple[list[str], list[str]]:
    """Do what this module says for the repository at `root`.

    Returns:
        Problems, and what was done (empty with `check`, or when the problems forbid writing).

    Raises:
        InputError: a malformed result file.
    """
    results = load_all(root / "benchmarks" / "results")
    false: list[Problem] = []
    done: list[str] = []
    new: dict[Path, str] = {}
    for path in pages(root):
        text = path.read_text(encoding="utf-8")
        filled = fill(text, results, path=path.relative_to(root).as_posix(), update=update)
        false += filled.problems
        done += map(str, filled.changes)
        if filled.text != text:
            new[path] = filled.text
    target = root / "docs" / "results.md"
    present = target.read_text(encoding="utf-8") if target.exists() else None
    if present is not None and edited_by_hand(present) and not update:
        why = "edited by hand; change the result files, or run: make results UPDATE=1"
        false.append(Problem("docs/results.md", _first_difference(present, page(results)), why))
    if present != page(results):
        new[target] = page(results)
    problems = [str(problem) for problem in [*false, *lint(root)]]
    if check:
        stale = [
            path for path in new if not any(problem.path == path.relative_to(root).as_posix() for problem in false)
        ]
        return problems + [f"{path.relative_to(root).as_posix()}: out of date; run: make results" for path in stale], []
    if false:
        return problems, []
    for path, text in new.items():
        write_text(path, text)
    return problems, done + [f"wrote {path.relative_to(root).as_posix()}" for path in new]


def _first_difference(found: str, expected: str) -> int:
    """Number of the first line that differs."""
    pairs = zip(found.splitlines(), expected.splitlines(), strict=False)
    return next((number for number, (a, b) in enumerate(pairs, start=1) if a != b), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--check", action="store_true", help="write nothing; also report what is out of date")
    modes.add_argument("--update", action="store_true", help="replace texts that are not what the files give")
    arguments = parser.parse_args()
    try:
        problems, done = make(ROOT, check=arguments.check, update=arguments.update)
    except InputError as error:
        sys.exit(str(error))
    for line in done:
        print(line)
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
