"""Continuous sparsification in two processes (gloo): the same weights, logits and masks in both, and those of one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.methods.sparsity.continuous.distributed_continuous import TASKS, pruned, searched
from tests.training.test_distributed import ROOT, TIMEOUT_SECONDS, free_port

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes wrote."""
    written = tmp_path_factory.mktemp("distributed")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    command += ["-m", "tests.methods.sparsity.continuous.distributed_continuous", str(written)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=TIMEOUT_SECONDS)
    return written


def reports(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"searched-{rank}.json").read_text()) for rank in (0, 1)]


def test_weights_and_logits_of_both_processes_are_equal_and_near_those_of_one_that_sees_the_whole_batch(
    folder: Path,
) -> None:
    first, second = (load_file(folder / f"pruned-{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    alone = pruned()
    assert first.keys() == alone.keys()
    for key, value in alone.items():
        torch.testing.assert_close(first[key], value, rtol=1e-9, atol=1e-12)
        if key.startswith("end"):
            assert torch.equal(first[key] == 0, value == 0), "the hard masks"


def test_a_search_in_two_processes_finds_and_trains_the_ticket_of_one(folder: Path) -> None:
    first, second = (report["plain"]["whole"] for report in reports(folder))
    assert first == second
    alone = searched("plain")
    assert first["masks"] == alone["masks"]
    for name, weights in alone["weights"].items():
        assert first["weights"][name] == pytest.approx(weights, rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize("task", TASKS)
def test_both_processes_end_equal_with_batch_norm_too_and_a_search_that_died_goes_on_to_the_same_end(
    folder: Path, task: str
) -> None:
    first, second = (report[task] for report in reports(folder))
    assert first == second
    assert first["resumed"] == first["whole"]
