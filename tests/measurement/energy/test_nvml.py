import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from paretorch.measurement.energy import nvml_meter
from tests.measurement.clocks import FakeMachine


class FakeError(Exception):
    pass


def driver(machine: FakeMachine, gpus: dict[str, tuple[str, float | None]], *, broken: bool = False) -> Any:
    """What `pynvml` offers, for GPUs uuid -> (name, watts); None: a GPU without the counter."""
    initialised: list[int] = []

    def init() -> None:
        if broken:
            raise FakeError("Driver Not Loaded")
        initialised.append(1)

    def handle(uuid: str) -> str:
        assert initialised
        if uuid not in gpus:
            raise FakeError("Not Found")
        return uuid

    def energy(uuid: str) -> int:
        watts = gpus[uuid][1]
        if watts is None:
            raise FakeError("Not Supported")
        return 123_456 + int(watts * machine.wall_s) * 1000  # millijoules since the driver was loaded

    return SimpleNamespace(
        NVMLError=FakeError,
        nvmlInit=init,
        nvmlDeviceGetHandleByUUID=handle,
        nvmlDeviceGetName=lambda uuid: gpus[uuid][0],
        nvmlDeviceGetTotalEnergyConsumption=energy,
    )


def test_the_gpus_named_are_added_and_the_others_left_out() -> None:
    machine = FakeMachine()
    nvml = driver(machine, {"GPU-a": ("H100", 100.0), "GPU-b": ("H100", 300.0), "GPU-c": ("H100", 500.0)})
    meter = nvml_meter(["GPU-a", "GPU-b"], nvml=nvml, clock=machine.clock)
    assert (meter.source, meter.scope) == ("NVML", "GPU boards only: 2 x H100")
    with meter.window() as window:
        machine.pass_time(10.0)
    assert window.reading is not None
    assert window.reading.joules == pytest.approx(4_000.0)
    assert window.reading.includes == ("GPU 0 (H100)", "GPU 1 (H100)")
    with meter.window() as short:
        machine.pass_time(0.05)
    assert short.reading is not None
    assert short.reading.joules is None


def test_the_scope_tells_different_boards_apart() -> None:
    machine = FakeMachine()
    nvml = driver(machine, {"GPU-a": ("H100", 1.0), "GPU-b": ("A100", 1.0), "GPU-c": ("H100", 1.0)})
    scope = nvml_meter(["GPU-a", "GPU-b", "GPU-c"], nvml=nvml).scope
    assert scope == "GPU boards only: 1 x A100, 2 x H100"


@pytest.mark.parametrize(
    ("gpus", "uuids", "broken", "reason"),
    [
        ({"GPU-a": ("K80", None)}, ["GPU-a"], False, "NVML gives no energy: Not Supported"),
        ({"GPU-a": ("H100", 1.0)}, ["GPU-z"], False, "NVML gives no energy: Not Found"),
        ({}, ["GPU-a"], True, "NVML gives no energy: Driver Not Loaded"),
        ({}, [], False, "no GPU was named"),
    ],
)
def test_what_keeps_a_gpu_from_being_measured_is_told(
    gpus: dict[str, tuple[str, float | None]], uuids: list[str], broken: bool, reason: str
) -> None:
    meter = nvml_meter(uuids, nvml=driver(FakeMachine(), gpus, broken=broken))
    assert meter.reason == reason
    meter.start()
    reading = meter.stop()
    assert (reading.joules, reading.reason) == (None, reason)


def test_a_gpu_that_is_lost_while_measuring_is_no_energy() -> None:
    machine = FakeMachine()
    gpus: dict[str, tuple[str, float | None]] = {"GPU-a": ("H100", 100.0)}
    meter = nvml_meter(["GPU-a"], nvml=driver(machine, gpus), clock=machine.clock)
    meter.start()
    machine.pass_time(5.0)
    gpus["GPU-a"] = ("H100", None)
    reading = meter.stop()
    assert (reading.joules, reading.reason) == (None, "Not Supported")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml_meter().reason == "needs the gpu extra: pip install 'paretorch[gpu]'"


def test_the_real_library_has_every_function_that_is_called() -> None:
    pynvml = pytest.importorskip("pynvml", reason="needs the gpu extra")
    fake = driver(FakeMachine(), {})
    assert all(callable(getattr(pynvml, name)) for name in vars(fake))
    assert issubclass(pynvml.NVMLError, Exception)
    meter = nvml_meter(["GPU-00000000-0000-0000-0000-000000000000"])
    assert str(meter.reason).startswith("NVML gives no energy: ")


def test_a_torch_that_sees_no_gpu_measures_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    nvml = driver(FakeMachine(), {"GPU-a": ("H100", 1.0)})
    assert nvml_meter(nvml=nvml).reason == "torch sees no NVIDIA GPU"


def test_the_gpus_that_torch_sees_are_found_by_their_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: SimpleNamespace(uuid="cb"[i]))
    machine = FakeMachine()
    nvml = driver(machine, {"GPU-a": ("H100", 7.0), "GPU-b": ("H100", 100.0), "GPU-c": ("A100", 300.0)})
    meter = nvml_meter(nvml=nvml, clock=machine.clock)
    assert meter.includes == ("GPU 0 (A100)", "GPU 1 (H100)")
    meter.start()
    machine.pass_time(10.0)
    assert meter.stop().joules == pytest.approx(4_000.0)
