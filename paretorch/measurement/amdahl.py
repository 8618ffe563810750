"""How much faster the whole becomes when some of its stages do: the bounds that no prediction may exceed.

    one after the other:  S = 1 / sum_i (f_i / k_i)             f_i shares of the time, k_i factors
    side by side:         S = max_i t_i / max_i (t_i / k_i)     t_i seconds

A stage that vanishes (k = inf) leaves 1 / (1 - f) and max t / max of the others: with a share of 0.1, no method makes
the whole more than 1.11 times as fast.

Source: G. M. Amdahl, "Validity of the single processor approach to achieving large scale computing capabilities",
AFIPS 1967. The second is the throughput of a pipeline, which its slowest stage sets.
"""

import math
from collections.abc import Mapping


def serial_speedup(shares: Mapping[str, float], factors: Mapping[str, float]) -> float:
    """How many times as fast stages become together that run one after the other.

    Args:
        shares: of the time, by stage; they sum to 1.
        factors: how many times as fast a stage becomes, above 0 and possibly infinite; a stage that is not named
            keeps its time.

    Returns:
        The ratio of times before and after; infinite if nothing is left.

    Raises:
        ValueError: shares that are negative or do not sum to 1, a factor of a stage that has no share, one that is
            not above 0.
    """
    _check(shares, factors, "shares")
    total = math.fsum(shares.values())
    if not math.isclose(total, 1.0, abs_tol=1e-6):
        raise ValueError(f"shares of the time must sum to 1; got {dict(shares)}, which sum to {total:g}.")
    after = math.fsum(share / factors.get(stage, 1.0) for stage, share in shares.items())
    return total / after if after > 0 else math.inf


def pipelined_speedup(times: Mapping[str, float], factors: Mapping[str, float]) -> float:
    """How many times as fast stages become together that run side by side, each on the next piece of work.

    Args:
        times: seconds of each stage for one piece of work.
        factors: as in `serial_speedup`.

    Returns:
        The ratio of the slowest stage's times before and after; infinite if nothing is left.

    Raises:
        ValueError: times that are negative or all 0, a factor of a stage that has no time, one that is not above 0.
    """
    _check(times, factors, "times")
    before = max(times.values())
    if before == 0:
        raise ValueError(f"at least one stage must take time; got {dict(times)}.")
    after = max(seconds / factors.get(stage, 1.0) for stage, seconds in times.items())
    return before / after if after > 0 else math.inf


def _check(stages: Mapping[str, float], factors: Mapping[str, float], what: str) -> None:
    if not stages or not all(0 <= value < math.inf for value in stages.values()):
        raise ValueError(f"{what} must be finite, not negative, and of at least one stage; got {dict(stages)}.")
    if lost := sorted(set(factors) - set(stages)):
        raise ValueError(f"factors are given for {lost}, which are no stages; the stages are {sorted(stages)}.")
    if bad := {stage: factor for stage, factor in factors.items() if not factor > 0}:
        raise ValueError(f"factors must be above 0 (2 is twice as fast, inf removes the stage); got {bad}.")
