"""The directives of the site refuse pages that fell behind the code, and docstrings become what was meant."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.documents import DOCS

pytestmark = pytest.mark.slow


@pytest.fixture
def docstrings(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The extension that prepares docstrings."""
    if importlib.util.find_spec("sphinx") is None:
        pytest.skip("needs the docs extra")
    monkeypatch.syspath_prepend(DOCS / "_ext")
    return importlib.import_module("docstrings")


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


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```{recipe-keys} TrainTable\nlr: the rate\n```", "say what these keys mean: batch_size"),
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
