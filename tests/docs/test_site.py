"""The site builds without a warning, every link inside it leads somewhere, and it loads nothing from elsewhere."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documents import ROOT
from tests.docs.site import dead_links, loaded_from_elsewhere

PAGE = (
    '<h1 id="top">T</h1><a href="b.html#there">1</a><a href="b.html#no">2</a><a href="c.html">3</a><a href="#top">4</a>'
)


def test_a_script_from_elsewhere_is_found_and_a_link_is_none(tmp_path: Path) -> None:
    text = '<a href="https://example.org">1</a><script async src="https://example.org/a.js"></script>'
    (tmp_path / "a.html").write_text(text, encoding="utf-8")
    assert loaded_from_elsewhere(tmp_path) == ["a.html: https://example.org/a.js"]


def test_a_dead_link_is_found_by_its_file_and_by_its_anchor(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(PAGE, encoding="utf-8")
    (tmp_path / "b.html").write_text('<p id="there"><a href="https://example.org/x#y">5</a></p>', encoding="utf-8")
    assert dead_links(tmp_path) == ["a.html: b.html#no", "a.html: c.html"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built from a copy, with warnings as errors."""
    if importlib.util.find_spec("sphinx") is None:
        pytest.skip("needs the docs extra")
    folder = tmp_path_factory.mktemp("site")
    ignored = shutil.ignore_patterns("__pycache__", "_build")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=ignored)
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder / name)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "--keep-going",
            "-n",
            "-q",
            "-b",
            "html",
            folder / "docs",
            folder / "html",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


@pytest.mark.slow
def test_every_link_inside_the_site_leads_to_a_file_and_an_anchor(site: Path) -> None:
    assert dead_links(site) == []


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    assert loaded_from_elsewhere(site) == []


@pytest.mark.slow
def test_figures_are_shown_without_their_markers(site: Path) -> None:
    text = (site / "methods" / "allr.html").read_text(encoding="utf-8")
    assert "percentage points" in text
    assert "&lt;!--" not in text
