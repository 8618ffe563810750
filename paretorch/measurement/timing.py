"""Time a callable: warm-up calls, then repeated calls until enough seconds have passed, with every sample kept.

All timing logic reads one injectable `Clock`, so it can be tested without real time. Samples are wall seconds of one
call; CPU seconds of the whole process are read at the ends of each window only, so that reading them costs nothing.
"""

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from paretorch.measurement.noise import Verdict, noise_verdict

MIN_CALLS = 5  # fewer samples say nothing about a spread, however slow the call is
MAX_CALLS = 100_000  # bounds the memory of the samples when one call takes well under a microsecond


def system_load() -> float | None:
    """One-minute load average, or None where the system has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Clock:
    """What timing reads from the machine; replace all four in a test.

    wall, cpu: seconds, monotone; `cpu` counts all threads of this process. load: one-minute load average or None.
    cores: cores that this process may use.
    """

    wall: Callable[[], float] = time.perf_counter
    cpu: Callable[[], float] = time.process_time
    load: Callable[[], float | None] = system_load
    cores: Callable[[], int] = usable_cores


SYSTEM_CLOCK = Clock()


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The wall seconds of every timed call of one callable, by round, and what is needed to judge them.

    rounds: one tuple of samples per round (a plain timing has one round).
    wall_s, cpu_s: total wall and process CPU seconds of the timed windows.
    threads: intra-operator threads allowed. load, cores: as in `Clock`, read before the first call.
    on_cpu: False when the work ran on an accelerator, where CPU time says nothing.
    """

    rounds: tuple[tuple[float, ...], ...]
    wall_s: float
    cpu_s: float
    threads: int
    load: float | None = None
    cores: int | None = None
    on_cpu: bool = True

    @cached_property
    def samples_s(self) -> np.ndarray:
        """All samples, in the order taken; float64 `(n,)`."""
        return np.concatenate([np.asarray(samples, dtype=np.float64) for samples in self.rounds])

    @property
    def n(self) -> int:
        """Number of timed calls."""
        return sum(map(len, self.rounds))

    def quantile_s(self, q: float) -> float:
        """Quantile `q` in [0, 1] of the wall seconds of one call, linear between samples."""
        return float(np.quantile(self.samples_s, q))

    @property
    def p10_s(self) -> float:
        """10th percentile: what the call takes when nothing disturbs it."""
        return self.quantile_s(0.1)

    @property
    def p50_s(self) -> float:
        """Median."""
        return self.quantile_s(0.5)

    @property
    def p90_s(self) -> float:
        """90th percentile."""
        return self.quantile_s(0.9)

    @property
    def mean_s(self) -> float:
        """Mean; far above the median when some calls stalled."""
        return float(self.samples_s.mean())

    @property
    def round_p10_s(self) -> np.ndarray:
        """10th percentile of each round; float64 `(rounds,)`."""
        return np.array([np.quantile(samples, 0.1) for samples in self.rounds])

    @property
    def cpu_per_wall(self) -> float:
        """CPU seconds per wall second over the timed windows; about `threads` on a quiet machine."""
        return self.cpu_s / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def verdict(self) -> Verdict:
        """Whether the machine was quiet, and if not, why (see `noise`)."""
        return noise_verdict(
            mean_s=self.mean_s,
            median_s=self.p50_s,
            threads=self.threads,
            cpu_per_wall=self.cpu_per_wall if self.on_cpu else None,
            load=self.load if self.on_cpu else None,
            cores=self.cores,
        )

    @property
    def quiet(self) -> bool:
        """True when the timing may be certified."""
        return self.verdict.quiet

    @property
    def reason(self) -> str | None:
        """Why the timing may not be certified, or None."""
        return self.verdict.reason


@contextmanager
def thread_limit(threads: int) -> Iterator[None]:
    """Run the body with `threads` intra-operator threads and put the old number back, also after an error."""
    if threads < 1:
        raise ValueError(f"threads must be at least 1; got {threads}.")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def paused_collector() -> Iterator[None]:
    """Keep Python's garbage collector from running inside a timed window."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def time_window(
    call: Callable[[], object],
    *,
    seconds: float,
    min_calls: int,
    max_calls: int,
    clock: Clock,
    synchronize: Callable[[], None] | None,
) -> tuple[tuple[float, ...], float, float]:
    """Call until `seconds` have passed (at least `min_calls`, at most `max_calls` times).

    Returns:
        The wall seconds of each call, the wall seconds and the CPU seconds of the whole window.
    """
    samples: list[float] = []
    with paused_collector():
        if synchronize is not None:
            synchronize()  # work that was queued before must not be billed to the first call
        cpu_start = clock.cpu()
        start = last = clock.wall()
        while len(samples) < min_calls or (last - start < seconds and len(samples) < max_calls):
            begin = clock.wall()
            call()
            if synchronize is not None:
                synchronize()
            last = clock.wall()
            samples.append(last - begin)
        cpu_s = clock.cpu() - cpu_start
    return tuple(samples), last - start, cpu_s


def check_budget(*, seconds: float, warmup: int, min_calls: int, max_calls: int) -> None:
    """Refuse timing budgets that cannot be kept."""
    if not seconds >= 0:
        raise ValueError(f"seconds must be zero or more; got {seconds}.")
    if warmup < 0:
        raise ValueError(f"warmup is a number of untimed calls, zero or more; got {warmup}.")
    if not 1 <= min_calls <= max_calls:
        raise ValueError(f"expected 1 <= min_calls <= max_calls; got min_calls={min_calls}, max_calls={max_calls}.")


def time_calls(
    call: Callable[[], object],
    *,
    seconds: float = 0.5,
    warmup: int = 3,
    min_calls: int = MIN_CALLS,
    max_calls: int = MAX_CALLS,
    threads: int = 1,
    synchronize: Callable[[], None] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Timing:
    """Time one callable alone. To compare two callables use `interleaved`: separate timings drift apart.

    Args:
        call: what is timed; its result is dropped.
        seconds: stop once the timed calls have taken this long (wall).
        warmup: untimed calls before (compilation, caches, lazy initialisation).
        min_calls, max_calls: timed at least and at most this often, whatever `seconds` says.
        threads: intra-operator threads; the process's own setting is restored afterwards.
        synchronize: waits for an accelerator, for example `torch.cuda.synchronize`; None for work on the CPU.
        clock: where time is read.

    Returns:
        A `Timing` of one round.

    Raises:
        ValueError: an impossible budget or `threads` below 1.
    """
    check_budget(seconds=seconds, warmup=warmup, min_calls=min_calls, max_calls=max_calls)
    load, cores = clock.load(), clock.cores()
    with thread_limit(threads):
        for _ in range(warmup):
            call()
        samples, wall_s, cpu_s = time_window(
            call, seconds=seconds, min_calls=min_calls, max_calls=max_calls, clock=clock, synchronize=synchronize
        )
    return Timing(
        rounds=(samples,),
        wall_s=wall_s,
        cpu_s=cpu_s,
        threads=threads,
        load=load,
        cores=cores,
        on_cpu=synchronize is None,
    )
