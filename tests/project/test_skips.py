"""A skip that nobody listed fails a session run with PARETORCH_STRICT_SKIPS=1, alone and with several workers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

TEST_FILE = """
import pytest

def test_that_runs():
    pass

@pytest.mark.skip(reason="REASON")
def test_that_is_skipped():
    pass
"""


def session(folder: Path, reason: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A session in a folder of its own, with our conftest and our list of allowed skips."""
    for name in ("conftest.py", "allowed_skips.txt"):
        shutil.copy(TESTS / name, folder / name)
    (folder / "test_one.py").write_text(TEST_FILE.replace("REASON", reason), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", folder, *options, folder],
        cwd=folder,
        env=dict(os.environ, PARETORCH_STRICT_SKIPS="1"),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=pytest.mark.slow)])
def test_an_unlisted_skip_fails_the_session_and_is_named(tmp_path, workers):
    done = session(tmp_path, "I did not feel like it", "-n", workers)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "test_one.py::test_that_is_skipped: I did not feel like it" in done.stdout
    assert "1 passed, 1 skipped" in done.stdout.splitlines()[-1]


def test_a_listed_skip_passes(tmp_path):
    done = session(tmp_path, "needs data: PARETORCH_DATA is not set")
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
