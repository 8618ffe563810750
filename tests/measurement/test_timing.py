import gc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paretorch.measurement.timing import Timing, thread_limit, time_calls
from tests.measurement.clocks import FakeMachine


def test_calls_are_timed_until_the_seconds_have_passed() -> None:
    machine = FakeMachine()
    timing = time_calls(machine.work("a", 0.03), seconds=0.1, warmup=2, min_calls=1, clock=machine.clock)
    assert timing.n == 4  # 0.03, 0.06, 0.09 are short of 0.1; 0.12 is not
    assert len(machine.log) == 2 + 4
    assert timing.samples_s == pytest.approx([0.03] * 4)
    assert timing.wall_s == pytest.approx(0.12)


def test_a_slow_call_is_still_timed_the_least_number_of_times() -> None:
    machine = FakeMachine()
    assert time_calls(machine.work("a", 9.0), seconds=0.1, min_calls=5, clock=machine.clock).n == 5


def test_the_largest_number_of_calls_ends_the_timing() -> None:
    machine = FakeMachine()
    timing = time_calls(machine.work("a", 1e-9), seconds=1.0, min_calls=1, max_calls=7, clock=machine.clock)
    assert timing.n == 7


def test_warm_up_calls_are_not_in_the_samples() -> None:
    machine = FakeMachine()
    timing = time_calls(machine.work("a", 50.0, 1.0, 1.0), seconds=0.0, warmup=1, min_calls=2, clock=machine.clock)
    assert timing.samples_s.tolist() == [1.0, 1.0]
    assert timing.cpu_s == 2.0


def test_a_quiet_machine_is_certified_and_one_with_stolen_time_is_not() -> None:
    machine = FakeMachine()
    quiet = time_calls(machine.work("a", 0.01), clock=machine.clock)
    assert quiet.quiet
    assert quiet.reason is None
    contended = time_calls(machine.work("a", 0.01, share=0.6), clock=machine.clock)
    assert not contended.quiet
    assert contended.reason is not None
    assert "CPU time was 0.60" in contended.reason
    assert contended.p50_s == pytest.approx(0.01)  # the figure is still given


def test_a_collapse_that_the_median_hides_is_not_certified() -> None:
    machine = FakeMachine()
    timing = time_calls(machine.work("a", *[0.0016] * 20, 0.8), seconds=2.0, clock=machine.clock)
    assert timing.p50_s == pytest.approx(0.0016)
    assert timing.reason is not None
    assert "times the median" in timing.reason


def test_a_loaded_machine_is_not_certified() -> None:
    machine = FakeMachine(load=4.0)
    reason = time_calls(machine.work("a", 0.01), clock=machine.clock).reason
    assert reason is not None
    assert "load average was 4.0 on 2 core(s)" in reason


def test_two_threads_need_two_cpu_seconds_per_second() -> None:
    machine = FakeMachine()
    assert not time_calls(machine.work("a", 0.01, share=1.0), threads=2, clock=machine.clock).quiet
    assert time_calls(machine.work("a", 0.01, share=1.95), threads=2, clock=machine.clock).quiet


def test_an_accelerator_is_waited_for_inside_every_sample_and_cpu_time_is_not_judged() -> None:
    machine = FakeMachine()
    timing = time_calls(
        machine.work("launch", 0.001),
        seconds=0.0,
        warmup=0,
        min_calls=3,
        synchronize=machine.work("wait", 0.02, share=0.0),
        clock=machine.clock,
    )
    assert timing.samples_s == pytest.approx([0.021] * 3)
    assert machine.log == ["wait", *["launch", "wait"] * 3]
    assert timing.cpu_per_wall < 0.1
    assert timing.quiet


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=50))
def test_quantiles_are_ordered_and_inside_the_samples(samples: list[float]) -> None:
    timing = Timing(rounds=(tuple(samples),), wall_s=sum(samples), cpu_s=sum(samples), threads=1)
    assert min(samples) <= timing.p10_s <= timing.p50_s <= timing.p90_s <= max(samples)
    assert timing.p50_s == pytest.approx(float(np.median(samples)))
    assert timing.mean_s == pytest.approx(float(np.mean(samples)))


def test_quantiles_of_a_known_ladder() -> None:
    timing = Timing(rounds=((0.0, 1.0, 2.0, 3.0, 4.0, 5.0), (6.0, 7.0, 8.0, 9.0, 10.0)), wall_s=1, cpu_s=1, threads=1)
    assert (timing.p10_s, timing.p50_s, timing.p90_s, timing.n) == (1.0, 5.0, 9.0, 11)
    assert timing.round_p10_s == pytest.approx([0.5, 6.4])


def test_the_thread_count_is_set_inside_and_restored_also_after_an_error() -> None:
    before = torch.get_num_threads()
    with thread_limit(before + 1):
        assert torch.get_num_threads() == before + 1
    with pytest.raises(ZeroDivisionError), thread_limit(before + 1):
        _ = 1 / 0
    assert torch.get_num_threads() == before


def test_the_garbage_collector_rests_while_timing_and_runs_again_afterwards() -> None:
    machine = FakeMachine()
    states = []

    def call() -> None:
        states.append(gc.isenabled())
        machine.pass_time(1.0)

    time_calls(call, seconds=0.0, warmup=0, min_calls=2, clock=machine.clock)
    assert states == [False, False]
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": 0}, "threads must be at least 1; got 0"),
        ({"seconds": -1.0}, "seconds must be zero or more; got -1"),
        ({"seconds": float("nan")}, "seconds must be zero or more; got nan"),
        ({"warmup": -1}, "zero or more; got -1"),
        ({"min_calls": 0}, "got min_calls=0"),
        ({"min_calls": 9, "max_calls": 8}, "got min_calls=9, max_calls=8"),
    ],
)
def test_impossible_budgets_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        time_calls(lambda: None, **arguments)  # type: ignore[arg-type]
