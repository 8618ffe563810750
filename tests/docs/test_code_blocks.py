"""Every Python block of README and of the documentation runs, every TOML block is a recipe, every command parses.

The blocks of one document share one namespace, as a reader would type them, and run in a folder of their own.
"""

import shlex
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from paretorch.cli import app
from paretorch.recipes import Recipe, cookbook
from tests.docs.documents import commands, documents, name_of

UsageError = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError"
)  # click's, or typer's own
COMMANDS = typer.main.get_command(app)
SMALLEST = {"name": "smallest", "task": "digits", "dense": {"epochs": 1}}


def check_recipe(example: Example) -> None:
    """A block with a name is a whole recipe; another one is part of one and is checked inside the smallest."""
    given = tomllib.loads(example.parsed)
    Recipe.model_validate(given if "name" in given else SMALLEST | given).check()


PARSER = Sybil([PythonCodeBlockParser(), CodeBlockParser("toml", check_recipe)])


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_the_code_of_the_document_runs(path: Path, my_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(my_project)
    monkeypatch.delitem(sys.modules, "my_project", raising=False)
    document = PARSER.parse(path)
    document.namespace["__name__"] = "__main__"  # as in a script: where classes and functions say they come from
    for example in document.examples():
        example.evaluate()


def parse(line: str) -> dict[str, object]:
    """The parameters of a `paretorch` command line, which is not run.

    Raises:
        UsageError: for an unknown command or option, or a missing argument.
    """
    _, name, *arguments = shlex.split(line)
    command = COMMANDS.get_command(COMMANDS.make_context("paretorch", [name]), name)
    if command is None:
        raise UsageError(f"there is no command {name!r}")
    if not arguments:  # the name alone, in running text
        return {}
    return dict(command.make_context(name, arguments).params)


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_the_commands_of_the_document_exist_with_their_options(path: Path) -> None:
    for line in commands(path.read_text(encoding="utf-8")):
        if line.endswith("--help"):
            continue
        recipe = parse(line).get("recipe")
        own = recipe is None or str(recipe).endswith(".toml") or str(recipe).isupper()
        assert own or recipe in cookbook(), f"{line}: no recipe of that name ships"


@pytest.mark.parametrize("line", ["paretorch prune x", "paretorch run digits --task", "paretorch demo -x"])
def test_a_command_that_does_not_exist_is_noticed(line: str) -> None:
    with pytest.raises(UsageError):
        parse(line)


def test_readme_and_pages_hold_commands_and_code() -> None:
    found = {name_of(path): path.read_text(encoding="utf-8") for path in documents()}
    assert commands(found["README.md"])
    assert len([name for name, text in found.items() if "```python" in text]) > 5
