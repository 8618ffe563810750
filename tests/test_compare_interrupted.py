"""`paretorch compare` in real processes: stopped, killed and resumed, it ends with the same weights and qualities."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.test_compare import RUNS, written

pytestmark = pytest.mark.slow


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Run the command in a process that can be killed."""
    return subprocess.Popen(
        [sys.executable, "-c", "from paretorch.cli import main; main()", "compare", "small.toml", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PARETORCH_DATA"},
    )


def to_the_end(process: subprocess.Popen[str]) -> tuple[str, str]:
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "Report: out/report.html" in output
    return output, errors


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300  # a machine that is busy with other things takes its time
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        assert process.poll() is None, "it was over too soon"
        time.sleep(0.01)


def in_the_middle(folder: Path) -> Callable[[], bool]:
    """A run has finished, and another one has a checkpoint."""

    def found() -> bool:
        runs = folder / "out" / "runs"
        return bool(list(runs.glob("*/record.json"))) and bool(list(runs.rglob("current.safetensors")))

    return found


def children(process: subprocess.Popen[str]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def outcome(folder: Path) -> dict[str, Any]:
    """What must not depend on interruptions: weights, qualities and losses of every run."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "out" / "runs").glob("*/record.json")):
        record = json.loads(path.read_text())
        weights = (path.parent / "model" / "model.safetensors").read_bytes()
        losses = [(point["step"], point["lr"], point["train_loss"]) for point in record["curves"]]
        found[path.parent.name] = (weights, record["quality"], record["validation"], losses)
    return found


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two workers, which read the one dense model at the same time."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    written(folder)
    to_the_end(start("--out", "out", "--workers", "2", cwd=folder))
    found = outcome(folder)
    assert sorted(found) == sorted(RUNS)
    return found


def test_ctrl_c_and_resume_lose_nothing(uninterrupted: dict[str, Any], tmp_path: Path) -> None:
    written(tmp_path)
    process = start("--out", "out", "--workers", "2", cwd=tmp_path)
    wait_for(in_the_middle(tmp_path), process)
    workers = children(process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Interrupted; the state is saved. Go on with --resume" in errors
    assert "Traceback" not in errors
    assert workers
    assert not any(alive(pid) for pid in workers)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("record.json")}
    assert 0 < len(before) < len(RUNS)
    timing = (tmp_path / "out" / "timing.json").read_bytes()
    to_the_end(start("--out", "out", "--workers", "2", "--resume", cwd=tmp_path))
    assert outcome(tmp_path) == uninterrupted
    assert {path: path.read_bytes() for path in before} == before
    assert (tmp_path / "out" / "timing.json").read_bytes() == timing


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(uninterrupted: dict[str, Any], tmp_path: Path) -> None:
    written(tmp_path)
    process = start("--out", "out", "--workers", "2", cwd=tmp_path)
    wait_for(in_the_middle(tmp_path), process)
    os.kill(children(process)[0], signal.SIGKILL)
    _, errors = to_the_end(process)
    assert "died of SIGKILL" in errors
    assert "submitted again (attempt 2 of 3)" in errors
    assert outcome(tmp_path) == uninterrupted


def test_a_comparison_that_is_killed_can_go_on_at_once(uninterrupted: dict[str, Any], tmp_path: Path) -> None:
    """Its workers may still be saving their runs when the next process wants to go on with them."""
    written(tmp_path)
    process = start("--out", "out", "--workers", "2", cwd=tmp_path)
    wait_for(in_the_middle(tmp_path), process)
    workers = children(process)
    process.kill()
    process.communicate()
    to_the_end(start("--out", "out", "--workers", "2", "--resume", cwd=tmp_path))
    assert outcome(tmp_path) == uninterrupted
    assert not any(alive(pid) for pid in workers)
