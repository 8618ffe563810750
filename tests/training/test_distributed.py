"""Two processes on the CPU (gloo): bit-identical replicas, the result of one process, and resuming after a kill."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.distributed_run import main

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 300

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def launch(folder: Path, what: str, *, kill_at: int | None = None) -> int:
    """Exit code of a run in two processes; the whole group is killed when it takes too long."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    command += ["-m", "tests.training.distributed_run", str(folder), what]
    command += [str(kill_at)] if kill_at is not None else []
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}, start_new_session=True
    )
    try:
        return process.wait(timeout=TIMEOUT_SECONDS)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def reports(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_end_equal_to_each_other_and_near_to_one_process(tmp_path: Path) -> None:
    assert launch(tmp_path / "two", "linear") == 0
    first, second = reports(tmp_path / "two")
    assert first == second
    (tmp_path / "one").mkdir()
    main(tmp_path / "one", "linear", None)
    alone = json.loads((tmp_path / "one" / "rank-0.json").read_text())
    for weights, expected in zip(first["weights"], alone["weights"], strict=True):
        assert weights == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-9), "the loss of all processes, not of one"
    assert first["validation"] == pytest.approx(alone["validation"], rel=1e-9)


def test_layer_cut_in_mid_phase_and_a_killed_process_leave_the_replicas_equal(tmp_path: Path) -> None:
    """Batch normalisation and dropout included: the buffers of the first process count, as in every forward pass."""
    assert launch(tmp_path / "whole", "half-cut") == 0
    whole = reports(tmp_path / "whole")
    assert whole[0] == whole[1]
    assert launch(tmp_path / "killed", "half-cut", kill_at=8) != 0
    assert not (tmp_path / "killed" / "rank-0.json").exists()
    assert launch(tmp_path / "killed", "half-cut") == 0
    assert reports(tmp_path / "killed") == whole
