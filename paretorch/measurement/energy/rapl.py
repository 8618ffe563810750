"""Energy of processor and memory from Intel's and AMD's running average power limit (RAPL) counters under Linux.

Domains overlap: psys (the whole platform) contains the packages, a package contains its core and uncore, and memory
(dram) lies outside the package and inside psys. Only one level is read, the widest there is, plus dram where that does
not contain it; the same counter offered through two interfaces (msr, mmio) is read once. The counters wrap around at
`max_energy_range_uj`, within minutes under load. Since 2020 Linux shows them to root only.
"""

from collections.abc import Callable, Collection
from pathlib import Path

from paretorch.measurement.energy.meter import CounterError, CounterMeter, EnergyCounter, EnergyMeter, NoMeter
from paretorch.measurement.timing import SYSTEM_CLOCK, Clock

SOURCE = "RAPL"
RESOLUTION_S = 0.001
POWERCAP = Path("/sys/class/powercap")

# widest first: name begins with -> what a reading of that level covers
_LEVELS = (("psys", "whole platform"), ("package", "processor packages"), ("core", "processor cores"))


def rapl_meter(*, root: Path = POWERCAP, without: Collection[str] = (), clock: Clock = SYSTEM_CLOCK) -> EnergyMeter:
    """A meter of this machine's processors and memory; where there is none, one that says why.

    Args:
        root: the folder of Linux's power capping. without: names of domains to leave out, such as "psys" or "dram"
            where a machine's counter of that name is dead or wrong.
    """
    domains = _domains(root, without)
    chosen: list[tuple[str, Path]] = []
    scope = ""
    for prefix, scope in _LEVELS:
        chosen = _named(domains, prefix)
        if chosen:
            if prefix == "core" and (uncore := _named(domains, "uncore")):
                chosen, scope = chosen + uncore, "processor cores and uncore"
            if prefix != "psys" and (memory := _named(domains, "dram")):
                chosen, scope = chosen + memory, f"{scope}, memory"
            break
    if not chosen:
        return NoMeter(source=SOURCE, reason=f"{root} shows no RAPL domain of a processor", clock=clock)
    counters = [
        EnergyCounter(name=f"{name} ({folder.name})", read_j=_reader(folder), wraps_at_j=_range_j(folder))
        for name, folder in chosen
    ]
    try:
        for counter in counters:
            counter.read_j()
    except CounterError as error:
        return NoMeter(source=SOURCE, reason=str(error), clock=clock)
    scope = f"{scope}: {', '.join(name for name, _ in chosen)}"
    return CounterMeter(counters, source=SOURCE, scope=scope, resolution_s=RESOLUTION_S, clock=clock)


def _domains(root: Path, without: Collection[str]) -> list[tuple[str, Path]]:
    """Name and folder of every domain of one interface; the memory-mapped one repeats what the other shows."""
    found: dict[str, list[tuple[str, Path]]] = {}
    for folder in sorted(root.glob("intel-rapl*:*")):
        file = folder / "name"
        if file.is_file():
            name = file.read_text(encoding="ascii", errors="replace").strip()
            if name not in without:
                found.setdefault(folder.name.partition(":")[0], []).append((name, folder))
    return found.get("intel-rapl") or next(iter(found.values()), [])


def _named(domains: list[tuple[str, Path]], prefix: str) -> list[tuple[str, Path]]:
    return [(name, folder) for name, folder in domains if name == prefix or name.startswith(f"{prefix}-")]


def _reader(folder: Path) -> Callable[[], float]:
    file = folder / "energy_uj"

    def read_j() -> float:
        try:
            return int(file.read_text(encoding="ascii")) / 1e6
        except PermissionError as error:
            raise CounterError(f"{file} is readable by root only; run as root or make it readable") from error
        except (OSError, ValueError) as error:
            raise CounterError(f"{file} cannot be read: {error}") from error

    return read_j


def _range_j(folder: Path) -> float | None:
    """Where the counter wraps around; None where the system does not tell."""
    try:
        return int((folder / "max_energy_range_uj").read_text(encoding="ascii")) / 1e6
    except (OSError, ValueError):  # then a counter that falls makes the reading unknown instead of wrong
        return None
