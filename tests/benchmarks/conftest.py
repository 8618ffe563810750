"""What the tests of benchmarks/ share: its files are imported by their plain names, as its scripts do."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """`load("_grid")` is the module benchmarks/_grid.py."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module
