"""Layers that share templates, and are folded, in two processes (gloo): the same in both, and as in one process."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.methods.sharing.distributed_sharing import CASES, trained
from tests.training.test_distributed import ROOT, TIMEOUT_SECONDS, free_port

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes wrote."""
    written = tmp_path_factory.mktemp("distributed")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    command += ["-m", "tests.methods.sharing.distributed_sharing", str(written)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=TIMEOUT_SECONDS)
    return [json.loads((written / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("case", CASES)
def test_both_processes_end_equal_and_a_run_that_died_goes_on_to_the_same_end(
    case: str, reports: list[dict[str, Any]]
) -> None:
    first, second = (report[case] for report in reports)
    assert first == second
    assert first["resumed"] == first["whole"]


@pytest.mark.parametrize("case", ["kept", "folded"])
def test_templates_coefficients_and_tied_weights_are_those_of_one_process_that_sees_the_whole_batch(
    case: str, reports: list[dict[str, Any]]
) -> None:
    found, alone = reports[0][case]["whole"], trained(case)
    assert found["weights"].keys() == alone["weights"].keys()
    for name, weights in alone["weights"].items():
        assert found["weights"][name] == pytest.approx(weights, rel=1e-9, abs=1e-12), name
    if case == "folded":
        folded = alone["details"]["folding"]
        assert found["details"]["folding"]["clusters"] == folded["clusters"]
        assert found["details"]["folding"]["factors"] == pytest.approx(folded["factors"], rel=1e-9)
        assert len(folded["clusters"]) < 3, "something was folded"
