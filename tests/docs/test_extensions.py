"""The directives of the site refuse pages that fell behind the code, and docstrings become what was meant."""

import importlib.util
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path
from types import ModuleType

import pytest

from paretorch.recipes import cookbook, load_recipe
from tests.docs.documents import DOCS

pytestmark = pytest.mark.slow


@pytest.fixture
def docstrings(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The extension that prepares docstrings."""
    return extension("docstrings", monkeypatch)


@pytest.fixture
def recipe_keys(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The extension that writes recipes and their keys."""
    return extension("recipe_keys", monkeypatch)


def extension(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of `docs/_ext`."""
    if importlib.util.find_spec("sphinx") is None:
        pytest.skip("needs the docs extra")
    monkeypatch.syspath_prepend(DOCS / "_ext")
    return importlib.import_module(name)


def test_an_indented_formula_is_taken_literally_and_symbols_in_text_are_escaped(docstrings: ModuleType) -> None:
    lines = ["Scales w * m by k_ and `a * b`.", "", "    w[i] * m[i]", "", "Then zero_(x) of `Point`s."]
    assert docstrings.reworked(lines) == [
        "Scales w \\* m by k\\_ and `a * b`.", "", "::", "", "    w[i] * m[i]", "", "Then zero\\_(x) of `Point`\\ s.",
    ]  # fmt: skip


def test_sections_lists_and_blocks_that_are_marked_already_stay_as_they_are(docstrings: ModuleType) -> None:
    lines = [
        "Args:",
        "    x: a number.",
        "",
        "    y: another.",
        "Code::",
        "",
        "    a * b",
        "",
        "- one",
        "  more of one",
    ]
    assert docstrings.reworked(lines) == lines


def test_a_hanging_indent_goes_on_with_its_paragraph(docstrings: ModuleType) -> None:
    assert docstrings.reworked(["n: rounds.", "    There are some."]) == ["n: rounds.", "There are some."]


def test_exceptions_that_share_a_line_are_parted(docstrings: ModuleType) -> None:
    lines = [
        "Does it.",
        "",
        "Raises:",
        "    TypeError: no module. ValueError: a size that",
        "    cannot be.",
        "",
        "End.",
    ]
    assert docstrings.one_exception_each(lines) == [
        "Does it.", "", "Raises:", "    TypeError: no module.", "    ValueError: a size that cannot be.", "", "End.",
    ]  # fmt: skip


def test_entries_of_what_is_returned_become_a_list_and_sentences_stay(docstrings: ModuleType) -> None:
    entries = [
        "Returns:",
        '    "rate": of all',
        "        examples.",
        '    "low": its end.',
        "",
        "Raises:",
        "    E: no.",
    ]
    assert docstrings.as_list(entries) == [
        "Returns:", "    By key", "", '    - "rate": of all', "      examples.", '    - "low": its end.', "",
        "Raises:", "    E: no.",
    ]  # fmt: skip
    sentences = [
        "Returns:",
        "    The interval; it is",
        "    closed.",
        "",
        "    - a list",
        "      of its own",
        "    - two",
    ]
    assert docstrings.as_list(sentences) == sentences


def test_an_example_of_plain_code_is_taken_literally_and_a_doctest_is_left(docstrings: ModuleType) -> None:
    plain = ["Example:", "    with pool(2) as p:", "        p.submit()"]
    assert docstrings.with_literal_example(plain) == ["Example::", "", *plain[1:]]
    doctest = ["Example:", "    >>> 1 + 1", "    2"]
    assert docstrings.with_literal_example(doctest) == doctest


def test_a_colon_in_the_first_line_of_a_constant_is_no_type(docstrings: ModuleType) -> None:
    lines = ["Looked at: all of them."]
    docstrings.process(None, "data", "ALL", 15, None, lines)
    assert lines == ["Looked at \N{EN DASH} all of them."]


def test_every_recipe_that_ships_has_the_command_of_its_kind(recipe_keys: ModuleType) -> None:
    for name in cookbook():
        text = (resources.files("paretorch") / "cookbook" / f"{name}.toml").read_text(encoding="utf-8")
        compares = load_recipe(name).compare is not None
        assert recipe_keys.command_of(name, text).startswith(f"paretorch {'compare' if compares else 'run'} {name}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```{recipe-keys} TrainTable\nlr: the rate\n```", "say what these keys mean: optimizer, "),
        ("```{recipe-keys} NoTable\n```", "paretorch.recipes has no model 'NoTable'"),
        ("```{method-card} no-method\n```", "no method has the id 'no-method'"),
        ("```{task-facts} no-task\n```", "no task is called 'no-task'"),
        ("```{room} paretorch.training\n:only: nothing\n```", "has no module with a public name"),
        ("[](#paretorch.NoSuchName)", "NoSuchName"),
    ],
)
def test_a_page_that_does_not_fit_the_code_stops_the_build(text: str, problem: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("sphinx") is None:
        pytest.skip("needs the docs extra")
    (tmp_path / "index.md").write_text(f"# Page\n\n{text}\n", encoding="utf-8")
    (tmp_path / "conf.py").write_text(
        'extensions = ["myst_parser", "recipe_keys", "method_cards", "task_facts", "api_pages"]\n', encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "-n", "-q", "-b", "html", tmp_path, tmp_path / "html"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(DOCS / "_ext"), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode != 0
    assert problem in done.stderr
