"""Runs grouped over their seeds: an arm is one recipe, its runs differ in the seed only.

Runs that did not end well keep their place: they are counted and named, never averaged and never dropped.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.records import RunRecord
from paretorch.evidence.statistics import Interval, mean_interval, paired_interval
from paretorch.evidence.words import Metric

OPTIMIZER, RATE = "optimizer", "lr"  # factors of arms that train a whole model with an optimizer of their own


@dataclass(frozen=True, kw_only=True)
class Arm:
    """The runs of one recipe.

    Args:
        label: the arm's label.
        runs: every run, by seed, failed ones too.
    """

    label: str
    runs: tuple[RunRecord, ...]

    @property
    def group(self) -> dict[str, object]:
        """The factors, equal in all runs."""
        return self.runs[0].group

    @property
    def is_baseline(self) -> bool:
        """Whether this is the dense arm."""
        return self.runs[0].is_baseline

    @property
    def is_whole(self) -> bool:
        """Whether nothing is compressed: a model trained from scratch with an optimizer of the arm's own.

        An arm that compresses names its "method", and may say "optimizer" of something else.
        """
        return "method" not in self.group and {OPTIMIZER, RATE} <= self.group.keys()

    @property
    def metric(self) -> Metric:
        """How the quality is written."""
        return Metric(self.runs[0].metric, higher_is_better=self.runs[0].higher_is_better)

    @property
    def finished(self) -> tuple[RunRecord, ...]:
        """The runs whose status is "ok"; only these are averaged."""
        return tuple(run for run in self.runs if run.status == "ok")

    def values(self, read: Callable[[RunRecord], float | None]) -> dict[int, float]:
        """Seed -> reading of the finished runs; runs where it is unknown are left out."""
        readings = {run.seed: read(run) for run in self.finished}
        return {seed: value for seed, value in readings.items() if value is not None}

    def interval(self, read: Callable[[RunRecord], float | None]) -> Interval | None:
        """Mean over seeds of a reading; None when no finished run has it."""
        values = list(self.values(read).values())
        return mean_interval(values) if values else None

    @property
    def quality(self) -> Interval | None:
        """Mean over seeds of the metric on test data."""
        return self.interval(lambda run: run.quality)

    @property
    def validation(self) -> Interval | None:
        """Mean over seeds of the metric on validation data."""
        return self.interval(lambda run: run.validation)


def arms_of(records: Iterable[RunRecord]) -> list[Arm]:
    """Group records by arm, in order of first appearance.

    Raises:
        InputError: there are no records.
        NotComparableError: the runs differ in workload or metric, one label stands for two recipes, or two runs of an
            arm have the same seed.
    """
    records = list(records)
    if not records:
        raise InputError("no run records were given; a verdict and a report need at least one finished run")
    for name in ("workload", "metric", "higher_is_better"):
        found = list(dict.fromkeys(getattr(record, name) for record in records))
        if len(found) > 1:
            raise NotComparableError(
                f"the runs differ in {name}: {found}; report each {name.replace('_', ' ')} on its own"
            )
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(record.arm, []).append(record)
    for label, runs in groups.items():
        _check(label, runs)
    return [Arm(label=label, runs=tuple(sorted(runs, key=lambda r: r.seed))) for label, runs in groups.items()]


def difference(arm: Arm, reference: Arm) -> Interval | None:
    """Interval of the quality of `arm` minus that of `reference`, paired over the seeds that both finished.

    Returns:
        None when no seed is shared.
    """
    a, b = arm.values(lambda run: run.quality), reference.values(lambda run: run.quality)
    shared = sorted(a.keys() & b.keys())
    return paired_interval([a[seed] for seed in shared], [b[seed] for seed in shared]) if shared else None


def baseline_of(arms: Sequence[Arm]) -> Arm | None:
    """The dense arm, or None.

    Raises:
        NotComparableError: there are several.
    """
    found = [arm for arm in arms if arm.is_baseline]
    if len(found) > 1:
        raise NotComparableError(
            f"{len(found)} arms call themselves dense: {[arm.label for arm in found]}; keep one as the baseline"
        )
    return found[0] if found else None


def compressed_of(arms: Sequence[Arm]) -> list[Arm]:
    """The arms with a test result that compress: not the dense one, and none that differs from it in its training."""
    return [arm for arm in arms if not (arm.is_baseline or arm.is_whole) and arm.quality is not None]


def _check(label: str, runs: list[RunRecord]) -> None:
    groups = {json.dumps(run.to_dict()["group"], sort_keys=True) for run in runs}
    if len(groups) > 1:
        raise NotComparableError(f"the label {label!r} stands for different factors: {sorted(groups)}; rename one")
    by_seed: dict[int, str] = {}
    for run in runs:
        if run.seed in by_seed:
            raise NotComparableError(
                f"arm {label!r} has seed {run.seed} twice, in {by_seed[run.seed]!r} and {run.run_id!r}; "
                "a repeated seed is not a new sample, leave one out"
            )
        by_seed[run.seed] = run.run_id
