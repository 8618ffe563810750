"""Which energy meters this machine has, and why it lacks the others."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from paretorch.measurement.energy.meter import EnergyMeter
from paretorch.measurement.energy.nvml import nvml_meter
from paretorch.measurement.energy.rapl import rapl_meter


@dataclass(frozen=True, kw_only=True)
class FoundMeters:
    """meters: those that can measure. absent: the others' sources, and why."""

    meters: tuple[EnergyMeter, ...]
    absent: Mapping[str, str]


def energy_meters() -> FoundMeters:
    """Every meter that this machine has; none is a model or a guess."""
    every = (nvml_meter(), rapl_meter())
    return FoundMeters(
        meters=tuple(meter for meter in every if meter.reason is None),
        absent={meter.source: meter.reason for meter in every if meter.reason is not None},
    )


def energy_meter(device: torch.device | str = "cpu") -> EnergyMeter:
    """The meter of the part that computes: NVML for CUDA devices, else RAPL.

    Where it cannot measure, its readings have no joules and say why.
    """
    return nvml_meter() if torch.device(device).type == "cuda" else rapl_meter()
