"""Find measured figures that README and docs write by hand, outside a marker.

The rule. A number is a measured figure when one of these units follows it: %, x or times, points, ns to hours, kB to GB
or bytes, FPS or images per second; or when one of these words stands before it: accuracy, loss, perplexity, distance,
speed-up, error ("accuracy of 0.91"). So is a unit behind a marker, whose format brings its own. It then needs
one of:

- a marker (see `markers`), which is how everything measured is written;
- `<!-- setting -->` directly behind it, when it is chosen, promised or quoted and not measured by us;
- a shape that only settings have, see `SETTINGS`: "90 % sparsity", "at 90 %", "95 % confidence", "at most 10 minutes",
  the first cell of a table's row;
- a line `page: text: reason` in benchmarks/settings_allowed.txt, where the annotation would stand in the way.

Code, links, comments, headings' anchors and tables' code spans are not looked at, nor are results.md,
design.md and the changelog.

    python benchmarks/bare_figures.py [PAGE ...]
"""

import argparse
import re
import sys
from pathlib import Path

from markers import MARKER, Problem, pages, without_code

from paretorch.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = Path("benchmarks") / "settings_allowed.txt"
NOT_LINTED = ("docs/design.md", "docs/changelog.md")  # aims, and what was true once

NUMBER = r"(?<![\w.,^/])(?<![A-Za-z]-)[-+\u2212]?\d[\d,]*(?:\.\d+)?"
TIME = r"(?:ns|µs|us|ms|s|sec|(?:nano|micro|milli)?seconds?|min|minutes?|h|hours?)"
MEMORY = r"(?:[kKMGT]i?B|bytes?|kilobytes?|megabytes?|gigabytes?)"
SHARE = r"(?:%|pct\b|percent|per cent)"
FACTOR = r"(?:[x\u00d7](?!\w|\s?\d)|times\b|-?fold\b)"
RATE = r"(?:points?|percentage points?|pp|FPS|images/s|images per second|tokens/s)"
UNIT = rf"(?:{SHARE}|{FACTOR}|(?:{RATE}|{TIME}|{MEMORY})(?![\w/-]))"
GAP = r"(?:\s|-|&\w+;|[*_]+|</?\w+>){0,3}"  # also emphasis that ends between a number and its unit
WITH_UNIT = re.compile(rf"{NUMBER}{GAP}{UNIT}")
BEHIND_MARKER = re.compile(rf"{MARKER.pattern}{GAP}(?P<unit>{UNIT})")
REACHES = r"(?:of|is|was|about|=|:|at|from|to|by|a factor of|reach(?:es|ed)|rises|rose|falls|fell|drops|dropped)"
QUALITY = re.compile(
    r"\b(?:accuracy|loss|perplexity|distance|FID|F1|speed-?up|error)(?: "
    + REACHES
    + ")* "
    + NUMBER
    + rf"(?![\w%]|\.\d|\s?{UNIT})",
    re.IGNORECASE,
)

LIMIT = r"(?:at most|at least|no more than|under|below|up to|within|over|limit of|every|per|first|after|for|budget of)"
MANY = rf"{NUMBER}(?:(?:,| and| or|, and) {NUMBER})*"
WHOLE = r"\d\d?(?:(?:,| and| or|, and) \d\d?)*"  # with decimals it is rather something measured
SETTINGS = tuple(
    re.compile(pattern.replace(" ", r"\s+"))  # a line may end anywhere
    for pattern in (
        rf"{MANY}\s?{SHARE} (?:sparsity|sparse|pruned|density|confidence|interval|coverage|t-interval)",
        rf"{MANY}\s?{SHARE} of (?:the |all |its |a layer's |your )?(?:weights|entries|channels|filters)",
        rf"\b(?:[Aa]t|sparsity|sparsity of|prunes?d?(?: it)? to) {WHOLE}\s?{SHARE}(?! (?:\w+ )?accuracy)",
        rf"\b{LIMIT} {NUMBER}\s?{SHARE} (?:sparse|sparsity|pruned)",
        rf"(?m:^)\s*\|\s*{NUMBER}\s?{UNIT}\s*(?=\|)",
        rf"\b{LIMIT} {NUMBER}[\s-]?(?:{TIME}|{MEMORY})(?![\w/-])",
    )
)
ANNOTATION = re.compile(r"\s*<!--\s*setting\s*-->")


def bare_figures(text: str) -> list[tuple[int, str]]:
    """The measured-looking figures of a page that nothing excuses: line number and what stands there."""
    prose = _prose(text)
    excused = [match.span() for pattern in SETTINGS for match in pattern.finditer(prose)]
    found = set()
    for match in [*WITH_UNIT.finditer(prose), *QUALITY.finditer(prose)]:
        start, end = match.span()
        within = any(first <= start and end <= last + 1 for first, last in excused)
        if not within and not ANNOTATION.match(text, end):
            found.add((text.count("\n", 0, start) + 1, " ".join(match[0].split())))
    for match in BEHIND_MARKER.finditer(text):
        found.add((text.count("\n", 0, match.start("unit")) + 1, f"{match['text']} {match['unit']}"))
    return sorted(found)


def _prose(text: str) -> str:
    """The text with code, markers, comments and the targets of links blanked out, at the same places."""
    for pattern in (MARKER, re.compile(r"<!--.*?-->", re.DOTALL), re.compile(r"(?<=\])\([^)\s]*\)|<https?://[^>]*>")):
        text = pattern.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    return without_code(text)


def allowed(root: Path) -> dict[tuple[str, str], str]:
    """Reasons by page and text, from the list of settings.

    Raises:
        InputError: a line that is not `page: text: reason`.
    """
    path = root / ALLOWED
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.exists() else [], start=1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split(":", 2)]
        if len(parts) != 3 or not all(parts):
            raise InputError(f"{ALLOWED.as_posix()}:{number}: expected `page: text: reason`, got {line!r}")
        found[parts[0], parts[1]] = parts[2]
    return found


def lint(root: Path, only: list[Path] | None = None) -> list[Problem]:
    """Every bare figure in the pages of a repository, and every line of the list that excuses nothing any more."""
    excuses = allowed(root)
    used = set()
    problems = []
    for page in only or pages(root):
        name = page.relative_to(root).as_posix()
        if name in NOT_LINTED:
            continue
        for line, text in bare_figures(page.read_text(encoding="utf-8")):
            if (name, text) in excuses:
                used.add((name, text))
            else:
                what = f"{text!r} is a bare figure: put it into a marker, or write <!-- setting --> behind it"
                problems.append(Problem(name, line, what))
    stale = [] if only else [key for key in excuses if key not in used]
    what = "no such figure stands there any more; remove the line from"
    return problems + [Problem(name, 1, f"{text!r}: {what} {ALLOWED.as_posix()}") for name, text in stale]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path, help="default: README.md and all of docs")
    problems = lint(ROOT, [page.resolve() for page in parser.parse_args().pages])
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
