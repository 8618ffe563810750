import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.measurement.energy import EnergyReading, energy_ratio, footprint


def reading(joules: float | None = 600.0, seconds: float = 10.0, **other: Any) -> EnergyReading:
    given = {"source": "NVML", "scope": "GPU boards only: 1 x A", "includes": ("GPU 0 (A)",), "resolution_s": 0.1}
    return EnergyReading(
        joules=joules,
        seconds=seconds,
        reason=None if joules is not None else "insufficient resolution",
        **{**given, **other},  # type: ignore[arg-type]
    )


def test_active_energy_is_gross_energy_without_idling_just_as_long() -> None:
    idle = reading(90.0, 3.0)  # 30 W
    work = reading(600.0, 10.0).with_idle(idle)
    assert (work.joules, work.mean_w, work.idle_w, work.active_j) == (600.0, 60.0, 30.0, 300.0)
    assert reading().active_j is None  # idling was not measured
    assert reading(200.0).with_idle(idle).active_j == -100.0  # not hidden: the idle power was too high


def test_an_unknown_energy_has_a_reason_and_a_known_one_has_none() -> None:
    unknown = reading(None)
    assert (unknown.active_j, unknown.mean_w) == (None, None)
    with pytest.raises(ValueError, match=r"either joules or a reason why not; got None and None"):
        EnergyReading(source="NVML", scope="s", includes=(), seconds=1.0, joules=None)
    with pytest.raises(ValueError, match=r"either joules or a reason why not; got 3.0 and 'why'"):
        EnergyReading(source="NVML", scope="s", includes=(), seconds=1.0, joules=3.0, reason="why")
    with pytest.raises(ValueError, match=r"the idle power is unknown: insufficient resolution"):
        reading().with_idle(unknown)


@pytest.mark.parametrize("field", ["seconds", "joules", "idle_w"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_impossible_figures_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"EnergyReading.{field} must be a finite number of at least 0"):
        reading(**{field: value})


@pytest.mark.parametrize(("field", "other"), [("source", "RAPL"), ("scope", "GPU boards only: 2 x A")])
def test_different_sources_or_scopes_are_neither_compared_nor_added(field: str, other: str) -> None:
    one, two = reading(), reading(**{field: other})
    for refuse in (lambda: energy_ratio(one, two), lambda: one.plus(two), lambda: one.with_idle(two)):
        with pytest.raises(ValueError, match=rf"only at equal {field}; got '.*' and '{other}'"):
            refuse()


def test_a_modelled_figure_is_never_compared_with_a_measured_one() -> None:
    with pytest.raises(ValueError, match="'NVML' and 'modelled'"):
        energy_ratio(reading(), reading(source="modelled"))


def test_the_ratio_is_above_one_for_a_candidate_that_needs_less() -> None:
    idle = reading(30.0, 1.0)
    dense, sparse = reading(600.0, 10.0).with_idle(idle), reading(300.0, 5.0).with_idle(idle)
    assert energy_ratio(dense, sparse) == 2.0
    quick = reading(450.0, 10.0).with_idle(idle)
    assert energy_ratio(dense, quick) == 600 / 450
    assert energy_ratio(dense, quick, active=True) == 300 / 150  # idling hides part of the saving
    with pytest.raises(ValueError, match="the candidate's energy is unknown: insufficient resolution"):
        energy_ratio(dense, reading(None))
    with pytest.raises(ValueError, match="the baseline's energy is unknown: its idle power was not measured"):
        energy_ratio(reading(), sparse, active=True)
    with pytest.raises(ValueError, match=r"the candidate's is 0 J"):
        energy_ratio(dense, reading(300.0, 10.0).with_idle(idle), active=True)


def test_windows_of_a_run_that_was_resumed_add_up() -> None:
    total = reading(100.0, 4.0).plus(reading(50.0, 1.0))
    assert (total.joules, total.seconds) == (150.0, 5.0)
    partly = total.plus(reading(None, 2.0))
    assert (partly.joules, partly.seconds, partly.reason) == (None, 7.0, "insufficient resolution")
    with pytest.raises(ValueError, match=r"one idle power; got None and 60.0 W"):
        reading().plus(reading().with_idle(reading()))


@given(
    st.none() | st.floats(0, 1e9),
    st.floats(0, 1e6),
    st.none() | st.floats(0, 1e3),
    st.lists(st.text(max_size=5), max_size=3),
)
def test_json_gives_back_an_equal_reading(
    joules: float | None, seconds: float, idle_w: float | None, includes: list[str]
) -> None:
    one = reading(joules, seconds, idle_w=idle_w, includes=tuple(includes))
    assert EnergyReading.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def test_a_dictionary_that_is_no_reading_is_refused() -> None:
    with pytest.raises(ValueError, match="no field 'joule'; did you mean 'joules'"):
        EnergyReading.from_dict({**reading().to_dict(), "joule": 3.0})
    with pytest.raises(ValueError, match=r"incomplete: .*'seconds'"):
        EnergyReading.from_dict({key: value for key, value in reading().to_dict().items() if key != "seconds"})


def test_carbon_and_money_come_from_figures_that_were_given() -> None:
    print_ = footprint(reading(3.6e6, 7200.0), pue=1.5, g_per_kwh=400.0, price_per_kwh=0.3, price_per_hour=2.5)
    assert (print_.kwh, print_.facility_kwh, print_.co2e_g) == (1.0, 1.5, 600.0)
    assert (print_.electricity, print_.rental) == (pytest.approx(0.45), 5.0)


def test_what_was_not_given_stays_unknown() -> None:
    nothing = footprint(reading(3.6e6))
    assert nothing.kwh == 1.0
    assert (nothing.facility_kwh, nothing.co2e_g, nothing.electricity, nothing.rental) == (None, None, None, None)
    assert footprint(reading(3.6e6), g_per_kwh=400.0).co2e_g is None  # no PUE is assumed
    assert footprint(reading(3.6e6), pue=1.0, g_per_kwh=400.0).co2e_g == 400.0
    unknown = footprint(reading(None, 3600.0), pue=1.2, g_per_kwh=400.0, price_per_kwh=0.3, price_per_hour=2.0)
    assert (unknown.kwh, unknown.co2e_g, unknown.electricity, unknown.rental) == (None, None, None, 2.0)


@pytest.mark.parametrize(
    ("name", "value", "least"), [("pue", 0.9, 1), ("g_per_kwh", -1.0, 0), ("price_per_hour", math.nan, 0)]
)
def test_factors_that_cannot_be_are_refused(name: str, value: float, least: int) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be a finite number of at least {least}"):
        footprint(reading(), **{name: value})
