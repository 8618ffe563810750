"""Sums over a model that is spread over processes: every entry counts once, in one all-reduce.

A DTensor (FSDP2, tensor parallelism) says itself how it is spread. Any other tensor is this process's own part where a
process group is given (ZeRO, a pipeline), and a replica beside DTensors.
"""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.sparsity.zeroing import is_sharded

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def spread(params: Sequence[Any], group: "ProcessGroup | None") -> "tuple[ProcessGroup | None, float]":
    """Over which processes sums must go, and what part of a tensor that is no DTensor this process counts.

    Args:
        params: tensors and DTensors, of all groups.
        group: the processes, if the caller knows them; else those of the DTensors' mesh.

    Returns:
        The group, None for a model that is not spread; the second argument of `share`.

    Raises:
        InputError: for a placement other than shards and replicas, or meshes from which no single group follows.
    """
    sharded = [param for param in params if is_sharded(param)]
    if partial := [param.placements for param in sharded if any(p.is_partial() for p in param.placements)]:
        raise InputError(f"a parameter has the placements {partial[0]}; expected shards and replicas")
    if group is not None or not sharded:
        return group, 1.0
    meshes = {param.device_mesh for param in sharded}
    if len(meshes) > 1 or sharded[0].device_mesh.ndim > 1:
        raise InputError(
            f"the parameters lie on {len(meshes)} meshes of {sharded[0].device_mesh.ndim} dimensions, so it is not "
            "known over which processes to sum; give process_group"
        )
    return sharded[0].device_mesh.get_group(), 1 / sharded[0].device_mesh.size()


def share(param: Any, outside: float) -> float:
    """1 over the number of processes that hold the same entries of a DTensor; `outside` of any other tensor."""
    if not is_sharded(param):
        return outside
    sizes = param.device_mesh.shape
    return 1 / prod(size for size, place in zip(sizes, param.placements, strict=True) if place.is_replicate())


def all_reduce_(values: Tensor, group: "ProcessGroup | None") -> None:
    """Sum `values` over the processes of the group, in place; without a group nothing happens."""
    if group is not None:
        import torch.distributed  # here: only sharded runs need it

        torch.distributed.all_reduce(values, group=group)
