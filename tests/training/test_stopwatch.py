"""The seconds of a phase are those of its steps, and what is not training stands beside them."""

import json

import pytest

from paretorch.measurement.timing import Timing
from paretorch.training import stopwatch
from paretorch.training.stopwatch import Stopwatch
from paretorch.training.trainer import Trainer
from tests.training.problems import normed_task, plain


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(stopwatch, "time", made)
    return made


def steps(watch: Stopwatch, clock: Clock, *seconds: float) -> None:
    for one in seconds:
        with watch.step():
            clock.now += one
        clock.now += 50.0  # between steps: nobody's


def aside(watch: Stopwatch, clock: Clock, what: str, seconds: float) -> None:
    with watch.aside(what):
        clock.now += seconds


def test_seconds_are_those_of_the_steps_alone(clock: Clock) -> None:
    watch = Stopwatch()
    steps(watch, clock, 1.0, 2.0)
    aside(watch, clock, "evaluation_s", 8.0)
    steps(watch, clock, 4.0)
    aside(watch, clock, "checkpoint_s", 16.0)
    aside(watch, clock, "evaluation_s", 32.0)
    assert watch.seconds == 7.0
    assert watch.overhead == {"evaluation_s": 40.0, "checkpoint_s": 16.0}


def test_percentiles_are_those_of_a_timing(clock: Clock) -> None:
    watch = Stopwatch()
    steps(watch, clock, *[float(value) for value in (7, 3, 11, 1, 5, 2, 9, 4, 10, 6, 8)])
    assert watch.step_time() == {"p10_s": 2.0, "p50_s": 6.0, "p90_s": 10.0, "n": 11}
    steps(watch, clock, 41.0)
    timing = Timing(rounds=(tuple(watch.steps),), wall_s=1.0, cpu_s=1.0, threads=1)
    assert watch.step_time() == {"p10_s": timing.p10_s, "p50_s": 6.5, "p90_s": timing.p90_s, "n": 12}


def test_one_slow_step_moves_the_seconds_and_not_the_median(clock: Clock) -> None:
    watch = Stopwatch()
    steps(watch, clock, *[1.0] * 8, 1000.0)
    assert watch.seconds == 1008.0
    assert watch.step_time()["p50_s"] == 1.0


def test_without_a_step_there_is_no_step_time() -> None:
    assert Stopwatch().step_time() == {}


def test_a_step_that_raised_is_not_counted(clock: Clock) -> None:
    watch = Stopwatch()

    def fail() -> None:
        with watch.step():
            clock.now += 1.0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (watch.seconds, watch.step_time()) == (0.0, {})


def test_what_was_measured_before_a_resumption_is_added(clock: Clock) -> None:
    first, second = Stopwatch(), Stopwatch()
    steps(first, clock, 1.0, 2.0)
    aside(first, clock, "checkpoint_s", 3.0)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    steps(second, clock, 4.0)
    aside(second, clock, "checkpoint_s", 5.0)
    assert second.seconds == 7.0
    assert second.overhead == {"evaluation_s": 0.0, "checkpoint_s": 8.0}
    assert second.step_time() == {"p10_s": 1.2, "p50_s": 2.0, "p90_s": 3.6, "n": 3}


def test_a_checkpoint_is_no_view_of_the_running_watch(clock: Clock) -> None:
    watch = Stopwatch()
    steps(watch, clock, 1.0)
    state = watch.state_dict()
    steps(watch, clock, 2.0)
    aside(watch, clock, "evaluation_s", 3.0)
    assert state == {"seconds": 1.0, "overhead": {"evaluation_s": 0.0, "checkpoint_s": 0.0}, "steps": [1.0]}


def test_single_steps_are_forgotten_and_their_sum_is_not(clock: Clock) -> None:
    watch = Stopwatch()
    steps(watch, clock, *[1.0] * 500, *[3.0] * 1000)
    assert watch.seconds == 3500.0
    assert watch.step_time() == {"p10_s": 3.0, "p50_s": 3.0, "p90_s": 3.0, "n": 1000}


def test_a_phase_says_what_its_steps_took_and_what_else_there_was() -> None:
    trainer = Trainer(normed_task(), plain(16))  # 4 steps per epoch, evaluated after each
    result = trainer.fit(trainer.model(), phase="dense", num_steps=12)
    assert result.step_time["n"] == 12
    assert result.step_time["p10_s"] <= result.step_time["p50_s"] <= result.step_time["p90_s"] <= result.seconds
    assert result.overhead["evaluation_s"] > 0
    assert result.overhead["checkpoint_s"] == 0  # it has no directory
