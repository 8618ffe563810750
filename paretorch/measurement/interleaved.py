"""Compare the time of several callables in one process: rounds that alternate their order, paired ratios per round.

Absolute latency drifts by tens of per cent between runs minutes apart, so only ratios taken side by side are worth
quoting:

    r_i     = p10(baseline, round i) / p10(candidate, round i)        > 1: the candidate is faster
    speedup = median over rounds of r_i, with the interval [r_(k), r_(n+1-k)] of order statistics, whose coverage of
              the median is 1 - 2 P(Binomial(n, 1/2) < k) for any distribution.

Source of the interval: the sign test; W. R. Thompson, "On confidence ranges for the median", Ann. Math. Stat. 1936.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from paretorch.measurement.timing import (
    MAX_CALLS,
    MIN_CALLS,
    SYSTEM_CLOCK,
    Clock,
    Timing,
    check_budget,
    thread_limit,
    time_window,
)


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A measured time ratio baseline / candidate, above 1 when the candidate is faster.

    value: median of the paired per-round ratios. low, high: interval for that median. n: rounds.
    coverage: probability with which [low, high] holds the median if rounds are independent; below the one asked for
        when there are too few rounds (95 % needs 6). quiet, reason: False and why when a timing is not certified.
    """

    value: float
    low: float
    high: float
    n: int
    coverage: float
    quiet: bool
    reason: str | None


def interleaved(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 7,
    min_seconds: float = 0.1,
    warmup: int = 3,
    min_calls: int = MIN_CALLS,
    threads: int = 1,
    synchronize: Callable[[], None] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> dict[str, Timing]:
    """Time every candidate once per round; odd rounds (counting from 0) run in the reverse order.

    Args:
        candidates: callables by name; put the baseline first.
        rounds: at least 1; 6 or more for a 95 % interval of the ratio.
        min_seconds: wall seconds per candidate and round.
        warmup: untimed calls of each candidate before the first round.
        min_calls: timed calls per candidate and round, at least.
        threads, synchronize, clock: as in `time_calls`.

    Returns:
        One `Timing` of `rounds` rounds per name, in the order given.

    Raises:
        ValueError: no candidates, fewer than one round, an impossible budget.
    """
    if not candidates:
        raise ValueError("interleaved needs at least one candidate; got an empty mapping.")
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1; got {rounds}.")
    check_budget(seconds=min_seconds, warmup=warmup, min_calls=min_calls, max_calls=MAX_CALLS)
    names = list(candidates)
    samples: dict[str, list[tuple[float, ...]]] = {name: [] for name in names}
    wall_s = dict.fromkeys(names, 0.0)
    cpu_s = dict.fromkeys(names, 0.0)
    load, cores = clock.load(), clock.cores()
    with thread_limit(threads):
        for name in names:
            for _ in range(warmup):
                candidates[name]()
        for index in range(rounds):
            for name in reversed(names) if index % 2 else names:
                window, wall, cpu = time_window(
                    candidates[name],
                    seconds=min_seconds,
                    min_calls=min_calls,
                    max_calls=MAX_CALLS,
                    clock=clock,
                    synchronize=synchronize,
                )
                samples[name].append(window)
                wall_s[name] += wall
                cpu_s[name] += cpu
    return {
        name: Timing(
            rounds=tuple(samples[name]),
            wall_s=wall_s[name],
            cpu_s=cpu_s[name],
            threads=threads,
            load=load,
            cores=cores,
            on_cpu=synchronize is None,
        )
        for name in names
    }


def median_interval(values: Sequence[float] | np.ndarray, *, confidence: float = 0.95) -> tuple[float, float, float]:
    """Distribution-free interval for the median of independent values.

    Returns:
        low, high and the coverage reached: the narrowest symmetric pair of order statistics that reaches
        `confidence`, or the full range with its smaller coverage when there are too few values. n = 1 has coverage 0.

    Raises:
        ValueError: no values, a value that is not finite, or a confidence outside (0, 1).
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = ordered.size
    if n == 0 or not np.isfinite(ordered).all():
        raise ValueError(f"expected one or more finite values; got {list(values)}.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1); got {confidence}.")
    tail, drop, coverage = 0.0, 0, 0.0
    for k in range(n // 2 + n % 2):  # k values are dropped at either end
        tail += math.comb(n, k) / 2**n
        if k and 1 - 2 * tail < confidence:
            break
        drop, coverage = k, max(0.0, 1 - 2 * tail)
    return float(ordered[drop]), float(ordered[n - 1 - drop]), coverage


def ratio(baseline: Timing, candidate: Timing, *, confidence: float = 0.95) -> Ratio:
    """Speed-up of `candidate` over `baseline`, both from one call of `interleaved`.

    The median is taken of the logarithms, so that exchanging the two gives exactly the reciprocal.

    Returns:
        A `Ratio`; `quiet` only when both timings are.

    Raises:
        ValueError: the timings differ in rounds, threads or kind of device, so they cannot be paired.
    """
    for field in ("threads", "on_cpu"):
        if getattr(baseline, field) != getattr(candidate, field):
            raise ValueError(
                f"timings with different {field} cannot be divided: baseline {getattr(baseline, field)}, candidate "
                f"{getattr(candidate, field)}. Time both in one call of interleaved."
            )
    if len(baseline.rounds) != len(candidate.rounds):
        raise ValueError(
            f"paired ratios need equal rounds: baseline has {len(baseline.rounds)}, candidate {len(candidate.rounds)}. "
            "Time both in one call of interleaved."
        )
    logs = np.log(baseline.round_p10_s) - np.log(candidate.round_p10_s)
    low, high, coverage = median_interval(logs, confidence=confidence)
    reasons = [
        f"{name}: {timing.reason}"
        for name, timing in (("baseline", baseline), ("candidate", candidate))
        if timing.reason is not None
    ]
    return Ratio(
        value=math.exp(float(np.median(logs))),
        low=math.exp(low),
        high=math.exp(high),
        n=len(baseline.rounds),
        coverage=coverage,
        quiet=not reasons,
        reason="; ".join(reasons) or None,
    )
