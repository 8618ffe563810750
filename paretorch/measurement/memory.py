"""Memory, three ways: a model's own bytes, the tensors alive during a computation, and a process's peak.

`model_size` and `AllocationTracker` are exact and the same on every device; `peak_rss_bytes` is what the operating
system saw. The tracker sees the storage of every tensor that an operator returns; scratch memory inside a kernel and
the caching allocator's rounding are not in it.
"""

import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """What a model holds; tied tensors count once.

    params, nonzeros: entries of all parameters, and those that are not zero (None when a quantised format hides them).
    payload_bytes: values of parameters and persistent buffers as they are stored. metadata_bytes: indices of sparse
    tensors.
    """

    params: int
    nonzeros: int | None
    payload_bytes: int
    metadata_bytes: int


def model_size(model: nn.Module) -> ModelSize:
    """Count a model's entries and bytes; zeros left in a dense tensor still take their bytes.

    Raises:
        TypeError: not a module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got {type(model).__name__}.")
    parameters = _distinct(list(model.parameters()))
    stored = [tensor for tensor in model.state_dict(keep_vars=True).values() if isinstance(tensor, Tensor)]
    parts = [stored_parts(tensor) for tensor in _distinct([*parameters, *stored])]
    hidden = any(is_traceable_wrapper_subclass(p) for p in parameters)
    return ModelSize(
        params=sum(p.numel() for p in parameters),
        nonzeros=None if hidden else sum(int(torch.count_nonzero(v)) for p in parameters for v in stored_parts(p)[0]),
        payload_bytes=sum(value.numel() * value.element_size() for values, _ in parts for value in values),
        metadata_bytes=sum(index.numel() * index.element_size() for _, indices in parts for index in indices),
    )


def stored_parts(tensor: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The dense tensors that a tensor is stored as: values, and indices (empty for a dense tensor)."""
    tensor = tensor.detach()
    if is_traceable_wrapper_subclass(tensor):
        inner = [stored_parts(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0]]
        return [v for values, _ in inner for v in values], [i for _, indices in inner for i in indices]
    if tensor.layout == torch.strided:
        return [tensor], []
    if tensor.layout == torch.sparse_coo:
        return [tensor._values()], [tensor._indices()]
    by_rows = tensor.layout in (torch.sparse_csr, torch.sparse_bsr)
    indices = (tensor.crow_indices, tensor.col_indices) if by_rows else (tensor.ccol_indices, tensor.row_indices)
    return [tensor.values()], [index() for index in indices]


def _distinct(tensors: list[Any]) -> list[Tensor]:
    """Tensors without repetitions: the same object, or the same view of the same memory, counts once."""
    kept: dict[object, Tensor] = {}
    for tensor in tensors:
        address = tensor.data_ptr() if tensor.layout == torch.strided else 0
        key = (address, tensor.shape, tensor.stride(), tensor.dtype) if address else id(tensor)
        kept.setdefault(key, tensor)
    return list(kept.values())


class AllocationTracker(TorchDispatchMode):
    """Context manager that counts the bytes of tensor storages created inside it and still alive.

    peak_bytes: largest sum alive at one moment. largest_bytes: largest single storage. current_bytes: alive now.
    Storages that existed before are not counted. Works on any device; autograd's saved tensors are included.

        with AllocationTracker() as tracker:
            loss(model(x)).backward()
        assert tracker.peak_bytes < promised
    """

    def __init__(self) -> None:
        super().__init__()
        self.current_bytes = 0
        self.peak_bytes = 0
        self.largest_bytes = 0
        self._alive: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # lift_fresh hands over what torch.tensor([...]) has just made: its argument is new although it comes in
        came_in = (
            set()
            if func is torch.ops.aten.lift_fresh.default
            else {storage._cdata for storage in _storages((args, kwargs))}
        )
        output = func(*args, **kwargs)
        for storage in _storages(output):
            key = storage._cdata
            if key in self._alive:
                self._resize(key, storage.nbytes())
            elif key not in came_in:
                self._alive[key] = 0
                weakref.finalize(storage, self._free, key).atexit = False
                self._resize(key, storage.nbytes())
        return output

    def _resize(self, key: int, nbytes: int) -> None:
        self.current_bytes += nbytes - self._alive[key]
        self._alive[key] = nbytes
        self.largest_bytes = max(self.largest_bytes, nbytes)
        self.peak_bytes = max(self.peak_bytes, self.current_bytes)

    def _free(self, key: int) -> None:
        self.current_bytes -= self._alive.pop(key)


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    """Storages of all plain tensors in nested arguments (sparse and wrapper tensors arrive as their parts)."""
    return [
        leaf.untyped_storage()
        for leaf in tree_leaves(tree)
        if isinstance(leaf, Tensor) and leaf.layout == torch.strided
    ]


# A child starts with the peak of the process it was forked from, so a large parent would report its own memory. This
# small process stands between.
_LAUNCHER = """
import os, resource, subprocess, sys
report = int(sys.argv[1])
child = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(child.pid, 0)
os.write(report, str(usage.ru_maxrss).encode())
sys.exit(os.waitstatus_to_exitcode(status) & 255)
"""


def peak_rss_bytes(argv: Sequence[str], *, timeout_s: float | None = None) -> int:
    """Run a command and return the peak resident memory of its process, in bytes.

    Args:
        argv: program and arguments; its output goes to ours.
        timeout_s: seconds after which it is given up.

    Raises:
        ValueError: an empty command. NotImplementedError: not a POSIX system.
        subprocess.CalledProcessError: the command failed. subprocess.TimeoutExpired: it took too long.
    """
    if not argv:
        raise ValueError("argv is empty; give the program and its arguments.")
    if os.name != "posix":
        raise NotImplementedError("peak resident memory is read with wait4, which only POSIX systems have.")
    read_end, write_end = os.pipe()
    command = [sys.executable, "-S", "-c", _LAUNCHER, str(write_end), *argv]
    try:
        process = subprocess.Popen(command, pass_fds=(write_end,), start_new_session=True)
        try:
            status = process.wait(timeout_s)
        except BaseException:  # also an interrupt: neither the launcher nor the command may stay behind
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if status:
            raise subprocess.CalledProcessError(status, list(argv))
        reported = int(os.read(read_end, 64))
    finally:
        os.close(read_end)
        os.close(write_end)
    return reported if sys.platform == "darwin" else reported * 1024  # Linux counts in KiB
