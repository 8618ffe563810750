"""The time of a tuned submission: median over studies of the best of each study's trials.

    t = median_j min_i t_ij,     a trial that missed counts as infinite and enters the median

A study repeats the whole tuning: its trials draw their settings anew. The best trial is the one that reached the target
in the smallest time, not after the fewest evaluations, because trials need not be evaluated equally often.

Its interval resamples the trials of each study, takes the best of each, and the median over studies. It says how much
of the time is luck of the draw of settings; no resample can be earlier than the best trials that were run.

Source: MLCommons, AlgoPerf competition rules v0.6, "external tuning".
"""

from collections.abc import Sequence
from statistics import median

import numpy as np

from paretorch.errors import InputError
from paretorch.evidence.censored import TargetTime
from paretorch.evidence.resampling import RESAMPLES, percentile_interval
from paretorch.evidence.statistics import Interval

Studies = Sequence[Sequence[TargetTime]]
"""Per study, the times of all its trials."""


def study_time(studies: Studies) -> float:
    """Median over studies of the earliest hit among a study's trials; infinite if half of the studies or more miss.

    With an even number of studies the median is the mean of the middle two, so that exactly half missing is infinite.

    Args:
        studies: per study, the times of all its trials.

    Raises:
        InputError: no studies, a study without trials, or studies with different numbers of trials.
    """
    _check(studies)
    return median(min(trial.time for trial in trials) for trials in studies)


def study_interval(
    studies: Studies, *, generator: np.random.Generator, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """`study_time` with a percentile bootstrap over the trials of each study; ends may be infinite.

    Args:
        studies: as `study_time`.
        generator: where the draws come from; the same state gives the same interval.
        confidence: nominal coverage in (0, 1).
        resamples: how many, at least 1.

    Returns:
        `mean` is `study_time`; n the number of trials per study; low and high None with one trial each.

    Raises:
        InputError: as `study_time`, a confidence outside (0, 1), or no resamples.
    """
    _check(studies)
    return percentile_interval(
        [[trial.time for trial in trials] for trials in studies],
        lambda *samples: np.median([times.min(axis=1) for times in samples], axis=0),
        generator=generator,
        confidence=confidence,
        resamples=resamples,
    )


def _check(studies: Studies) -> None:
    sizes = [len(trials) for trials in studies]
    if not sizes or not min(sizes) or len(set(sizes)) > 1:
        raise InputError(
            f"a median over studies needs studies with the same number of trials, at least one each, got {sizes}; the "
            "best of more trials is better by luck. Give trials that failed as missed"
        )
