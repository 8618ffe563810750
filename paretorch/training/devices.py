"""Where and how a run computes: the device, the processes, the precision, and repeatable cuDNN kernels."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch

from paretorch.errors import InputError
from paretorch.training.settings import TrainSettings

if TYPE_CHECKING:
    from accelerate import Accelerator

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def make_accelerator(settings: TrainSettings) -> "Accelerator":
    """The process's place in the run: its device, its rank, and the gradient scaler that fp16 needs.

    Raises:
        InputError: if the device is not there, cannot compute in the precision, or the launcher asks for sharding.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState

    # Accelerate keeps one device and one precision for the whole process; another trainer may have chosen others.
    wanted = settings.device if settings.device is not None else _best_device()
    if PartialState._shared_state and PartialState().device.type != torch.device(wanted).type:
        AcceleratorState._reset_state(reset_partial_state=True)
    elif AcceleratorState._shared_state and AcceleratorState().mixed_precision != settings.precision:
        AcceleratorState._reset_state()
    try:
        accelerator = Accelerator(mixed_precision=settings.precision, cpu=wanted == "cpu")
    except ValueError as error:
        raise InputError(f"precision={settings.precision!r} cannot be used here: {error}") from error
    found = accelerator.device.type
    if settings.device is not None and found != torch.device(settings.device).type:
        raise InputError(f"device={settings.device!r} was asked for, but only {found!r} can be used on this machine")
    if settings.precision == "fp16" and accelerator.scaler is None:
        raise InputError(f"precision='fp16' needs an accelerator, and the device is {found!r}; use 'bf16' or 'no'")
    kind = accelerator.distributed_type.name
    if kind != "NO" and not kind.startswith("MULTI_"):
        raise InputError(f"the launcher asks for {kind}; several processes are supported with DDP only")
    return accelerator


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context of a forward pass in `precision` ("no", "bf16" or "fp16")."""
    return torch.autocast(device.type, dtype=_HALF[precision]) if precision in _HALF else nullcontext()


@contextmanager
def repeatable_cudnn() -> Iterator[None]:
    """cuDNN picks deterministic algorithms, and the same ones every time, within the context."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


def _best_device() -> str:
    found = torch.accelerator.current_accelerator(check_available=True)
    return found.type if found is not None else "cpu"
