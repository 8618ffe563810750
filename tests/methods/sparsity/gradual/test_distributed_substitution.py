"""Two processes (gloo): the same weights and thresholds in both, and those of one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.methods.sparsity.gradual.distributed_substitution import trained
from tests.methods.sparsity.gradual.reparametrised import METHODS
from tests.training.test_distributed import ROOT, free_port

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes wrote for all methods."""
    written = tmp_path_factory.mktemp("distributed")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    command += ["-m", "tests.methods.sparsity.gradual.distributed_substitution", str(written)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=300)
    return written


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_end_equal_to_each_other_and_near_to_one_process(name: str, folder: Path):
    first, second = (load_file(folder / f"{name}-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert len(first) == len(second)
    alone = trained(name)
    assert first.keys() == alone.keys()
    for key, value in alone.items():
        torch.testing.assert_close(first[key], value, rtol=1e-9, atol=1e-12)
