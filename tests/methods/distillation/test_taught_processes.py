"""Two processes with a teacher each end with the weights of one process with the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.methods.distillation.taught_processes import main
from tests.training.test_distributed import ROOT, TIMEOUT_SECONDS, free_port


@pytest.mark.slow
def test_two_processes_learn_from_their_teachers_as_one_does(tmp_path: Path) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    two.mkdir()
    one.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    command += ["-m", "tests.methods.distillation.taught_processes", str(two)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, timeout=TIMEOUT_SECONDS, check=True)
    main(one)
    first, second, alone = (json.loads(path.read_text()) for path in (*sorted(two.iterdir()), one / "rank-0.json"))
    assert first == second
    assert first["teacher"] == alone["teacher"]
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-9)
    for weights, expected in zip(first["weights"], alone["weights"], strict=True):
        assert weights == pytest.approx(expected, rel=1e-9, abs=1e-12)
