"""Steps in each of two processes: `python -m torch.distributed.run ... sharded_steps FOLDER`.

Each writes `rank-N.json`: the weights it ends with and the number of all-reduces per step, for a model that is spread
by hand, with a process group, and for one of DTensors, as FSDP2 makes them.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import nn

from paretorch.artefacts.files import write_json
from paretorch.methods.optim import AvaGrad

STEPS = 5
SHAPES = ((9, 6), (9,), (3, 9), (3,))


def whole() -> list[torch.Tensor]:
    stream = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=stream, dtype=torch.float64) for shape in SHAPES]


def gradient(step: int) -> list[torch.Tensor | None]:
    """In one step the last tensor, a replica, has a gradient alone."""
    stream = torch.Generator().manual_seed(100 + step)
    grads = [torch.randn(shape, generator=stream, dtype=torch.float64) * 10.0**i for i, shape in enumerate(SHAPES)]
    return [None, None, None, grads[3]] if step == 2 else grads


def optimizer_of(params: list[nn.Parameter], norm_over: Literal["all", "active"], **more: Any) -> AvaGrad:
    first = {"params": params[:1], "norm_scope": "group"}
    return AvaGrad([first, {"params": params[1:3]}, {"params": params[3:]}], 0.05, norm_over=norm_over, **more)


def by_hand(rank: int, norm_over: Literal["all", "active"]) -> list[list[float]]:
    """Process 0 holds the first two tensors and process 1 the others; one group of process 1 is empty."""
    mine = slice(0, 2) if rank == 0 else slice(2, 4)
    params = [nn.Parameter(tensor.clone()) for tensor in whole()[mine]]
    groups = [params[:1], params[1:]] if rank == 0 else [[], params]
    settings = [{"params": groups[0], "norm_scope": "group"}, {"params": groups[1]}]
    optimizer = AvaGrad(settings, 0.05, norm_over=norm_over, process_group=dist.group.WORLD)
    for step in range(STEPS):
        for param, grad in zip(params, gradient(step)[mine], strict=True):
            param.grad = grad
        optimizer.step()
    return [param.detach().flatten().tolist() for param in params]


def by_fsdp(norm_over: Literal["all", "active"]) -> tuple[list[list[float]], float]:
    """Rows over both processes, unevenly, beside a plain replica in a group of its own; and all-reduces per step."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (2,))
    places = ([Shard(0)], [Replicate()], [Shard(1)], None)

    def placed(tensors: Sequence[torch.Tensor | None]) -> list[Any]:
        pairs = zip(tensors, places, strict=True)
        return [t if place is None or t is None else distribute_tensor(t, mesh, place) for t, place in pairs]

    params = [nn.Parameter(tensor) for tensor in placed(whole())]
    optimizer = optimizer_of(params, norm_over)
    calls = 0
    reduce = dist.all_reduce

    def counted(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        return reduce(*given, **named)

    dist.all_reduce = counted
    for step in range(STEPS):
        for param, grad in zip(params, placed(gradient(step)), strict=True):
            param.grad = grad
        optimizer.step()
    dist.all_reduce = reduce
    full = [param.detach().full_tensor() if hasattr(param, "full_tensor") else param.detach() for param in params]
    return [tensor.flatten().tolist() for tensor in full], calls / STEPS


def main(folder: Path) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    report: dict[str, Any] = {}
    kinds: tuple[Literal["all", "active"], ...] = ("all", "active")
    for norm_over in kinds:
        weights, reduces = by_fsdp(norm_over)
        report[norm_over] = {"by hand": by_hand(rank, norm_over), "fsdp": weights, "all-reduces": reduces}
    write_json(folder / f"rank-{os.environ['RANK']}.json", report)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
