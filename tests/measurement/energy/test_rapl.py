from pathlib import Path

import pytest

from paretorch.measurement.energy import rapl_meter
from tests.measurement.clocks import FakeMachine

SERVER = {
    "intel-rapl:0": "package-0",
    "intel-rapl:0:0": "dram",
    "intel-rapl:1": "package-1",
    "intel-rapl:1:0": "dram",
}
LAPTOP = {
    "intel-rapl:0": "package-0",
    "intel-rapl:0:0": "core",
    "intel-rapl:0:1": "uncore",
    "intel-rapl:0:2": "dram",
    "intel-rapl:1": "psys",
    "intel-rapl-mmio:0": "package-0",
}


def machine_with(root: Path, domains: dict[str, str], *, range_uj: int | None = 262_143_328_850) -> Path:
    for folder, name in domains.items():
        (root / folder).mkdir(parents=True)
        (root / folder / "name").write_text(f"{name}\n")
        (root / folder / "energy_uj").write_text("1000000\n")
        if range_uj is not None:
            (root / folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return root


def raise_by(root: Path, joules: dict[str, float]) -> None:
    for folder, risen in joules.items():
        file = root / folder / "energy_uj"
        file.write_text(f"{int(file.read_text()) + round(risen * 1e6)}\n")


def measured(root: Path, joules: dict[str, float], **settings: object) -> tuple[float | None, str, tuple[str, ...]]:
    machine = FakeMachine()
    meter = rapl_meter(root=root, clock=machine.clock, **settings)  # type: ignore[arg-type]
    assert meter.reason is None
    meter.start()
    machine.pass_time(10.0)
    raise_by(root, joules)
    reading = meter.stop()
    return reading.joules, reading.scope, reading.includes


ALL = {
    "intel-rapl:0": 100.0,
    "intel-rapl:0:0": 60.0,
    "intel-rapl:0:1": 10.0,
    "intel-rapl:0:2": 20.0,
    "intel-rapl:1": 150.0,
    "intel-rapl-mmio:0": 100.0,
}


@pytest.mark.parametrize(
    ("without", "joules", "scope"),
    [
        ((), 150.0, "whole platform: psys"),
        (("psys",), 120.0, "processor packages, memory: package-0, dram"),
        (("psys", "dram"), 100.0, "processor packages: package-0"),
        (("psys", "package-0"), 90.0, "processor cores and uncore, memory: core, uncore, dram"),
        (("psys", "package-0", "uncore", "dram"), 60.0, "processor cores: core"),
    ],
)
def test_domains_that_contain_each_other_are_never_added(
    tmp_path: Path, without: tuple[str, ...], joules: float, scope: str
) -> None:
    found = measured(machine_with(tmp_path, LAPTOP), ALL, without=without)
    assert found[:2] == (pytest.approx(joules), scope)


def test_every_socket_and_its_memory_are_added(tmp_path: Path) -> None:
    joules, scope, includes = measured(machine_with(tmp_path, SERVER), dict(zip(SERVER, (80, 9, 70, 8), strict=True)))
    assert joules == pytest.approx(167.0)
    assert scope == "processor packages, memory: package-0, package-1, dram, dram"
    assert includes == (
        "package-0 (intel-rapl:0)",
        "package-1 (intel-rapl:1)",
        "dram (intel-rapl:0:0)",
        "dram (intel-rapl:1:0)",
    )


def test_a_machine_with_only_the_memory_mapped_interface_is_read(tmp_path: Path) -> None:
    root = machine_with(tmp_path, {"intel-rapl-mmio:0": "package-0"})
    assert measured(root, {"intel-rapl-mmio:0": 42.0})[0] == pytest.approx(42.0)


def test_the_counter_wraps_at_the_range_that_the_system_tells(tmp_path: Path) -> None:
    root = machine_with(tmp_path, {"intel-rapl:0": "package-0"}, range_uj=65_532_610_987)
    (root / "intel-rapl:0" / "energy_uj").write_text("65532000000\n")
    machine = FakeMachine()
    meter = rapl_meter(root=root, clock=machine.clock)
    meter.start()
    machine.pass_time(10.0)
    (root / "intel-rapl:0" / "energy_uj").write_text("199389013\n")
    assert meter.stop().joules == pytest.approx(0.610987 + 199.389013)


def test_a_counter_that_falls_by_an_unknown_range_is_no_energy(tmp_path: Path) -> None:
    root = machine_with(tmp_path, {"intel-rapl:0": "package-0"}, range_uj=None)
    machine = FakeMachine()
    meter = rapl_meter(root=root, clock=machine.clock)
    meter.start()
    machine.pass_time(10.0)
    (root / "intel-rapl:0" / "energy_uj").write_text("5\n")
    reading = meter.stop()
    assert (reading.joules, reading.reason) == (
        None,
        "the counter of package-0 (intel-rapl:0) went backwards",
    )


def test_no_counter_is_a_reason(tmp_path: Path) -> None:
    absent = rapl_meter(root=tmp_path / "powercap")
    assert absent.reason == f"{tmp_path / 'powercap'} shows no RAPL domain of a processor"
    memory = rapl_meter(root=machine_with(tmp_path, {"intel-rapl:0:0": "dram"}))
    assert memory.reason == f"{tmp_path} shows no RAPL domain of a processor"


def test_counters_that_may_not_be_read_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = machine_with(tmp_path, SERVER)
    real = Path.read_text

    def read_text(self: Path, encoding: str | None = None, errors: str | None = None) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied")  # root may read everything, and tests may run as root
        return real(self, encoding=encoding, errors=errors)

    monkeypatch.setattr(Path, "read_text", read_text)
    meter = rapl_meter(root=root)
    assert meter.reason == (
        f"{root / 'intel-rapl:0' / 'energy_uj'} is readable by root only; run as root or make it readable"
    )
    meter.start()
    assert meter.stop().reason == meter.reason


def test_a_counter_that_vanishes_while_measuring_is_no_energy(tmp_path: Path) -> None:
    root = machine_with(tmp_path, {"intel-rapl:0": "package-0"})
    machine = FakeMachine()
    meter = rapl_meter(root=root, clock=machine.clock)
    meter.start()
    machine.pass_time(10.0)
    (root / "intel-rapl:0" / "energy_uj").write_text("nonsense")
    reading = meter.stop()
    assert reading.joules is None
    assert "cannot be read: invalid literal" in str(reading.reason)
