"""Writes exact zeros where a mask prunes: an integer product on the bit pattern.

    bits(w) := bits(w) * m,    m in {0, 1}

A float product keeps the sign (-3 * 0 = -0.0) and lets NaN and infinity through; the integer product gives +0.0 for
every pruned entry whatever stood there, and leaves every kept entry bitwise as it was, NaN payloads included. One mask
byte per weight. On the CPU torch first widens the mask to the weight's width, so the work goes in blocks that stay in
the cache: the only memory it takes beyond the tensors is one block.
"""

import torch
from torch import Tensor

from paretorch.errors import InputError

INTEGER_OF_BYTES = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
CPU_BLOCK = 1 << 16  # entries: 256 KiB of widened mask for float32, inside a core's own cache


def zero_pruned_(values: Tensor, mask: Tensor) -> None:
    """Set `values` to +0.0 where `mask` is False, in place; all other entries keep their bits.

    Args:
        values: any shape, real dtype of 1, 2, 4 or 8 bytes; strides are free.
        mask: bool, the shape and device of `values`.
    """
    bits = values.detach().view(INTEGER_OF_BYTES[values.element_size()])
    factor = mask.view(torch.int8)
    if bits.device.type != "cpu" or bits.numel() <= CPU_BLOCK:
        bits.mul_(factor)
        return
    if bits.is_contiguous() and factor.is_contiguous():
        bits, factor = bits.view(-1), factor.view(-1)
    rows = max(1, CPU_BLOCK * len(bits) // bits.numel())
    for block, block_factor in zip(torch.split(bits, rows), torch.split(factor, rows), strict=True):
        block.mul_(block_factor)


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds only its part of the tensor (a DTensor, as FSDP2's fully_shard makes them)."""
    return hasattr(tensor, "placements") and hasattr(tensor, "to_local")


def local(tensor: Tensor) -> Tensor:
    """The entries held by this process, sharing memory with `tensor`, outside autograd."""
    detached = tensor.detach()
    if is_sharded(detached):
        return detached.to_local()  # type: ignore[attr-defined]  # a DTensor
    return detached


def placed_like(mask: Tensor, tensor: Tensor) -> Tensor:
    """The part of `mask` that goes with the local entries of `tensor`: same device, strides and shard.

    Without sharding and with equal device and strides this is `mask` itself, not a copy.

    Raises:
        InputError: if the tensor is sharded in a way that is not plain `Shard` or `Replicate`.
    """
    target = local(tensor)
    moved = mask.to(target.device)
    if is_sharded(tensor):
        moved = local(sharded_like(moved, tensor))
    if moved.stride() == target.stride():
        return moved
    return torch.empty_like(target, dtype=torch.bool).copy_(moved)


def sharded_like(mask: Tensor, tensor: Tensor) -> Tensor:
    """`mask` as a DTensor on the mesh and with the placements of the DTensor `tensor`; no communication.

    Args:
        mask: bool, the full shape of `tensor`, equal on every process, on the mesh's device.

    Raises:
        InputError: if a placement is not plain `Shard` or `Replicate`.
    """
    # Imported here: torch.distributed.tensor is slow to load, and only sharded runs need it.
    from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

    assert isinstance(tensor, DTensor)
    if unknown := [placement for placement in tensor.placements if type(placement) not in (Shard, Replicate)]:
        raise InputError(
            f"the parameter is sharded with {unknown}; masks follow plain Shard(dim) and Replicate() placements only "
            "(fully_shard alone, without tensor parallelism)"
        )
    return distribute_tensor(mask, tensor.device_mesh, tensor.placements, src_data_rank=None)
