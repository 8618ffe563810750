"""Energy from the counters that a machine has, with source and scope; where it has none, None and the reason.

meter = energy_meter(device)
with meter.window() as window:
    train()
window.reading.joules
"""

from paretorch.measurement.energy.found import FoundMeters, energy_meter, energy_meters
from paretorch.measurement.energy.meter import (
    CounterError,
    CounterMeter,
    EnergyCounter,
    EnergyMeter,
    ModelledMeter,
    NoMeter,
    Window,
)
from paretorch.measurement.energy.nvml import nvml_meter
from paretorch.measurement.energy.rapl import rapl_meter
from paretorch.measurement.energy.reading import EnergyReading, Footprint, energy_ratio, footprint

__all__ = [
    "CounterError",
    "CounterMeter",
    "EnergyCounter",
    "EnergyMeter",
    "EnergyReading",
    "Footprint",
    "FoundMeters",
    "ModelledMeter",
    "NoMeter",
    "Window",
    "energy_meter",
    "energy_meters",
    "energy_ratio",
    "footprint",
    "nvml_meter",
    "rapl_meter",
]
