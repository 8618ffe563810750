"""Meters: from counters of joules to the energy of a window, behind one interface.

A counter is read at both ends of a window and its differences are added over all devices; one that wraps around is
also read in between, often enough that no wrap is missed. A window shorter than the counter's period has no energy
that anybody could tell, so it gets None and never 0. Windows should take seconds and many training steps: sensors
average over about a tenth of a second to a second, and some look only part of the time.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from paretorch.measurement.energy.reading import EnergyReading
from paretorch.measurement.timing import SYSTEM_CLOCK, Clock

# No counter rises faster, so one read every half of wraps_at_j / MAX_POWER_W misses no wrap.
MAX_POWER_W = 4_000.0


class CounterError(RuntimeError):
    """A counter could not be read."""


@dataclass(frozen=True, kw_only=True)
class EnergyCounter:
    """name: what it measures. read_j: joules since some moment; raises `CounterError`. wraps_at_j: its range."""

    name: str
    read_j: Callable[[], float]
    wraps_at_j: float | None = None


@dataclass(kw_only=True)
class Window:
    """reading: the energy of a `with meter.window()` block, once it has ended."""

    reading: EnergyReading | None = None


class EnergyMeter(ABC):
    """Measures the energy of one window at a time.

    source: which counter, or "modelled". scope: what it covers, in words. includes: the parts that are added.
    resolution_s: period of the counter; None where it has none. reason: why it cannot measure; None when it can.
    """

    def __init__(
        self,
        *,
        source: str,
        scope: str,
        includes: Sequence[str] = (),
        resolution_s: float | None = None,
        reason: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.source = source
        self.scope = scope
        self.includes = tuple(includes)
        self.resolution_s = resolution_s
        self.reason = reason
        self._clock = clock
        self._started_s: float | None = None

    def start(self) -> None:
        """Begin a window.

        Raises:
            RuntimeError: one has begun and not ended.
        """
        if self._started_s is not None:
            raise RuntimeError("this meter is measuring already; stop() it first.")
        self._begin()
        self._started_s = self._clock.wall()

    def stop(self) -> EnergyReading:
        """End the window and tell its energy.

        Raises:
            RuntimeError: none has begun.
        """
        if self._started_s is None:
            raise RuntimeError("this meter is not measuring; start() it first.")
        self._finish()
        seconds = self._clock.wall() - self._started_s
        self._started_s = None
        joules, reason = self._energy(seconds)
        return EnergyReading(
            source=self.source,
            scope=self.scope,
            includes=self.includes,
            seconds=seconds,
            joules=joules,
            resolution_s=self.resolution_s,
            reason=reason,
        )

    @contextmanager
    def window(self) -> Iterator[Window]:
        """Measure the block; its `reading` is there afterwards, also after an error."""
        window = Window()
        self.start()
        try:
            yield window
        finally:
            window.reading = self.stop()

    def _begin(self) -> None:  # noqa: B027 - meters without a counter have nothing to do
        """Just before the window."""

    def _finish(self) -> None:  # noqa: B027
        """Just before its end is timed."""

    @abstractmethod
    def _energy(self, seconds: float) -> tuple[float | None, str | None]:
        """Joules of the window, or None and why."""


class NoMeter(EnergyMeter):
    """Stands for a counter that this machine does not have or does not show; its readings say why."""

    def __init__(self, *, source: str, reason: str, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(source=source, scope="nothing", reason=reason, clock=clock)

    def _energy(self, seconds: float) -> tuple[float | None, str | None]:
        return None, self.reason


class ModelledMeter(EnergyMeter):
    """A constant power that you give, times the seconds; its source is "modelled", so it is never taken for measured.

    power_w: watts. scope: what the power stands for, in words.
    """

    def __init__(self, power_w: float, *, scope: str, clock: Clock = SYSTEM_CLOCK) -> None:
        if not 0 < power_w < float("inf"):
            raise ValueError(f"power_w must be a positive number of watts; got {power_w!r}.")
        super().__init__(source="modelled", scope=scope, includes=[f"{power_w:g} W as given"], clock=clock)
        self._power_w = power_w

    def _energy(self, seconds: float) -> tuple[float | None, str | None]:
        return self._power_w * seconds, None


class CounterMeter(EnergyMeter):
    """The sum of counters that do not overlap.

    synchronize: waits for queued work at both ends of a window; None where there is none.
    """

    def __init__(
        self,
        counters: Sequence[EnergyCounter],
        *,
        source: str,
        scope: str,
        resolution_s: float,
        synchronize: Callable[[], None] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if not counters:
            raise ValueError("a meter needs at least one counter.")
        names = [counter.name for counter in counters]
        super().__init__(source=source, scope=scope, includes=names, resolution_s=resolution_s, clock=clock)
        self._counters = tuple(counters)
        self._synchronize = synchronize
        wraps = [counter.wraps_at_j for counter in counters if counter.wraps_at_j is not None]
        self._poll_s = min(wraps) / MAX_POWER_W / 2 if wraps else None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._poller: threading.Thread | None = None
        self._last: list[float] = []
        self._sums: list[float] = []
        self._broken: str | None = None

    def sample(self) -> None:
        """Read the counters now; done by itself as often as their wrap-around needs."""
        with self._lock:
            if self._broken is not None or self._over.is_set():
                return
            try:
                values = [counter.read_j() for counter in self._counters]
            except CounterError as error:
                self._broken = str(error)
                return
            for i, (counter, value, last) in enumerate(zip(self._counters, values, self._last, strict=True)):
                risen = value - last
                if risen < 0 and counter.wraps_at_j is not None:
                    risen += counter.wraps_at_j
                if risen < 0:
                    self._broken = f"the counter of {counter.name} went backwards"
                    return
                self._sums[i] += risen
            self._last = values

    def _begin(self) -> None:
        if self._synchronize is not None:
            self._synchronize()
        self._sums = [0.0] * len(self._counters)
        self._over = threading.Event()
        self._broken = None
        try:
            self._last = [counter.read_j() for counter in self._counters]
        except CounterError as error:
            self._broken = str(error)
            return
        if self._poll_s is not None:
            self._poller = threading.Thread(target=self._poll, args=(self._poll_s,), daemon=True)
            self._poller.start()

    def _poll(self, period_s: float) -> None:
        while not self._over.wait(period_s):
            self.sample()

    def _finish(self) -> None:
        if self._synchronize is not None:
            self._synchronize()
        self.sample()
        self._over.set()
        if self._poller is not None:
            self._poller.join()
            self._poller = None

    def _energy(self, seconds: float) -> tuple[float | None, str | None]:
        if self._broken is not None:
            return None, self._broken
        if self.resolution_s is not None and seconds < self.resolution_s:
            return None, (
                f"insufficient resolution: the window of {seconds:g} s is shorter than the counter's period of "
                f"{self.resolution_s:g} s"
            )
        for counter, joules in zip(self._counters, self._sums, strict=True):
            if joules == 0:
                return None, f"insufficient resolution: the counter of {counter.name} did not move in {seconds:g} s"
        return sum(self._sums), None
