"""The names and commands that users rely on, frozen in `public_surface.txt`."""

import ast
import inspect
from pathlib import Path

import pytest
import typer

import paretorch
from paretorch.cli import app

SNAPSHOT = Path(__file__).with_name("public_surface.txt")

HOW_TO_DECIDE = """The public surface changed.
  new:  {new}
  gone: {gone}
If a name is new, and is meant for users: add it to tests/project/public_surface.txt and to CHANGELOG.md under Added.
If one is gone or renamed, code that users wrote stops working: keep the old name for one release with a
DeprecationWarning that says what to write instead, and list both in CHANGELOG.md. If you did not mean to change
anything, restore it."""


def public_surface() -> set[str]:
    """Every public name, every command, and every argument and option of a command, one entry each."""
    entries = {f"paretorch.{name}" for name in paretorch.__all__}
    for name, command in typer.main.get_command(app).commands.items():
        entries.add(f"paretorch {name}")
        for parameter in command.params:
            shown = [parameter.name.upper()] if parameter.param_type_name == "argument" else parameter.opts
            entries.update(f"paretorch {name} {word}" for word in shown)
    return entries


def test_public_names_and_commands_are_those_of_the_snapshot():
    frozen = set(SNAPSHOT.read_text("utf-8").splitlines())
    new, gone = sorted(public_surface() - frozen), sorted(frozen - public_surface())
    assert (new, gone) == ([], []), HOW_TO_DECIDE.format(new=", ".join(new) or "-", gone=", ".join(gone) or "-")


@pytest.mark.parametrize("name", [name for name in paretorch.__all__ if name != "__version__"])
def test_public_name_resolves_and_says_what_it_does(name):
    value = getattr(paretorch, name)
    text = inspect.cleandoc(value.__doc__ or "")
    assert len(text.split()) >= 4, f"paretorch.{name} has no docstring"
    assert not text.startswith(f"{value.__name__}("), f"paretorch.{name} has only the docstring dataclass makes"


def test_dir_lists_exactly_the_public_names():
    assert sorted(paretorch.__all__) == dir(paretorch)
    assert len(set(paretorch.__all__)) == len(paretorch.__all__)


def test_an_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(AttributeError, match=r"no attribute 'Mask'.*Masks"):
        _ = paretorch.Mask


def test_type_checkers_see_the_same_names_as_the_interpreter():
    tree = ast.parse(Path(paretorch.__file__).read_text("utf-8"))
    shown = {
        (alias.asname, node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {(name, module) for name, module in shown if name is not None} == set(paretorch._PUBLIC.items())
