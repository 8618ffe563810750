"""MLPerf's two rules for a handful of runs: the Olympic mean, and a test for convergence that is too good to be true.

    Olympic mean    leave out the fastest and the slowest run, average the rest; one run that missed may be the slowest
    too good        one-sided Welch test: do the runs need fewer steps than the reference does, beyond chance?
    normalisation   times are multiplied by mean(reference) / mean(runs) where the runs need fewer steps

The second asks whether a speed-up of the steps to the target comes from something that was not declared: another
data order, a leaked test set, a different target. It is about steps or epochs to the target, never about seconds.

Source: MLCommons, MLPerf training rules, "run results" and "reference convergence points". Deviation: Welch's test,
which does not assume equal variances.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from paretorch.errors import InputError


def olympic_mean(times: Sequence[float]) -> float:
    """Mean without the smallest and the largest time; infinite if two runs or more missed.

    Args:
        times: one per run, at least three, infinite for a run that missed.

    Raises:
        InputError: fewer than three runs, or a time that is not positive.
    """
    if len(times) < 3 or not all(t > 0 for t in times):
        raise InputError(f"an Olympic mean needs at least three positive times, infinite for a miss, got {list(times)}")
    kept = sorted(times)[1:-1]
    return math.inf if math.isinf(kept[-1]) else math.fsum(kept) / len(kept)


@dataclass(frozen=True)
class Convergence:
    """Steps to the target against the reference's.

    Args:
        p_value: of the one-sided test; small = faster than the reference beyond chance.
        too_good: whether p is below the level.
        factor: what times are multiplied by, at least 1, so that a lucky set of runs gains nothing.
    """

    p_value: float
    too_good: bool
    factor: float


def too_good(steps: Sequence[float], reference: Sequence[float], *, level: float = 0.05) -> Convergence:
    """Whether runs converge implausibly fast.

    Args:
        steps: steps, epochs or samples to the target, one per run, at least two.
        reference: the same of the reference implementation at the same batch size, at least twice as many runs.
        level: p below which convergence counts as too good.

    Raises:
        InputError: too few runs, numbers that are not positive and finite, a level outside (0, 1), or no variation at
            all, so that there is nothing to test against.
    """
    if len(steps) < 2 or len(reference) < 2 * len(steps):
        raise InputError(
            f"needs at least two runs and twice as many of the reference, got {len(steps)} and {len(reference)}"
        )
    if not all(0 < v < math.inf for v in (*steps, *reference)):
        raise InputError(f"steps to the target must be positive and finite, got {list(steps)} and {list(reference)}")
    if not 0 < level < 1:
        raise InputError(f"level is a probability in (0, 1), got {level}")
    if len(set(steps)) == 1 and len(set(reference)) == 1:
        raise InputError(
            f"all runs took {steps[0]} and all reference runs {reference[0]}: without variation nothing can be tested. "
            "Evaluate more often, or use different seeds"
        )
    from scipy.stats import ttest_ind  # imported here: loading this module must stay light

    p_value = float(ttest_ind(steps, reference, equal_var=False, alternative="less").pvalue)
    ratio = (math.fsum(reference) / len(reference)) / (math.fsum(steps) / len(steps))
    return Convergence(p_value, p_value < level, max(1.0, ratio))
