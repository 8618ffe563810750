"""The time of a tuned submission: median over studies of the best of each study's trials.

    t = median_j min_i t_ij,     a trial that missed counts as infinite and enters the median

A study repeats the whole tuning: its trials draw their settings anew. The best trial is the one that reached the target
in the smallest time, not after the fewest evaluations, because trials need not be evaluated equally often.

How much of the time is luck of the draw of settings says `paretorch.evidence.best_of_n.tuned_interval`, given the times
of each study and its number of trials.

Source: MLCommons, AlgoPerf competition rules v0.6, "external tuning".
"""

from collections.abc import Sequence
from statistics import median

from paretorch.errors import InputError
from paretorch.evidence.censored import TargetTime

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


def _check(studies: Studies) -> None:
    sizes = [len(trials) for trials in studies]
    if not sizes or not min(sizes) or len(set(sizes)) > 1:
        raise InputError(
            f"a median over studies needs studies with the same number of trials, at least one each, got {sizes}; the "
            "best of more trials is better by luck. Give trials that failed as missed"
        )
