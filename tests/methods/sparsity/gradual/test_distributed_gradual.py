"""GSM, LC and RigL in two processes (gloo): the same weights in both, and those of one process.

What they choose, they choose by the gradients of the whole batch, averaged over processes and micro-batches.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.methods.sparsity.gradual.distributed_gradual import main
from tests.training.test_distributed import free_port

ROOT = Path(__file__).parents[4]
TIMEOUT_SECONDS = 300


@pytest.mark.slow
def test_two_processes_end_equal_to_each_other_and_with_the_zeros_and_weights_of_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    command += ["-m", "tests.methods.sparsity.gradual.distributed_gradual", str(tmp_path)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}, start_new_session=True
    )
    try:
        assert process.wait(timeout=TIMEOUT_SECONDS) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    (tmp_path / "one").mkdir()
    main(tmp_path / "one")
    alone = json.loads((tmp_path / "one" / "rank-0.json").read_text())
    assert set(first) == set(alone) == {"gsm", "lc", "rigl"}
    for name, tensors in first.items():
        for weights, expected in zip(tensors, alone[name], strict=True):
            assert [w == 0 for w in weights] == [w == 0 for w in expected], name
            assert weights == pytest.approx(expected, rel=1e-9, abs=1e-12), name
