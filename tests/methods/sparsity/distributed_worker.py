"""One of two processes that train a masked model on gloo; started by test_mask_traps.py, writes what it saw.

python distributed_worker.py ddp|fsdp RANK RENDEZVOUS_FILE OUTPUT_FILE
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor, nn

from paretorch.methods.sparsity.masks import Masks
from paretorch.methods.sparsity.zeroing import local, placed_like

WORLD_SIZE = 2
STEPS = 6
CLIP = 0.2


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 3))  # 9 and 3 rows do not split evenly over 2


def masks_of(net: nn.Module) -> Masks:
    """Random masks that keep each first row whole, so that every hidden unit reaches an output and gets a gradient."""
    generator = torch.Generator().manual_seed(5)
    masks = {n: torch.rand(p.shape, generator=generator) < 0.3 for n, p in net.named_parameters() if p.dim() > 1}
    for mask in masks.values():
        mask[0] = True
    return Masks(masks)


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(16, 6, generator=generator), torch.randint(0, 3, (16,), generator=generator)


def optimizer_of(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), lr=0.3, momentum=0.9, weight_decay=1e-2)


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range, part: slice) -> list[Tensor]:
    """Plain steps with clipping on this process's part of each batch; returns the gradient norms."""
    norms = []
    for step in steps:
        x, y = batch(step)
        nn.functional.cross_entropy(net(x[part]), y[part]).backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        norms.append(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
        optimizer.step()
        optimizer.zero_grad()
    return norms


def main(kind: str, rank: int, rendezvous: Path, output: Path) -> None:
    dist.init_process_group("gloo", init_method=rendezvous.as_uri(), rank=rank, world_size=WORLD_SIZE)
    net = model()
    masks = masks_of(net)
    if kind == "ddp":
        wrapped: nn.Module = nn.parallel.DistributedDataParallel(net)
    else:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (WORLD_SIZE,))
        for layer in (net[0], net[2]):
            fully_shard(layer, mesh=mesh)
        wrapped = fully_shard(net, mesh=mesh)
    optimizer = optimizer_of(wrapped)
    part = slice(rank * 8, rank * 8 + 8)
    norms = train(wrapped, optimizer, range(STEPS), part)  # dense first: old momentum is there to revive weights
    masks.attach(wrapped, optimizer)
    norms += train(wrapped, optimizer, range(STEPS, 2 * STEPS), part)
    result = {"norms": torch.stack([norm.detach() for norm in norms])}
    for name, parameter in net.named_parameters():
        value = parameter.detach()
        result[name] = (value.full_tensor() if hasattr(value, "full_tensor") else value).clone()
    found = [sum(masks.violations(wrapped).values())]
    if rank == 1 or kind == "ddp":  # revive all pruned entries that process 1 holds; sharded, process 0 must hear of it
        with torch.no_grad():
            local(net[2].weight)[~placed_like(masks["2.weight"], net[2].weight)] = 1.0
    found.append(sum(masks.violations(wrapped).values()))
    result["violations"] = torch.tensor(found)
    save_file(result, output)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
