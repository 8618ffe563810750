import threading

import pytest

from paretorch.measurement.energy import (
    CounterError,
    CounterMeter,
    EnergyCounter,
    ModelledMeter,
    NoMeter,
    energy_meter,
    energy_meters,
    energy_ratio,
)
from tests.measurement.clocks import FakeMachine


def at_power(machine: FakeMachine, name: str, watts: float, *, period_s: float = 0.1) -> EnergyCounter:
    """A counter of a device at constant power that moves once per period."""
    return EnergyCounter(name=name, read_j=lambda: watts * period_s * int(machine.wall_s / period_s + 1e-9))


def meter_of(machine: FakeMachine, *counters: EnergyCounter, resolution_s: float = 0.1) -> CounterMeter:
    return CounterMeter(counters, source="test", scope="all", resolution_s=resolution_s, clock=machine.clock)


def test_two_devices_at_100_and_300_watts_for_10_seconds_are_4000_joules() -> None:
    machine = FakeMachine()
    meter = meter_of(machine, at_power(machine, "A", 100.0), at_power(machine, "B", 300.0))
    with meter.window() as window:
        machine.pass_time(10.0)
    assert window.reading is not None
    assert window.reading.joules == pytest.approx(4_000)
    assert (window.reading.seconds, window.reading.includes) == (10.0, ("A", "B"))
    assert window.reading.reason is None


def test_a_window_shorter_than_the_counters_period_is_unknown_and_never_zero() -> None:
    machine = FakeMachine(wall_s=0.07)
    meter = meter_of(machine, at_power(machine, "A", 100.0))
    for seconds in (0.01, 0.05):  # the second one sees the counter move, by chance
        meter.start()
        machine.pass_time(seconds)
        reading = meter.stop()
        assert reading.joules is None
        assert reading.reason is not None
        assert reading.reason.startswith("insufficient resolution: the window of")
    meter.start()
    machine.pass_time(0.1)
    assert meter.stop().joules == pytest.approx(10.0)


def test_a_counter_that_does_not_move_makes_the_sum_unknown() -> None:
    machine = FakeMachine()
    dead = EnergyCounter(name="dead", read_j=lambda: 7.0)
    meter = meter_of(machine, at_power(machine, "A", 100.0), dead)
    meter.start()
    machine.pass_time(5.0)
    reading = meter.stop()
    assert (reading.joules, reading.reason) == (
        None,
        "insufficient resolution: the counter of dead did not move in 5 s",
    )


def test_a_counter_that_wraps_around_is_followed() -> None:
    machine = FakeMachine(wall_s=1.0)
    counter = EnergyCounter(name="package", read_j=lambda: 100.0 * machine.wall_s % 262.144, wraps_at_j=262.144)
    meter = meter_of(machine, counter)
    meter.start()
    machine.pass_time(2.0)  # from 100 to 300, which reads 37.856
    assert meter.stop().joules == pytest.approx(200.0)
    meter.start()
    for _ in range(20):  # 40 seconds, 15 rounds of the counter, each seen
        machine.pass_time(2.0)
        meter.sample()
    assert meter.stop().joules == pytest.approx(4_000.0)


def test_wraps_are_watched_for_by_the_meter_itself() -> None:
    reads = 0
    enough = threading.Event()

    def read_j() -> float:
        nonlocal reads
        reads += 1
        if reads > 20:
            enough.set()
        return 3.0 * reads % 4.0  # rises by 3 of 4 joules per reading: two unseen would be lost

    machine = FakeMachine()
    meter = meter_of(machine, EnergyCounter(name="package", read_j=read_j, wraps_at_j=4.0))
    meter.start()
    assert enough.wait(20)
    machine.pass_time(1.0)
    reading = meter.stop()
    assert reading.joules == pytest.approx(3.0 * (reads - 1))
    after = reads
    threading.Event().wait(0.05)
    assert reads == after  # nobody reads any more


