"""Two processes (gloo) that hold parts of a model move it as one process does, at one all-reduce per step."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.methods.optim import AvaGrad
from tests.methods.optim.sharded_steps import STEPS, gradient, optimizer_of, whole
from tests.training.test_distributed import ROOT, TIMEOUT_SECONDS, free_port


def alone(norm_over: str) -> list[list[float]]:
    params = [nn.Parameter(tensor) for tensor in whole()]
    optimizer = optimizer_of(params, norm_over)
    for step in range(STEPS):
        for param, grad in zip(params, gradient(step), strict=True):
            param.grad = grad
        optimizer.step()
    return [param.detach().flatten().tolist() for param in params]


@pytest.mark.slow
def test_a_model_that_is_spread_over_two_processes_moves_as_a_whole_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    command += ["-m", "tests.methods.optim.sharded_steps", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=TIMEOUT_SECONDS, check=True)
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1))
    for norm_over in ("all", "active"):
        expected = alone(norm_over)
        for found in (first[norm_over]["fsdp"], second[norm_over]["fsdp"]):
            for weights, wanted in zip(found, expected, strict=True):
                assert weights == pytest.approx(wanted, rel=1e-9, abs=1e-12)
        assert first[norm_over]["all-reduces"] == second[norm_over]["all-reduces"] == 1.0
        together = [*first[norm_over]["by hand"], *second[norm_over]["by hand"]]
        for weights, wanted in zip(together, expected, strict=True):
            assert weights == pytest.approx(wanted, rel=1e-9, abs=1e-12)


@pytest.mark.slow
def test_meshes_from_which_no_single_group_follows_and_partial_sums_are_refused(tmp_path: Path) -> None:
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard

    dist.init_process_group("gloo", init_method=(tmp_path / "one").as_uri(), rank=0, world_size=1)
    try:
        flat, square = init_device_mesh("cpu", (1,)), init_device_mesh("cpu", (1, 1))
        cases = (
            (flat, [Partial()], "expected shards and replicas", {}),
            (square, [Shard(0), Replicate()], "1 meshes of 2 dimensions", {}),
            (square, [Shard(0), Replicate()], None, {"process_group": dist.group.WORLD}),
        )
        for mesh, places, message, settings in cases:
            param = nn.Parameter(DTensor.from_local(torch.ones(4), mesh, places))
            param.grad = DTensor.from_local(torch.ones(4), mesh, places)
            optimizer = AvaGrad([param], 0.1, **settings)
            if message is None:
                optimizer.step()
                assert torch.equal(param.detach().to_local(), torch.full((4,), 0.9))
            else:
                with pytest.raises(InputError, match=message):
                    optimizer.step()
    finally:
        dist.destroy_process_group()
