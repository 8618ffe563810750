"""Docstrings as they are written here, made into reStructuredText: formulas become literal blocks, symbols are escaped.

Our docstrings follow Google's sections and otherwise read as plain text: `code` in single backticks, formulas as
indented blocks, `*` for products. reStructuredText would take the last two for markup.
"""

# ruff: noqa: ARG001 -- Sphinx gives its handlers all arguments by position

import re
from collections.abc import Iterator
from itertools import groupby, pairwise, zip_longest
from typing import Any

from sphinx.application import Sphinx

SECTION = re.compile(r"[A-Z][A-Za-z ]*:$")  # "Args:", "Class attributes:"
RAISING = ("Raises:", "Warns:")
NEXT_EXCEPTION = re.compile(r"(?<=[.;]) (?=(?:[\w.]+, )*[\w.]*(?:Error|Expired|Warning): )")
CODE = re.compile(r"(``.*?``|`[^`]*`)")
SYMBOL = re.compile(r"[*|]|(?<=\w)_(?!\w)")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", process, priority=400)  # before napoleon, at 500
    app.connect("autodoc-process-signature", with_readable_defaults)
    return {"parallel_read_safe": True}


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if what in ("attribute", "data", "property") and lines:
        lines[0] = lines[0].replace(": ", " \N{EN DASH} ")  # napoleon takes what precedes a colon for the type
    lines[:] = reworked(as_list(with_literal_example(one_exception_each(lines))))


def with_readable_defaults(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """A dataclass's `<factory>` as `...`, which Sphinx can parse, so that the types around it become links."""
    return (None if signature is None else signature.replace("<factory>", "..."), returns)


def one_exception_each(lines: list[str]) -> list[str]:
    """The lines with every exception of a "Raises:" section on a line of its own, however they were filled."""
    result: list[str] = []
    for raising, group in groupby(zip(sections(lines), lines, strict=True), key=lambda pair: pair[0] in RAISING):
        found = [line for _, line in group]
        if raising:
            entries = NEXT_EXCEPTION.split(" ".join(line.strip() for line in found[1:]).strip())
            found = [found[0], *(f"    {entry}" for entry in entries), ""]
        result += found
    return result


def with_literal_example(lines: list[str]) -> list[str]:
    """The lines with an "Example:" that is plain code, and no doctest, as a literal block."""
    result: list[str] = []
    for line, following in zip_longest(lines, lines[1:], fillvalue=""):
        plain = line == "Example:" and not following.lstrip().startswith(">>>")
        result += ["Example::", ""] if plain else [line]
    return result


def as_list(lines: list[str]) -> list[str]:
    """The lines with a "Returns:" section of several entries, each with a hanging indent, as a list."""
    result: list[str] = []
    for head, group in groupby(zip(sections(lines), lines, strict=True), key=lambda pair: pair[0]):
        found = [line for _, line in group]
        text = [line for line in found[1:] if line]
        indents = [len(line) - len(line.lstrip()) for line in text]
        base = min(indents, default=0)
        listed = any(line[base:].startswith("- ") for line in text)
        if head == "Returns:" and not listed and any(later == base < indent for indent, later in pairwise(indents)):
            starts = ["- " if indent == base else "  " for indent in indents]
            entries = [" " * base + start + line.strip() for start, line in zip(starts, text, strict=True)]
            found = [found[0], " " * base + "By key", "", *entries, ""]
        result += found
    return result


def sections(lines: list[str]) -> Iterator[str]:
    """For every line the last line before it, or itself, that is not indented: in a section, its head."""
    head = ""
    for line in lines:
        if line and not line.startswith(" "):
            head = line
        yield head


def reworked(lines: list[str]) -> list[str]:
    """The lines with `::` before every block that is indented for its own sake, and symbols escaped elsewhere."""
    result: list[str] = []
    in_section, in_block = False, False
    for number, line in enumerate(lines):
        indented, before = line.startswith("  "), lines[number - 1] if number else ""
        if line and not indented:
            in_section, in_block = SECTION.match(line) is not None, line.rstrip().endswith("::")
        elif indented and not in_section and not in_block:
            if before.startswith(("  ", "- ")) or not number:
                pass
            elif before:  # a hanging indent goes on with the paragraph
                line = line.strip()
            else:
                result += ["::", ""]
                in_block = True
        result.append(line if in_block and line.startswith("  ") else escaped(line))
    return result


def escaped(line: str) -> str:
    """The line with `*`, `|` and a trailing underscore taken literally, but for what stands in backticks.

    A letter right after the backticks, as in "`Point`s", is set apart by an escaped blank, which prints as nothing.
    """
    parts = CODE.split(line)
    parts[::2] = [SYMBOL.sub(r"\\\g<0>", part) for part in parts[::2]]
    parts[2::2] = [f"\\ {part}" if part[:1].isalnum() else part for part in parts[2::2]]
    return "".join(parts)
