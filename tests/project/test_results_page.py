"""The results page and every measured figure in README and docs follow from the result files; others are refused."""

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from paretorch.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
RESULT = {
    "name": "demo",
    "device": "cpu",
    "tier": "minutes",
    "figures": {
        "speed-up": {
            "median": 2.5,
            "low": 2.375,
            "high": 2.75,
            "n": 7,
            "unit": "x",
            "coverage": 0.984,
            "quiet": True,
            "reason": None,
        },
        "gain": {"mean": 2.0, "low": -0.484138, "high": 4.484138, "n": 3, "unit": "points", "values": [1.0, 2.0, 3.0]},
        "group": {"bytes": {"median": 1234567.0, "low": 1234567.0, "high": 1234567.0, "n": 1, "unit": "bytes"}},
        "num_weights": 25502912,
        "rates": [0.1, 0.01],
    },
    "seeds": [0, 1, 2],
    "command": "python benchmarks/demo.py",
    "notes": ["a caveat"],
    "date": "2026-01-02",
    "environment": {"python": "3.11.7", "packages": {"torch": "2.13.0"}, "accelerators": []},
    "headlines": [{"claim": "it gains", "figure": "gain", "format": "signed"}],
    "tables": [{"title": "T", "columns": ["sparsity", "gain"], "rows": [["90 %", {"figure": "gain"}]]}],
}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a file of benchmarks/ by its name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small repository with one result file and a README with one marker, not filled in yet."""
    (tmp_path / "docs").mkdir()
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    (results / "demo.cpu.json").write_text(json.dumps(RESULT))
    (tmp_path / "README.md").write_text('It is <!-- figure: demo.cpu "speed-up" -->' + "<!-- /figure --> as fast.\n")
    return tmp_path


def change(tree: Path, changed: Callable[[dict[str, Any]], object]) -> None:
    path = tree / "benchmarks" / "results" / "demo.cpu.json"
    content = json.loads(path.read_text())
    changed(content)
    path.write_text(json.dumps(content))


def test_every_page_of_this_repository_follows_from_its_result_files(load: Any) -> None:
    problems, _ = load("make_results").make(ROOT, check=True)
    assert problems == []


def test_empty_markers_are_filled_and_the_page_is_written(load: Any, tree: Path) -> None:
    make = load("make_results").make
    problems, _ = make(tree, check=True)
    assert problems == [
        "README.md: out of date; run: make results",
        "docs/results.md: out of date; run: make results",
    ]
    problems, done = make(tree)
    assert (problems, done) == ([], ["wrote README.md", "wrote docs/results.md"])
    assert '"speed-up" -->2.50x<!-- /figure --> as fast.' in (tree / "README.md").read_text()
    assert make(tree, check=True) == ([], [])
    assert make(tree) == ([], [])


@pytest.mark.parametrize("options", [{}, {"check": True}])
def test_a_planted_false_figure_is_refused_and_nothing_is_written(
    load: Any, tree: Path, options: dict[str, bool]
) -> None:
    make = load("make_results").make
    make(tree)
    readme = tree / "README.md"
    planted = readme.read_text().replace("2.50x", "25.0x")
    readme.write_text(planted)
    (tree / "docs" / "results.md").unlink()
    problems, done = make(tree, **options)
    assert problems[0] == (
        "README.md:1: expected '2.50x', found '25.0x': figure 'speed-up' of demo.cpu; if it was measured again, run: "
        "make results UPDATE=1"
    )
    assert done == []
    assert readme.read_text() == planted
    assert not (tree / "docs" / "results.md").exists()


def test_the_command_refuses_a_false_figure_planted_in_this_repository(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("benchmarks", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "_build"))
    planted = '"speedup_float32_90" -->900x<!-- /figure -->'
    (tmp_path / "README.md").write_text(f"Selection is <!-- figure: global_selection.cpu {planted} as fast.\n")
    make_results = load("make_results")
    monkeypatch.setattr(make_results, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["make_results.py"])
    with pytest.raises(SystemExit) as stop:
        make_results.main()
    assert stop.value.code == 1
    assert "README.md:1: expected '22.4x', found '900x'" in capsys.readouterr().err
    page = (tmp_path / "docs" / "results.md").read_text()
    assert page == (ROOT / "docs" / "results.md").read_text()


def test_figures_that_were_measured_again_replace_the_old_ones_only_when_asked(load: Any, tree: Path) -> None:
    make = load("make_results").make
    make(tree)
    change(tree, lambda content: content["figures"]["speed-up"].update(median=2.625))
    problems, _ = make(tree)
    assert "expected '2.62x', found '2.50x'" in problems[0]
    problems, done = make(tree, update=True)
    assert problems == []
    assert done[0] == "README.md:1: changed '2.50x' to '2.62x', figure 'speed-up' of demo.cpu"
    assert make(tree, check=True) == ([], [])


def test_a_results_page_that_is_merely_old_is_written_anew(load: Any, tree: Path) -> None:
    make = load("make_results").make
    make(tree)
    change(tree, lambda content: content["notes"].append("another caveat"))
    assert make(tree, check=True)[0] == ["docs/results.md: out of date; run: make results"]
    assert make(tree) == ([], ["wrote docs/results.md"])
    assert "another caveat" in (tree / "docs" / "results.md").read_text()


def test_a_results_page_edited_by_hand_is_refused(load: Any, tree: Path) -> None:
    make = load("make_results").make
    make(tree)
    page = tree / "docs" / "results.md"
    edited = page.read_text().replace("+2.0 points", "+3.0 points")
    assert edited != page.read_text()
    page.write_text(edited)
    line = next(number for number, text in enumerate(edited.splitlines(), start=1) if "+3.0 points" in text)
    expected = f"docs/results.md:{line}: edited by hand; change the result files, or run: make results UPDATE=1"
    assert make(tree)[0] == make(tree, check=True)[0] == [expected]
    assert page.read_text() == edited
    assert make(tree, update=True) == ([], ["wrote docs/results.md"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a <!-- figure: gone.cpu "gain" --><!-- /figure -->', "no result file 'gone.cpu'; there are: demo.cpu"),
        ('a <!-- figure: demo.cpu "lost" --><!-- /figure -->', "demo.cpu has no figure 'lost'"),
        ('a <!-- figure: demo.cpu "group" --><!-- /figure -->', "demo.cpu has no figure 'group'"),
        ('a <!-- figure: demo.cpu "gain" ms --><!-- /figure -->', "format 'ms' is for s; this figure is in 'points'"),
        ('a <!-- figure: demo.cpu "gain" wide --><!-- /figure -->', "unknown format word 'wide'"),
        ('a <!-- figure: demo.cpu "rates" full --><!-- /figure -->', "needs a figure with a spread"),
        ("a <!-- figure: demo.cpu gain -->2<!-- /figure -->", "a marker is <!-- figure: FILE"),
        ('a <!-- figure: demo.cpu "gain" -->2.0 points', "a marker is <!-- figure: FILE"),
        ('<!-- figure: demo.cpu "gain" -->2.0 points<!-- /figure -->', "must not begin a line"),
        ('a 1<!-- figure: demo.cpu "gain" -->2.0 points<!-- /figure -->', "touches the marker"),
        ('a -<!-- figure: demo.cpu "gain" -->2.0 points<!-- /figure -->', "touches the marker"),
        ('a <!-- figure: demo.cpu "gain" bare -->2.0<!-- /figure -->5', "touches the marker"),
        ('a ` here\n\nb <!-- figure: demo.cpu "gain" -->9 points<!-- /figure -->\n\na ` there', "found '9 points'"),
    ],
)
def test_a_marker_that_names_nothing_is_refused_with_its_place(load: Any, tree: Path, text: str, message: str) -> None:
    (tree / "docs" / "page.md").write_text(f"# Page\n\n{text}\n")
    problems, done = load("make_results").make(tree)
    line = 3 + text[: text.index("<!--")].count("\n")
    assert any(problem.startswith(f"docs/page.md:{line}: ") and message in problem for problem in problems), problems
    assert done == []


def test_markers_in_code_are_left_alone(load: Any, tree: Path) -> None:
    text = 'Write `<!-- figure: FILE "KEY" -->` or\n\n```\n<!-- figure: FILE "KEY" -->1<!-- /figure -->\n```\n'
    (tree / "docs" / "page.md").write_text(text)
    assert load("make_results").make(tree)[0] == []
    assert (tree / "docs" / "page.md").read_text() == text


def test_a_line_may_end_inside_a_marker(load: Any, tree: Path) -> None:
    text = 'gains <!-- figure:\n  demo.cpu "gain" full -->2.0 points\n(-0.5 to 4.5 points)<!-- /figure -->.\n'
    (tree / "docs" / "page.md").write_text(text)
    assert load("make_results").make(tree)[0] == []
    assert (tree / "docs" / "page.md").read_text() == text


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda c: c.pop("seeds"), "'seeds' is missing"),
        (lambda c: c.update(extra=1), "'extra' is unknown"),
        (lambda c: c.update(tier="weekly"), "tier must be one of minutes, nightly, gpu, got 'weekly'"),
        (lambda c: c.update(notes="text"), "'notes' must be a list"),
        (lambda c: c.update(name="other"), "its name and device belong to other.cpu.json"),
        (lambda c: c.update(date="yesterday"), "date must be YYYY-MM-DD"),
        (lambda c: c.update(seeds=["0"]), "seeds must be integers"),
        (lambda c: c.update(command=" "), "command is empty"),
        (lambda c: c.update(environment={}), "environment has no 'packages'"),
        (lambda c: c["figures"].update({"a/b": 1}), "figure name 'a/b'"),
        (lambda c: c["figures"].update(x=None), "figure 'x': a number, text, list or group"),
        (lambda c: c["figures"]["gain"].update(mean=2.1), "mean is 2.1, but its values give 2.0"),
        (lambda c: c["figures"]["gain"].update(low=0.5), "low is 0.5, but its values give -0.48"),
        (lambda c: c["figures"]["gain"].update(n=5), "values must be n = 5 finite numbers"),
        (
            lambda c: c["figures"]["speed-up"].update(median=3.0),
            r"median 3.0 lies outside its interval \[2.375, 2.75\]",
        ),
        (lambda c: c["figures"]["speed-up"].pop("unit"), "figure 'speed-up': needs a unit"),
        (lambda c: c["figures"]["speed-up"].pop("low"), "figure 'speed-up': needs low and high"),
        (lambda c: c["figures"]["speed-up"].update(quiet=False), "not quiet needs its reason"),
        (lambda c: c["headlines"][0].update(figure="lost"), "names figure 'lost', which is not there"),
        (lambda c: c["tables"][0]["rows"][0].append("x"), "table 'T' has a row of 3 cells"),
        (lambda c: c["tables"][0]["rows"][0][1].update(figure="group"), "names figure 'group', which is not there"),
    ],
)
def test_a_malformed_result_file_is_refused_by_name(
    load: Any, tree: Path, changed: Callable[[dict[str, Any]], object], message: str
) -> None:
    change(tree, changed)
    with pytest.raises(InputError, match=rf"demo\.cpu\.json is no result file: .*{message}"):
        load("make_results").make(tree)
    assert not (tree / "docs" / "results.md").exists()


@pytest.mark.parametrize("text", ['{"name": "demo"', '{"x": NaN}', "[]"])
def test_a_file_that_is_no_json_object_is_refused_by_name(load: Any, tree: Path, text: str) -> None:
    (tree / "benchmarks" / "results" / "demo.cpu.json").write_text(text)
    with pytest.raises(InputError, match=r"demo\.cpu\.json is no result file"):
        load("make_results").make(tree)


def test_the_page_shows_every_figure_with_its_tier_and_marks_few_seeds(load: Any, tree: Path) -> None:
    load("make_results").make(tree)
    page = (tree / "docs" / "results.md").read_text()
    assert "| it gains | +2.0 points | -0.5 to +4.5 points | 3 † | minutes | cpu | [demo (cpu)](#demo-cpu) |" in page
    assert (
        "**T** (n = 3 each)\n\n| sparsity | gain | tier |\n|---|---:|---|\n| 90 % | 2.0 ± 2.5 points † | minutes |"
        in page
    )
    assert "| speed-up | 2.50x | 2.38 to 2.75x (98.4 %) | 7 | minutes |" in page
    assert "| group/bytes | 1,234,567 bytes |  | 1 | minutes |" in page
    assert "| num_weights | 25,502,912 |  |  | minutes |" in page
    assert "| rates | 0.1, 0.01 |  |  | minutes |" in page
    assert page.count("† low-n: fewer than five seeds") == 2
    assert "a caveat" in page
    assert "`python benchmarks/demo.py`" in page


def test_a_time_of_a_busy_machine_is_marked(load: Any, tree: Path) -> None:
    change(tree, lambda content: content["figures"]["speed-up"].update(quiet=False, reason="load"))
    load("make_results").make(tree)
    assert "| speed-up | 2.50x (machine not quiet) |" in (tree / "docs" / "results.md").read_text()


@pytest.mark.parametrize(
    ("low", "high", "cell"), [(1.0, 3.0, "2.0 ± 1.0 points †"), (1.0, 7.0, "2.0 points (1.0 to 7.0 points) †")]
)
def test_a_cell_says_plus_minus_only_of_an_interval_as_wide_to_both_sides(
    load: Any, tree: Path, low: float, high: float, cell: str
) -> None:
    def skewed(content: dict[str, Any]) -> None:
        content["figures"]["gain"].update(low=low, high=high)
        del content["figures"]["gain"]["values"]

    change(tree, skewed)
    load("make_results").make(tree, check=False)
    assert f"| 90 % | {cell} |" in (tree / "docs" / "results.md").read_text()
