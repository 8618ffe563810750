"""The bounds of a whole whose stages become faster: closed forms, limits and inequalities."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.measurement.amdahl import pipelined_speedup, serial_speedup

NAMES = ("load", "compute", "update")
positive = st.floats(1e-3, 1e3)
times = st.fixed_dictionaries(dict.fromkeys(NAMES, positive))
factors = st.fixed_dictionaries(dict.fromkeys(NAMES, st.floats(1.0, 1e6)))


def shares_of(seconds: dict[str, float]) -> dict[str, float]:
    total = sum(seconds.values())
    return {name: value / total for name, value in seconds.items()}


def test_a_layer_that_becomes_faster_gives_what_its_share_allows() -> None:
    """A layer of a fifth of the time, 1.3 times as fast: 1 / (0.8 + 0.2 / 1.3) = 1.0484, and not 1.3."""
    assert serial_speedup({"layer": 0.2, "rest": 0.8}, {"layer": 1.3}) == pytest.approx(13 / 12.4)
    assert pipelined_speedup({"layer": 0.2, "rest": 0.8}, {"layer": 1.3}) == 1.0


def test_half_of_the_time_twice_as_fast() -> None:
    assert serial_speedup({"a": 0.5, "b": 0.5}, {"a": 2.0}) == pytest.approx(4 / 3)


def test_the_next_stage_limits_a_pipeline() -> None:
    assert pipelined_speedup({"load": 6.0, "compute": 4.0}, {"load": 1.2}) == pytest.approx(1.2)
    assert pipelined_speedup({"load": 6.0, "compute": 4.0}, {"load": 100.0}) == 1.5
    assert pipelined_speedup({"load": 6.0, "compute": 4.0}, {"load": 3.0, "compute": 2.0}) == 3.0


@given(times)
def test_nothing_made_faster_changes_nothing(seconds: dict[str, float]) -> None:
    assert serial_speedup(shares_of(seconds), {}) == pytest.approx(1.0)
    assert pipelined_speedup(seconds, {}) == 1.0


@given(times, positive)
def test_all_stages_alike_give_their_common_factor(seconds: dict[str, float], factor: float) -> None:
    everywhere = dict.fromkeys(NAMES, factor)
    assert serial_speedup(shares_of(seconds), everywhere) == pytest.approx(factor)
    assert pipelined_speedup(seconds, everywhere) == pytest.approx(factor)


@given(times)
def test_a_stage_that_vanishes_leaves_the_others(seconds: dict[str, float]) -> None:
    rest = [seconds[name] for name in NAMES[1:]]
    gone = {"load": math.inf}
    assert serial_speedup(shares_of(seconds), gone) == pytest.approx(sum(seconds.values()) / sum(rest))
    assert pipelined_speedup(seconds, gone) == pytest.approx(max(seconds.values()) / max(rest))


def test_nothing_left_is_infinitely_fast() -> None:
    assert serial_speedup({"a": 1.0}, {"a": math.inf}) == math.inf
    assert pipelined_speedup({"a": 1.0, "b": 0.0}, {"a": math.inf}) == math.inf


@given(times, st.sampled_from(NAMES), st.floats(1.0, 1e9))
def test_one_stage_gives_no_more_than_its_removal(seconds: dict[str, float], stage: str, factor: float) -> None:
    shares = shares_of(seconds)
    assert serial_speedup(shares, {stage: factor}) <= (1 + 1e-9) / (1 - shares[stage])
    assert pipelined_speedup(seconds, {stage: factor}) <= pipelined_speedup(seconds, {stage: math.inf})


@given(times, factors)
def test_the_whole_lies_between_one_and_the_fastest_stage(seconds: dict[str, float], given: dict[str, float]) -> None:
    for found in (serial_speedup(shares_of(seconds), given), pipelined_speedup(seconds, given)):
        assert 1 - 1e-9 <= found <= max(given.values()) * (1 + 1e-9)


@given(times, factors, st.sampled_from(NAMES), st.floats(1.0, 100.0))
def test_a_larger_factor_is_never_slower(
    seconds: dict[str, float], given: dict[str, float], stage: str, more: float
) -> None:
    larger = given | {stage: given[stage] * more}
    shares = shares_of(seconds)
    assert serial_speedup(shares, larger) >= serial_speedup(shares, given) * (1 - 1e-9)
    assert pipelined_speedup(seconds, larger) >= pipelined_speedup(seconds, given)


@given(times, factors)
def test_both_agree_with_sums_and_maxima_of_the_times(seconds: dict[str, float], given: dict[str, float]) -> None:
    after = [seconds[name] / given[name] for name in NAMES]
    assert serial_speedup(shares_of(seconds), given) == pytest.approx(sum(seconds.values()) / sum(after))
    assert pipelined_speedup(seconds, given) == pytest.approx(max(seconds.values()) / max(after))


@pytest.mark.parametrize("compute", [serial_speedup, pipelined_speedup])
def test_what_is_no_stage_or_no_factor_is_refused(compute: object) -> None:
    assert callable(compute)
    with pytest.raises(ValueError, match="at least one stage"):
        compute({}, {})
    with pytest.raises(ValueError, match="not negative"):
        compute({"a": 1.5, "b": -0.5}, {})
    with pytest.raises(ValueError, match="finite"):
        compute({"a": math.nan}, {})
    with pytest.raises(ValueError, match=r"\['c'\], which are no stages"):
        compute({"a": 1.0}, {"c": 2.0})
    for factor in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="factors must be above 0"):
            compute({"a": 1.0}, {"a": factor})


def test_shares_that_are_not_the_whole_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sum to 0\.9"):
        serial_speedup({"a": 0.5, "b": 0.4}, {})


def test_stages_without_time_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one stage must take time"):
        pipelined_speedup({"a": 0.0, "b": 0.0}, {})
