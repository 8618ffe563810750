"""One model's latency at one batch size, with what it takes to trust it: spread, CPU share, kernel path, precision.

The precision is the one that arithmetic really has: a float32 model under autocast, or with reduced-precision matrix
products allowed, is not float32, and its time must not be compared as if it were.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from paretorch.measurement.timing import SYSTEM_CLOCK, Clock, time_calls


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Wall seconds of one forward pass on one batch.

    cpu_per_wall: CPU seconds of this process per wall second. quiet: False when the machine was busy; `reason` says
    how, and the figures then stand but are not certified. kernel_path: "eager", "compiled", "scripted" or a name of
    another runtime. precision: see `precision_of`. device: "cpu" or the name of the accelerator.
    """

    batch: int
    p10_s: float
    p50_s: float
    p90_s: float
    mean_s: float
    n: int
    threads: int
    cpu_per_wall: float
    quiet: bool
    reason: str | None
    kernel_path: str
    precision: str
    device: str = "cpu"


def latency_of(
    call: Callable[[], object],
    *,
    batch: int,
    kernel_path: str,
    precision: str,
    seconds: float = 0.5,
    threads: int = 1,
    device: torch.device | str = "cpu",
    clock: Clock = SYSTEM_CLOCK,
) -> Latency:
    """Time one callable that processes one batch.

    Args:
        call: runs one batch. batch: its number of examples. kernel_path, precision: recorded as they are.
        seconds: wall seconds of timed calls. threads: intra-operator threads.
        device: where the work runs; an accelerator is waited for after each call. clock: where time is read.

    Raises:
        ValueError: batch or threads below 1.
    """
    if batch < 1:
        raise ValueError(f"a batch size is 1 or more; got {batch}.")
    device = torch.device(device)
    timing = time_calls(call, seconds=seconds, threads=threads, synchronize=synchronizer(device), clock=clock)
    return Latency(
        batch=batch,
        p10_s=timing.p10_s,
        p50_s=timing.p50_s,
        p90_s=timing.p90_s,
        mean_s=timing.mean_s,
        n=timing.n,
        threads=threads,
        cpu_per_wall=timing.cpu_per_wall,
        quiet=timing.quiet,
        reason=timing.reason,
        kernel_path=kernel_path,
        precision=precision,
        device=device_name(device),
    )


def synchronizer(device: torch.device) -> Callable[[], None] | None:
    """What waits for the device's queued work; None on the CPU, which has no queue."""
    if device.type == "cpu":
        return None
    return lambda: torch.accelerator.synchronize(device)


def device_name(device: torch.device) -> str:
    """ "cpu", or the name of the accelerator."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def kernel_path_of(model: nn.Module) -> str:
    """ "scripted", "compiled" (by `torch.compile` or `model.compile()`, whole or in part) or "eager"."""
    if isinstance(model, torch.jit.ScriptModule):
        return "scripted"
    if any("_orig_mod" in module._modules or module._compiled_call_impl is not None for module in model.modules()):
        return "compiled"
    return "eager"


def precision_of(model: nn.Module, device: torch.device | None = None) -> str:
    """The precision arithmetic really has: parameter dtypes, active autocast, reduced-precision matrix products.

    Returns:
        For example "float32", "bfloat16+float32", "float32, autocast bfloat16" or "float32, matmul precision medium".
    """
    tensors = [*model.parameters(), *model.buffers()]
    device = device or (tensors[0].device if tensors else torch.device("cpu"))
    dtypes = {str(t.dtype).removeprefix("torch.") for t in model.parameters()}
    notes = ["+".join(sorted(dtypes)) or "no parameters"]
    if torch.is_autocast_enabled(device.type):
        notes.append(f"autocast {str(torch.get_autocast_dtype(device.type)).removeprefix('torch.')}")
    if "float32" in dtypes:
        if (setting := torch.get_float32_matmul_precision()) != "highest":
            notes.append(f"matmul precision {setting}")
        backend: Any = torch.backends.cudnn if device.type == "cuda" else torch.backends.mkldnn
        if (setting := backend.conv.fp32_precision) not in ("none", "ieee"):
            notes.append(f"convolutions {setting}")
    return ", ".join(notes)
