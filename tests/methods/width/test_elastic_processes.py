"""Two processes draw the same profiles, and end with the weights that one process with the whole batch ends with."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.methods.width.elastic_processes import main
from tests.training.test_distributed import ROOT, TIMEOUT_SECONDS, free_port


@pytest.mark.slow
def test_two_processes_train_the_same_profiles_as_one(tmp_path: Path) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    two.mkdir()
    one.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    command += ["-m", "tests.methods.width.elastic_processes", str(two)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, timeout=TIMEOUT_SECONDS, check=True)
    main(one)
    first, second, alone = (json.loads(path.read_text()) for path in (*sorted(two.iterdir()), one / "rank-0.json"))
    assert first == second
    assert first["drawn"] == alone["drawn"]
    assert close(first["weights"], alone["weights"])


def close(found: list[Any], expected: list[Any]) -> bool:
    return all(a == pytest.approx(b, rel=1e-4, abs=1e-5) for a, b in zip(found, expected, strict=True))
