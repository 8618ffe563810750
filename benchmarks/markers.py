"""Measured figures in README and docs stand in markers that name their file and key; this fills and checks them.

    <!-- figure: FILE "KEY" FORMAT -->text<!-- /figure -->

FILE is the stem of a result file (`mask_enforcement.cpu`), KEY one of its figures (`zeroing_s/masked_fill_` inside a
group), FORMAT words of `_numbers.shown` or nothing: `value`, `interval`, `full`, `n`; `percent`, `ms`, `MB`, ...;
`bare`; `signed`; `.2`. Write a new marker with an empty text; `make results` fills it in.

The rule: an empty text is filled, and any other text that is not exactly what the file gives is refused, with file,
line, what was found and what was expected. Only `make results UPDATE=1`, for figures that were measured again, replaces
texts, and it prints each change. A marker must not begin a line: Markdown would take the whole line for HTML.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from _numbers import shown
from _result import Result

from paretorch.errors import InputError

GENERATED = ("docs/results.md",)  # written whole
MARKER = re.compile(
    r'<!--\s*figure:\s*(?P<file>\S+)\s+"(?P<key>[^"]+)"\s*(?P<words>[^>]*?)\s*-->(?P<text>[^<]*)<!--\s*/figure\s*-->'
)
ANY_MARKER = re.compile(r"<!--\s*/?figure\b")
FENCE = re.compile(
    r"^[ \t]*(?P<fence>`{3,}(?=[^`\n]*$)|~{3,}).*?^[ \t]*(?P=fence)[`~]*[ \t]*$", re.MULTILINE | re.DOTALL
)
GLUED = "a digit, sign or letter touches the marker and changes what is read; put a space between"
BLOCK = r"\n[ \t]*(?:\n|[-*+|#>]|\d+[.)])"  # a code span does not reach into the next paragraph, item or row
SPAN = re.compile(rf"(?<![`\\])(`+)(?!`)((?:(?!{BLOCK}).)+?)(?<!`)\1(?!`)", re.DOTALL)


@dataclass(frozen=True)
class Problem:
    """Something in a page that is not right: where, and in words what and what to do."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


def pages(root: Path) -> list[Path]:
    """README.md and every page below docs that people write."""
    written = [path for path in sorted((root / "docs").rglob("*.md")) if not _is_left_out(path.relative_to(root))]
    return [path for path in [root / "README.md", *written] if path.is_file()]


def _is_left_out(path: Path) -> bool:
    return path.as_posix() in GENERATED or any(part.startswith((".", "_")) for part in path.parts)


def without_code(text: str) -> str:
    """The text with fenced code and code spans blanked out; every character keeps its place."""
    text = FENCE.sub(lambda match: _blank(match[0]), text)
    return SPAN.sub(lambda match: _blank(match[0]), text)


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


@dataclass(frozen=True)
class Filled:
    """A page with its markers filled in, what is wrong with it, and what `update` replaced."""

    text: str
    problems: list[Problem]
    changes: list[Problem]


def fill(text: str, results: Mapping[str, Result], *, path: str, update: bool = False) -> Filled:
    """One page with its markers filled in.

    Args:
        text: the page.
        results: by stem, from `load_all`.
        path: how the page is named in problems.
        update: replace texts that are not what the files give.

    Returns:
        The page. Its problems are unknown files, keys and formats, malformed markers, and, without `update`, texts that
        are not what the file gives.
    """
    visible = without_code(text)
    matches = [match for match in MARKER.finditer(text) if visible.startswith("<!--", match.start())]
    problems = [Problem(path, _line(text, start), why) for start, why in _malformed(visible, matches)]
    problems += [Problem(path, _line(text, match.start()), GLUED) for match in matches if _is_glued(text, match)]
    changes = []
    parts, position = [], 0
    for match in matches:
        found, line = match["text"], _line(text, match.start())
        expected, why = _expected(match, results)
        if found and " ".join(found.split()) == expected:
            expected = found  # a line may end inside
        if why:
            problems.append(Problem(path, line, why))
        elif found and found != expected:
            what = f"figure {match['key']!r} of {match['file']}"
            if update:
                changes.append(Problem(path, line, f"changed {found!r} to {expected!r}, {what}"))
            else:
                again = "if it was measured again, run: make results UPDATE=1"
                problems.append(Problem(path, line, f"expected {expected!r}, found {found!r}: {what}; {again}"))
                expected = found
        parts += [text[position : match.start("text")], expected]
        position = match.end("text")
    text = "".join([*parts, text[position:]])
    return Filled(text, sorted(problems, key=lambda problem: problem.line), changes)


def _is_glued(text: str, match: re.Match[str]) -> bool:
    """Whether a reader would see another number than the file's: `1` before a marker of 22.4x reads 122.4x."""
    before, behind = text[: match.start()], text[match.end() :]
    return bool(re.search(r"[\w.,+\u2212-]\Z", before) or re.match(r"\w|[.,]\d", behind))


def _expected(match: re.Match[str], results: Mapping[str, Result]) -> tuple[str, str | None]:
    """The text that the file gives; or the text that is there, and why there is no other."""
    file, key, found = match["file"], match["key"], match["text"]
    if file not in results:
        return found, f"there is no result file {file!r}; there are: {', '.join(results) or 'none'}"
    try:
        return shown(results[file].figure(key), match["words"]), None
    except KeyError:
        return found, f"{file} has no figure {key!r}; its keys are in benchmarks/results/{file}.json"
    except InputError as error:
        return found, f"figure {key!r} of {file}: {error}"


def _malformed(visible: str, matches: list[re.Match[str]]) -> list[tuple[int, str]]:
    """Places of comments that look like markers and are none, and of markers that begin a line."""
    inside = [match.span() for match in matches]
    found = []
    for match in ANY_MARKER.finditer(visible):
        start = match.start()
        if not any(begin <= start < end for begin, end in inside):
            found.append((start, 'a marker is <!-- figure: FILE "KEY" FORMAT -->text<!-- /figure -->'))
        if not visible[visible.rfind("\n", 0, start) + 1 : start].strip():
            found.append((start, "a marker must not begin a line: Markdown would take the line for HTML"))
    return found


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
