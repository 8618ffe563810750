import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.measurement.interleaved import interleaved, median_interval, ratio
from paretorch.measurement.timing import Timing
from tests.measurement.clocks import FakeMachine

seconds = st.floats(1e-6, 1e3)


def timing(*rounds: float, threads: int = 1, cpu_share: float = 1.0) -> Timing:
    return Timing(
        rounds=tuple((value,) for value in rounds), wall_s=sum(rounds), cpu_s=sum(rounds) * cpu_share, threads=threads
    )


def test_every_second_round_runs_in_the_reverse_order() -> None:
    machine = FakeMachine()
    work = {name: machine.work(name, 1.0) for name in "abc"}
    interleaved(work, rounds=3, min_seconds=0.0, warmup=1, min_calls=1, clock=machine.clock)
    assert "".join(machine.log) == "abc" + "abc" + "cba" + "abc"


def test_each_round_lasts_at_least_its_seconds_per_candidate() -> None:
    machine = FakeMachine()
    work = {"fast": machine.work("fast", 0.125), "slow": machine.work("slow", 0.375)}
    timings = interleaved(work, rounds=4, min_seconds=1.0, min_calls=1, clock=machine.clock)
    assert list(timings) == ["fast", "slow"]
    assert [len(samples) for samples in timings["fast"].rounds] == [8] * 4
    assert [len(samples) for samples in timings["slow"].rounds] == [3] * 4
    assert timings["slow"].round_p10_s.tolist() == [0.375] * 4
    assert timings["slow"].wall_s == 4 * 3 * 0.375


def test_the_known_ratio_comes_out_exactly_although_the_machine_slows_down_meanwhile() -> None:
    machine = FakeMachine()
    drift = itertools.count(1)

    def drifting(cost: float) -> object:
        return lambda: machine.pass_time(cost * (1 + 0.001 * next(drift)))

    work = {"baseline": drifting(0.03), "candidate": drifting(0.01)}
    timings = interleaved(work, rounds=8, min_seconds=0.0, min_calls=5, clock=machine.clock)  # type: ignore[arg-type]
    result = ratio(timings["baseline"], timings["candidate"])
    assert result.value == pytest.approx(3.0, rel=0.005)
    assert result.low < 3.0 < result.high  # alternating the order puts the drift on both sides


def test_the_ratio_is_baseline_over_candidate_paired_by_round() -> None:
    result = ratio(timing(2.0, 40.0, 6.0), timing(1.0, 10.0, 2.0))
    assert (result.value, result.low, result.high) == pytest.approx((3.0, 2.0, 4.0))
    assert result.n == 3
    assert result.coverage == pytest.approx(0.75)


@given(st.lists(st.tuples(seconds, seconds), min_size=1, max_size=20))
def test_exchanging_baseline_and_candidate_gives_the_reciprocal(pairs: list[tuple[float, float]]) -> None:
    first, second = timing(*[a for a, _ in pairs]), timing(*[b for _, b in pairs])
    forth, back = ratio(first, second), ratio(second, first)
    assert forth.value * back.value == pytest.approx(1.0)
    assert (forth.low * back.high, forth.high * back.low) == pytest.approx((1.0, 1.0))
    assert forth.low <= forth.value <= forth.high or forth.value == pytest.approx(forth.low)


@given(st.lists(seconds, min_size=1, max_size=20))
def test_a_thing_over_itself_has_speedup_one(values: list[float]) -> None:
    result = ratio(timing(*values), timing(*values))
    assert (result.value, result.low, result.high) == (1.0, 1.0, 1.0)


def test_one_contended_timing_makes_the_ratio_uncertified_and_says_which() -> None:
    result = ratio(timing(1.0, 1.0), timing(1.0, 1.0, cpu_share=0.5))
    assert not result.quiet
    assert result.reason is not None
    assert result.reason.startswith("candidate: not certified: CPU time was 0.50")
    assert ratio(timing(1.0), timing(1.0)).quiet


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 7, 9])
def test_the_coverage_of_the_interval_is_that_of_all_sign_patterns(n: int) -> None:
    low, high, coverage = median_interval(np.arange(n, dtype=float))
    below = int(low)  # values 0..n-1, so the bounds are ranks; the median lies outside if too few are on one side
    outside = sum(sum(signs) <= below or n - sum(signs) <= below for signs in itertools.product((0, 1), repeat=n))
    assert high == n - 1 - low
    assert coverage == pytest.approx(max(0.0, 1 - outside / 2**n))


def test_the_interval_is_the_narrowest_that_reaches_the_confidence() -> None:
    assert median_interval(np.arange(5.0))[::2] == (0.0, pytest.approx(0.9375))  # too few values: the full range
    assert median_interval(np.arange(6.0))[:2] == (0.0, 5.0)
    assert median_interval(np.arange(9.0))[:2] == (1.0, 7.0)  # textbook: n = 9, ranks 2 and 8, 96.1 %
    assert median_interval(np.arange(9.0))[2] == pytest.approx(0.9609375)
    assert median_interval(np.arange(9.0), confidence=0.49)[:2] == (3.0, 5.0)


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for sample in rng.lognormal(sigma=2.0, size=(4000, 9)):
        low, high, _ = median_interval(sample)
        hits += low <= 1.0 <= high
    assert hits / 4000 == pytest.approx(0.961, abs=4 * math.sqrt(0.961 * 0.039 / 4000))


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_an_interval_of_nothing_or_of_no_numbers_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="expected one or more finite values"):
        median_interval(values)


def test_impossible_comparisons_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one candidate"):
        interleaved({})
    with pytest.raises(ValueError, match="rounds must be at least 1; got 0"):
        interleaved({"a": lambda: None}, rounds=0)
    with pytest.raises(ValueError, match="baseline has 1, candidate 2"):
        ratio(timing(1.0), timing(1.0, 1.0))
    with pytest.raises(ValueError, match=r"different threads.*baseline 1, candidate 2"):
        ratio(timing(1.0), timing(1.0, threads=2))
    with pytest.raises(ValueError, match=r"confidence must lie in \(0, 1\); got 95"):
        ratio(timing(1.0), timing(1.0), confidence=95)
