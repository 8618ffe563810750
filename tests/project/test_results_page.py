"""docs/results.md follows from the result files, and the generator sees a figure that does not."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_results", ROOT / "benchmarks" / "make_results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_results_page_is_what_the_result_files_generate(generator: ModuleType) -> None:
    assert (ROOT / "docs" / "results.md").read_text() == generator.page()


def test_every_figure_of_a_result_file_is_on_the_page(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interval = {"mean": 1.25, "low": 1.0, "high": 1.5, "n": 5, "unit": "points"}
    result = {
        "name": "some_benchmark",
        "device": "cpu",
        "command": "python benchmarks/some.py",
        "seeds": [0, 1],
        "date": "2026-01-01",
        "notes": ["a caveat"],
        "environment": {"torch": "2.13.0"},
        "figures": {"gain": interval, "group": {"first": {"median": 7, "n": 1, "unit": "s"}}, "rates": [0.1, 0.01]},
    }
    (tmp_path / "some_benchmark.cpu.json").write_text(json.dumps(result))
    monkeypatch.setattr(generator, "RESULTS", tmp_path)
    page = generator.page()
    assert "| gain | 1.25 | 1 to 1.5 | 5 | points |" in page
    assert "| group: first | 7 |  | 1 | s |" in page
    assert "| rates | 0.1, 0.01 | | | |" in page
    assert "a caveat" in page
    assert "`python benchmarks/some.py`" in page
