"""What all tests share: seeds, one thread, the data folder, and a list of the skips that are allowed.

With PARETORCH_STRICT_SKIPS=1 the session fails when a test is skipped and no line of `tests/allowed_skips.txt` matches
"node id: reason".
"""

import os
import random
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; processes that a test starts inherit it

import hypothesis
import numpy as np
import pytest
import torch

ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")

# No deadline, because no test may depend on the speed of the machine; derandomized, so that a red test stays red.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same random numbers for every test, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # libraries under test draw from the global generator
    torch.manual_seed(0)


@pytest.fixture
def data_root() -> Path:
    """The folder with the data sets, from PARETORCH_DATA; the test is skipped where there is none."""
    value = os.environ.get("PARETORCH_DATA")
    if not value:
        pytest.skip("needs data: PARETORCH_DATA is not set")
    root = Path(value)
    if not root.is_dir():
        pytest.skip("needs data: PARETORCH_DATA does not name a folder")
    return root


@pytest.fixture
def data_folder(data_root: Path) -> Callable[[str], Path]:
    """`data_folder("cifar10")` is the folder of one data set; the test is skipped where it is missing."""

    def find(name: str) -> Path:
        if not (data_root / name).is_dir():
            pytest.skip(f"needs data: PARETORCH_DATA has no folder {name}")
        return data_root / name

    return find


def unlisted_skips(config: pytest.Config) -> list[str]:
    """The skips of this session, as "node id: reason", that no line of the list matches."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    lines = ALLOWED_SKIPS.read_text(encoding="utf-8").splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    skips = {f"{report.nodeid}: {skip_reason(report)}" for report in reporter.stats.get("skipped", [])}
    return sorted(skip for skip in skips if not any(fnmatchcase(skip, pattern) for pattern in patterns))


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """What the test or the module gave as the reason, on one line."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return " ".join(text.removeprefix("Skipped: ").split())


def checks_skips(config: pytest.Config) -> bool:
    """Whether this process judges the session: the only one, or the one that xdist's workers report to."""
    return os.environ.get("PARETORCH_STRICT_SKIPS") == "1" and not hasattr(config, "workerinput")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if checks_skips(session.config) and exitstatus == pytest.ExitCode.OK and unlisted_skips(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if checks_skips(config) and (skips := unlisted_skips(config)):
        terminalreporter.section("skips that tests/allowed_skips.txt does not list", red=True)
        for skip in skips:
            terminalreporter.line(skip)
