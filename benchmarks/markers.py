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
from typing import Any

from _numbers import shown
from _result import Result

from paretorch.errors import InputError

GENERATED = ("results.md",)  # below docs: written whole
MARKER = re.compile(
    r'<!--\s*figure:\s*(?P<file>\S+)\s+"(?P<key>[^"]+)"\s*(?P<words>[^>]*?)\s*-->(?P<text>[^<]*)<!--\s*/figure\s*-->'
)
ANY_MARKER = re.compile(r"<!--\s*/?figure\b")
FENCE = re.compile(r"^ {0,3}(?P<fence>`{3,}|~{3,}).*?^ {0,3}(?P=fence)[`~]*[ \t]*$", re.MULTILINE | re.DOTALL)


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
    return path.name in GENERATED or any(part.startswith((".", "_")) for part in path.parts)


def without_code(text: str) -> str:
    """The text with fenced code and code spans blanked out; every character keeps its place."""
    text = FENCE.sub(lambda match: _blank(match[0]), text)
    return re.sub(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", lambda match: _blank(match[0]), text, flags=re.DOTALL)


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def fill(text: str, results: Mapping[str, Result], *, path: str, update: bool = False) -> tuple[str, list[Problem]]:
    """One page with its markers filled in.

    Args:
        text: the page.
        results: by stem, from `load_all`.
        path: how the page is named in problems.
        update: replace texts that are not what the files give.

    Returns:
        The page, and what is wrong with it: unknown files, keys or formats, malformed markers, and, without `update`,
        texts that are not what the file gives. With `update`, the changed texts are returned as problems that say so.
    """
    visible = without_code(text)
    matches = [match for match in MARKER.finditer(text) if visible.startswith("<!--", match.start())]
    problems = [Problem(path, _line(visible, start), why) for start, why in _malformed(visible, matches)]
    parts, position = [], 0
    for match in matches:
        new, why = _filled(match, results, update=update)
        if why:
            problems.append(Problem(path, _line(text, match.start()), why))
        parts += [text[position : match.start("text")], new]
        position = match.end("text")
    return "".join([*parts, text[position:]]), sorted(problems, key=lambda problem: problem.line)


def _filled(match: re.Match[str], results: Mapping[str, Result], *, update: bool) -> tuple[str, str | None]:
    """The text of one marker, and what is wrong with it or was changed in it."""
    file, key, found = match["file"], match["key"], match["text"]
    if file not in results:
        return found, f"there is no result file {file!r}; there are: {', '.join(results) or 'none'}"
    try:
        expected = shown(results[file].figure(key), match["words"])
    except KeyError:
        return found, f"{file} has no figure {key!r}; see docs/results.md for its keys"
    except InputError as error:
        return found, f"figure {key!r} of {file}: {error}"
    if not found:
        return expected, None
    if " ".join(found.split()) == expected:
        return found, None
    if update:
        return expected, f"changed {found!r} to {expected!r}, figure {key!r} of {file}"
    return found, (
        f"expected {expected!r}, found {found!r}: figure {key!r} of {file}. If it was measured again, run: make "
        "results UPDATE=1"
    )


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


def fill_pages(root: Path, results: Mapping[str, Result], *, update: bool = False) -> tuple[dict[Path, str], list[Any]]:
    """All pages that `fill` changes, with their new text, and all problems; nothing is written."""
    changed: dict[Path, str] = {}
    problems: list[Problem] = []
    for page in pages(root):
        text = page.read_text(encoding="utf-8")
        new, found = fill(text, results, path=page.relative_to(root).as_posix(), update=update)
        problems += found
        if new != text:
            changed[page] = new
    return changed, problems
