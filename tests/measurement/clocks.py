"""A clock that only moves when told, so that no test of timing depends on real time."""

from collections.abc import Callable
from dataclasses import dataclass, field

from paretorch.measurement.timing import Clock


@dataclass
class FakeMachine:
    """Wall and CPU seconds advance by what `work` says; `log` keeps the order of the calls."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    load: float | None = 0.3
    cores: int = 2
    log: list[str] = field(default_factory=list)

    @property
    def clock(self) -> Clock:
        return Clock(wall=lambda: self.wall_s, cpu=lambda: self.cpu_s, load=lambda: self.load, cores=lambda: self.cores)

    def pass_time(self, wall_s: float, *, share: float = 1.0) -> None:
        self.wall_s += wall_s
        self.cpu_s += wall_s * share

    def work(self, name: str, *wall_s: float, share: float = 1.0) -> Callable[[], None]:
        """A callable whose i-th call takes the i-th of `wall_s`, cyclically, with `share` CPU seconds per second."""
        calls = 0

        def call() -> None:
            nonlocal calls
            self.log.append(name)
            self.pass_time(wall_s[calls % len(wall_s)], share=share)
            calls += 1

        return call
