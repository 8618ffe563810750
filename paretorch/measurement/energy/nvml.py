"""Energy of NVIDIA GPUs from the driver's own counter (NVML total energy, millijoules since the driver was loaded).

Volta and newer. The counter moves about every 0.1 s and covers the whole board, whoever uses it, and nothing else of
the machine. On A100 and H100 its sensor looks only about a quarter of the time (Yang, Adamek and Armour 2023,
arXiv 2312.02741), so measure windows of five seconds and more with many steps in each, never single steps.
"""

import importlib
from collections import Counter
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch

from paretorch.measurement.energy.meter import CounterError, CounterMeter, EnergyCounter, EnergyMeter, NoMeter
from paretorch.measurement.timing import SYSTEM_CLOCK, Clock

SOURCE = "NVML"
RESOLUTION_S = 0.1


def nvml_meter(
    uuids: Sequence[str] | None = None, *, nvml: ModuleType | None = None, clock: Clock = SYSTEM_CLOCK
) -> EnergyMeter:
    """A meter of the GPUs that torch sees here, added; where there is none, one that says why.

    Args:
        uuids: GPUs as NVML names them ("GPU-..."). None: those torch sees, whatever CUDA_VISIBLE_DEVICES says.
        nvml: the module `pynvml`; None: imported, from the extra `gpu`.
    """
    if nvml is None:
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            return NoMeter(source=SOURCE, reason="needs the gpu extra: pip install 'paretorch[gpu]'", clock=clock)
    if uuids is None:
        if torch.version.cuda is None or not torch.cuda.is_available():
            return NoMeter(source=SOURCE, reason="torch sees no NVIDIA GPU", clock=clock)
        uuids = [f"GPU-{torch.cuda.get_device_properties(i).uuid}" for i in range(torch.cuda.device_count())]
    counters: list[EnergyCounter] = []
    names: list[str] = []
    try:
        nvml.nvmlInit()
        for i, uuid in enumerate(uuids):
            handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
            names.append(str(nvml.nvmlDeviceGetName(handle)))
            counters.append(EnergyCounter(name=f"GPU {i} ({names[-1]})", read_j=_reader(nvml, handle)))
            counters[-1].read_j()  # older GPUs have no counter, and say so only now
    except (nvml.NVMLError, CounterError) as error:
        return NoMeter(source=SOURCE, reason=f"NVML gives no energy: {error}", clock=clock)
    if not counters:
        return NoMeter(source=SOURCE, reason="no GPU was named", clock=clock)
    boards = ", ".join(f"{count} x {name}" for name, count in sorted(Counter(names).items()))
    return CounterMeter(
        counters,
        source=SOURCE,
        scope=f"GPU boards only: {boards}",
        resolution_s=RESOLUTION_S,
        synchronize=_synchronize,
        clock=clock,
    )


def _reader(nvml: Any, handle: Any) -> Callable[[], float]:
    def read_j() -> float:
        try:
            return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
        except nvml.NVMLError as error:
            raise CounterError(str(error)) from error

    return read_j


def _synchronize() -> None:
    """Wait for the work queued on every GPU, so that it falls into the window that ends."""
    if torch.cuda.is_initialized():
        for i in range(torch.cuda.device_count()):
            torch.cuda.synchronize(i)
