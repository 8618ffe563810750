"""The documents that are tested, and what is in them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"

FENCE = re.compile(r"^(`{3,}).*?^\1$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"`(paretorch [a-z][^`\n]*)`")
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    """README and every page of the documentation."""
    return [README, *sorted(DOCS.rglob("*.md"))]


def name_of(path: Path) -> str:
    """The path inside the repository, for the names of tests."""
    return path.relative_to(ROOT).as_posix()


def commands(text: str) -> list[str]:
    """Every `paretorch ...` command line of a document: in console blocks after "$ ", and in running text."""
    blocks = "".join(CONSOLE.findall(text))
    typed = [line.removeprefix("$ ") for line in blocks.splitlines() if line.startswith("$ paretorch")]
    return typed + COMMAND.findall(FENCE.sub("", text))
