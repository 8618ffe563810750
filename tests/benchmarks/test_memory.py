"""A call's peak memory is measured in a process of its own."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from paretorch.errors import InputError, RunError

SCRIPT = """
import numpy as np

def prepare(megabytes, before):
    kept = np.ones(before << 20, dtype=np.uint8)
    del kept  # an older peak, which must not hide the call's
    def call():
        return np.ones(megabytes << 20, dtype=np.uint8)
    return call

def broken():
    raise ValueError("no such luck")
"""


@pytest.fixture
def script(load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "memory_script.py").write_text(SCRIPT)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = load("memory_script")
    yield module
    del sys.modules["memory_script"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: reads /proc")
@pytest.mark.parametrize("before", [1, 200])
def test_the_peak_is_what_the_call_allocates_whatever_was_there_before(load: Any, script: Any, before: int) -> None:
    measured = load("_memory").memory_in_subprocess(script.prepare, megabytes=64, before=before)
    assert measured == pytest.approx(64 << 20, abs=1 << 20)  # the kernel counts pages in batches


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: reads /proc")
def test_the_last_words_of_a_process_that_failed_are_told(load: Any, script: Any) -> None:
    with pytest.raises(RunError, match="measured broken ended with 1: ValueError: no such luck"):
        load("_memory").memory_in_subprocess(script.broken)


def test_what_another_process_cannot_run_is_refused(load: Any, script: Any) -> None:
    memory_in_subprocess = load("_memory").memory_in_subprocess
    with pytest.raises(InputError, match="must be a function at the top of a file"):
        memory_in_subprocess(lambda: json.dumps)
    with pytest.raises(InputError, match="parameters of prepare have no JSON form"):
        memory_in_subprocess(script.prepare, megabytes={1})