def test_a_counter_that_falls_without_wrapping_is_no_energy() -> None:
    machine = FakeMachine()
    meter = meter_of(machine, EnergyCounter(name="GPU 0", read_j=lambda: 50.0 - machine.wall_s))
    meter.start()
    machine.pass_time(5.0)
    reading = meter.stop()
    assert (reading.joules, reading.reason) == (None, "the counter of GPU 0 went backwards")


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_counter_that_fails_costs_the_figure_and_not_the_training(fails_at: int) -> None:
    machine = FakeMachine()
    reads = 0

    def read_j() -> float:
        nonlocal reads
        reads += 1
        if reads == fails_at:
            raise CounterError("GPU is lost")
        return 10.0 * reads

    meter = meter_of(machine, EnergyCounter(name="GPU 0", read_j=read_j))
    with meter.window() as window:
        machine.pass_time(5.0)
    assert window.reading is not None
    assert (window.reading.joules, window.reading.reason) == (None, "GPU is lost")
    with meter.window() as again:  # the next window starts afresh
        machine.pass_time(5.0)
    assert again.reading is not None
    assert again.reading.joules == 10.0


def test_queued_work_is_waited_for_at_both_ends() -> None:
    machine = FakeMachine()
    queue = [3.0, 7.0]  # seconds of work queued before and inside the window

    meter = CounterMeter(
        [at_power(machine, "A", 100.0)],
        source="test",
        scope="all",
        resolution_s=0.1,
        synchronize=lambda: machine.pass_time(queue.pop(0)),
        clock=machine.clock,
    )
    with meter.window() as window:
        pass
    assert window.reading is not None
    assert (window.reading.seconds, window.reading.joules) == (7.0, pytest.approx(700.0))


def test_the_reading_is_there_after_an_error_too() -> None:
    machine = FakeMachine()
    meter = meter_of(machine, at_power(machine, "A", 100.0))
    windows = []

    def train() -> None:
        with meter.window() as window:
            windows.append(window)
            machine.pass_time(1.0)
            raise KeyError("training failed")

    with pytest.raises(KeyError):
        train()
    assert windows[0].reading is not None
    assert windows[0].reading.joules == pytest.approx(100.0)


def test_windows_of_one_meter_do_not_overlap() -> None:
    meter = NoMeter(source="NVML", reason="torch sees no NVIDIA GPU")
    with pytest.raises(RuntimeError, match="is not measuring; start"):
        meter.stop()
    meter.start()
    with pytest.raises(RuntimeError, match="is measuring already; stop"):
        meter.start()


def test_a_machine_without_a_counter_gives_none_and_the_reason() -> None:
    machine = FakeMachine()
    meter = NoMeter(source="NVML", reason="torch sees no NVIDIA GPU", clock=machine.clock)
    meter.start()
    machine.pass_time(30.0)
    reading = meter.stop()
    assert (reading.joules, reading.reason, reading.seconds) == (None, "torch sees no NVIDIA GPU", 30.0)


def test_a_modelled_figure_says_so() -> None:
    machine = FakeMachine()
    meter = ModelledMeter(65.0, scope="processor", clock=machine.clock)
    meter.start()
    machine.pass_time(10.0)
    reading = meter.stop()
    assert (reading.source, reading.joules, reading.includes) == ("modelled", 650.0, ("65 W as given",))
    measured = meter_of(machine, at_power(machine, "A", 65.0))
    measured.start()
    machine.pass_time(10.0)
    with pytest.raises(ValueError, match="only at equal source"):
        energy_ratio(measured.stop(), reading)
    for power in (0.0, -5.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="power_w must be a positive number of watts"):
            ModelledMeter(power, scope="processor")


def test_a_meter_needs_a_counter() -> None:
    with pytest.raises(ValueError, match="at least one counter"):
        meter_of(FakeMachine())


def test_what_this_machine_has_is_either_a_meter_or_a_reason() -> None:
    found = energy_meters()
    assert {meter.source for meter in found.meters} | found.absent.keys() == {"NVML", "RAPL"}
    assert not {meter.source for meter in found.meters} & found.absent.keys()
    assert all(found.absent.values())
    assert energy_meter("cpu").source == "RAPL"
    assert energy_meter("cuda").source == "NVML"
