"""Energy of one window: joules with the counter they come from and what it covers, or None and the reason.

    gross    E = end of window - start of window, all counters of the scope added
    active   E - P_idle T          what the work cost beyond a machine that idles just as long
    mean power                     E / T

A figure without source and scope misleads: the GPU's counter leaves out processor, memory and power supply, so figures
of different sources or scopes are never compared or added.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EnergyReading:
    """Energy of `seconds` wall seconds.

    source: which counter, or "modelled". scope: what it covers, in words. includes: the parts that were added.
    resolution_s: period of the counter; None where it has none. joules: gross energy; None when unknown, and `reason`
    then says why. idle_w: mean power of the same scope at rest, where it was measured.
    """

    source: str
    scope: str
    includes: tuple[str, ...]
    seconds: float
    joules: float | None
    resolution_s: float | None = None
    idle_w: float | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        for name in ("seconds", "joules", "resolution_s", "idle_w"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"EnergyReading.{name} must be a finite number of at least 0; got {value!r}.")
        if (self.joules is None) != (self.reason is not None):
            raise ValueError(
                f"an EnergyReading has either joules or a reason why not; got {self.joules!r} and {self.reason!r}."
            )

    @property
    def active_j(self) -> float | None:
        """Joules beyond idling; None unless both are known. Below zero, the idle power was measured too high."""
        if self.joules is None or self.idle_w is None:
            return None
        return self.joules - self.idle_w * self.seconds

    @property
    def mean_w(self) -> float | None:
        """Mean power; None when unknown."""
        return self.joules / self.seconds if self.joules is not None and self.seconds else None

    def with_idle(self, idle: "EnergyReading") -> "EnergyReading":
        """This reading with the idle power of another, taken while the machine rested.

        Raises:
            ValueError: another source or scope, or the idle power is unknown.
        """
        check_comparable(self, idle)
        if idle.mean_w is None:
            raise ValueError(f"the idle power is unknown: {idle.reason or 'the window took no time'}.")
        return replace(self, idle_w=idle.mean_w)

    def plus(self, later: "EnergyReading") -> "EnergyReading":
        """Two windows of the same meter together; unknown when one of them is.

        Raises:
            ValueError: another source or scope, or another idle power.
        """
        check_comparable(self, later)
        if self.idle_w != later.idle_w:
            raise ValueError(f"two windows can be added at one idle power; got {self.idle_w} and {later.idle_w} W.")
        known = self.joules is not None and later.joules is not None
        return replace(
            self,
            seconds=self.seconds + later.seconds,
            joules=(self.joules or 0.0) + (later.joules or 0.0) if known else None,
            reason=None if known else self.reason or later.reason,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values only; `EnergyReading.from_dict` gives back an equal object."""
        return {**asdict(self), "includes": list(self.includes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EnergyReading":
        """Read what `to_dict` wrote.

        Raises:
            ValueError: an unknown key (the nearest known one is named), a missing one, or a value that cannot be.
        """
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}."
                raise ValueError(f"EnergyReading has no field {key!r}; {hint}")
        try:
            return cls(**{**values, "includes": tuple(values.get("includes", ()))})
        except TypeError as error:  # a required field is missing; dataclasses name it in the message
            raise ValueError(f"the energy reading is incomplete: {error}") from error


def check_comparable(one: EnergyReading, other: EnergyReading) -> None:
    """Refuse two readings that do not measure the same thing.

    Raises:
        ValueError: another source or scope.
    """
    for field in ("source", "scope"):
        mine, its = getattr(one, field), getattr(other, field)
        if mine != its:
            raise ValueError(
                f"energy can be compared only at equal {field}; got {mine!r} and {its!r}. Measure both with one meter."
            )


def energy_ratio(baseline: EnergyReading, candidate: EnergyReading, *, active: bool = False) -> float:
    """Joules of the baseline over those of the candidate; above 1 the candidate needs less.

    Args:
        active: compare the energy beyond idling instead of the gross energy.

    Raises:
        ValueError: different source or scope, an unknown figure, or one that is not above zero.
    """
    check_comparable(baseline, candidate)
    values = []
    for name, reading in (("baseline", baseline), ("candidate", candidate)):
        value = reading.active_j if active else reading.joules
        if value is None:
            why = reading.reason or "its idle power was not measured; see with_idle"
            raise ValueError(f"the {name}'s energy is unknown: {why}.")
        if value <= 0:
            raise ValueError(f"an energy ratio needs figures above zero; the {name}'s is {value:g} J.")
        values.append(value)
    return values[0] / values[1]


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What energy means outside the machine; everything that needs a figure nobody gave is None.

    kwh: at the counters. facility_kwh: with the building's overhead (PUE). co2e_g: grams of CO2 equivalent.
    electricity: price of facility_kwh. rental: price of the time. Both in the currency of the prices given.
    """

    kwh: float | None
    facility_kwh: float | None
    co2e_g: float | None
    electricity: float | None
    rental: float | None


def footprint(
    reading: EnergyReading,
    *,
    pue: float | None = None,
    g_per_kwh: float | None = None,
    price_per_kwh: float | None = None,
    price_per_hour: float | None = None,
) -> Footprint:
    """Energy as CO2 equivalent and money, from figures that you give; there are no defaults to guess from.

        facility_kwh = pue joules / 3.6e6        co2e_g = g_per_kwh facility_kwh

    Args:
        reading: gross energy; its scope is not widened, so the figures leave out what the counter leaves out.
        pue: facility energy over machine energy, 1 or more (1 for a machine at home). g_per_kwh: carbon intensity of
            the electricity. price_per_kwh: of electricity. price_per_hour: of the machine.

    Raises:
        ValueError: a figure below zero, or a PUE below 1.
    """
    given = {"pue": pue, "g_per_kwh": g_per_kwh, "price_per_kwh": price_per_kwh, "price_per_hour": price_per_hour}
    for name, value in given.items():
        least = 1.0 if name == "pue" else 0.0
        if value is not None and not (math.isfinite(value) and value >= least):
            raise ValueError(f"{name} must be a finite number of at least {least:g}; got {value!r}.")
    kwh = None if reading.joules is None else reading.joules / 3.6e6
    facility_kwh = _product(kwh, pue)
    return Footprint(
        kwh=kwh,
        facility_kwh=facility_kwh,
        co2e_g=_product(facility_kwh, g_per_kwh),
        electricity=_product(facility_kwh, price_per_kwh),
        rental=_product(reading.seconds / 3600, price_per_hour),
    )


def _product(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left * right
