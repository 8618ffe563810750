"""Arms that differ in learning rate and epsilon alone: what validation chooses of them, how surely, and at what cost.

What can be said from the values of the points is in `grid_values`; here are seeds, intervals and costs. Points are
compared over the seeds that ran all of them. A run that diverged is a trial that was paid for; it counts as the worst
there is. Whoever takes the best point has paid for all, so that is what it is charged.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.arms import OPTIMIZER, RATE, Arm
from paretorch.evidence.grid_values import GridValues, Point, decades, least_decades, mean_values
from paretorch.evidence.quantities import training_epochs, training_seconds
from paretorch.evidence.records import RunRecord
from paretorch.evidence.statistics import Interval, mean_interval, paired_interval
from paretorch.evidence.words import Metric, factor

EPSILON = "eps"
CONFIDENCE = 0.95  # of all comparisons between the rates of a grid together


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The arms of one optimizer.

    Attributes:
        name: of the optimizer, with what sets it apart from other grids of it.
        arms: by learning rate and epsilon; a point that was not run is missing.
    """

    name: str
    arms: Mapping[Point, Arm]

    @property
    def metric(self) -> Metric:
        """How the quality is written."""
        return next(iter(self.arms.values())).metric

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds that ran every point; only these compare points."""
        return sorted(set.intersection(*({run.seed for run in arm.runs} for arm in self.arms.values())))

    @cached_property
    def means(self) -> GridValues:
        """Mean validation quality of the points; None where a run did not end well."""
        if not self.seeds:
            return self._values(dict.fromkeys(self.arms), floor=self._worst)
        return mean_values([self._values(self._of_seed(seed), floor=self._worst) for seed in self.seeds])

    def studies(self) -> dict[int, GridValues]:
        """Seed -> its validation quality; what did not end well counts as 0 for a fraction, else as infinitely bad."""
        floor = 0.0 if self.metric.is_fraction and self.metric.higher_is_better else self._worst
        return {seed: self._values(self._of_seed(seed), floor=floor) for seed in self.seeds}

    @property
    def rates(self) -> tuple[float, ...]:
        """Ascending."""
        return self.means.rates

    @property
    def epsilons(self) -> tuple[float | None, ...]:
        """Ascending; None, not given, comes first."""
        return self.means.epsilons

    def ended_well(self, rate: float, epsilon: float | None) -> Arm | None:
        """The arm of a point; None if it was not run, or a run of it did not end well."""
        return None if self.means.values.get((rate, epsilon)) is None else self.arms[rate, epsilon]

    def best_rate(self, epsilon: float | None) -> float | None:
        """The rate with the best mean validation quality; None if nothing ended well. Ties: the smaller rate."""
        return self.means.best_rate(epsilon)

    @property
    def best(self) -> Arm | None:
        """The point with the best mean validation quality; None if nothing ended well. Ties: the first epsilon."""
        return self.ended_well(*self.means.best())

    @property
    def score(self) -> float:
        """Mean validation quality of the best point, negated where lower is better."""
        value = self.means.value(self.means.best())
        return value if self.metric.higher_is_better else -value

    @property
    def charged(self) -> Arm | None:
        """The best point, whose runs are charged for all trainings of their seed: it took these to find it."""
        if (best := self.best) is None:
            return None
        others = [run for arm in self.arms.values() if arm is not best for run in arm.runs]
        runs = tuple(_charged(run, [other for other in others if other.seed == run.seed]) for run in best.runs)
        return replace(best, runs=runs)

    @cached_property
    def compared(self) -> list[float]:
        """The epsilons that are given and at which two rates or more ended well: elsewhere nothing was chosen."""
        return [epsilon for epsilon in self.epsilons if epsilon is not None and len(self._well(epsilon)) > 1]

    def alike(self, epsilon: float | None) -> list[float]:
        """The rates that cannot be told from the best one: the paired interval of validation contains 0.

        The best is the best of many, and all epsilons are looked at together, so the intervals are those of Bonferroni:
        95 % for all comparisons of a rate with the best at its epsilon. All that ended well where one seed ran.
        """
        best = self.best_rate(epsilon)
        if best is None or len(self.seeds) < 2:
            return self._well(epsilon)
        comparisons = sum(len(found) - 1 for one in self.epsilons if (found := self._well(one)))
        confidence = 1 - (1 - CONFIDENCE) / max(1, comparisons)
        values = {rate: self._validations(rate, epsilon) for rate in self._well(epsilon)}
        return [
            rate
            for rate, found in values.items()
            if rate == best or paired_interval(found, values[best], confidence=confidence).contains(0.0)
        ]

    @property
    def moved(self) -> float | None:
        """Decades between the largest and the smallest best rate; None unless two epsilons had a choice of rates."""
        best = [rate for epsilon in self.compared if (rate := self.best_rate(epsilon)) is not None]
        return decades(best) if len(best) > 1 else None

    @property
    def moved_surely(self) -> float | None:
        """The fewest decades by which the rates of `alike` allow the best one to move; None where `moved` is."""
        return None if self.moved is None else least_decades([self.alike(epsilon) for epsilon in self.compared])

    @property
    def at_edge(self) -> list[float | None]:
        """The epsilons whose best rate is the smallest or the largest that was run: a better one may lie outside."""
        ends = {epsilon: [rate for rate, _ in self.means.at_epsilon(epsilon)] for epsilon in self.epsilons}
        return [epsilon for epsilon, rates in ends.items() if self.best_rate(epsilon) in (rates[0], rates[-1])]

    @property
    def in_turn(self) -> dict[float | None, Arm]:
        """Epsilon -> what is found from there by choosing the rate at it, and then the epsilon at that rate.

        {} with one rate or one epsilon, where that is the whole grid.
        """
        if len(self.rates) < 2 or len(self.epsilons) < 2:
            return {}
        starts = [epsilon for epsilon in self.epsilons if self.best_rate(epsilon) is not None]
        return {start: self.arms[self.means.in_turn(start)] for start in starts}

    @property
    def failed(self) -> list[str]:
        """The runs that did not end well."""
        return [run.run_id for run in self._runs if run.status != "ok"]

    @property
    def trial_epochs(self) -> float | None:
        """Mean passes over the data of one trial; None where no record says."""
        known = [epochs for run in self._runs if (epochs := training_epochs(run)) is not None]
        return fmean(known) if known else None

    def expected(self, n: int) -> dict[int, float]:
        """Seed -> expected best validation quality of n points drawn at random; {} without n points.

        Infinite where all n may be trainings that did not end well, and that is infinitely bad.
        """
        return {} if n > len(self.arms) else {seed: study.random_points(n) for seed, study in self.studies().items()}

    def expected_mean(self, n: int) -> Interval | None:
        """Mean over seeds of `expected`; None where that is empty, or infinite with some seed."""
        found = list(self.expected(n).values())
        return mean_interval(found) if found and all(map(math.isfinite, found)) else None

    @property
    def _runs(self) -> list[RunRecord]:
        return [run for arm in self.arms.values() for run in arm.runs]

    @property
    def _worst(self) -> float:
        return -math.inf if self.metric.higher_is_better else math.inf

    def _well(self, epsilon: float | None) -> list[float]:
        return [rate for rate, _ in self.means.at_epsilon(epsilon) if self.means.values[rate, epsilon] is not None]

    def _validations(self, rate: float, epsilon: float | None) -> list[float]:
        values = self.arms[rate, epsilon].values(lambda run: run.validation)
        return [values[seed] for seed in self.seeds]

    def _of_seed(self, seed: int) -> dict[Point, float | None]:
        found = {point: next(run for run in arm.runs if run.seed == seed) for point, arm in self.arms.items()}
        return {
            point: None if run.status != "ok" or run.quality is None else run.validation for point, run in found.items()
        }

    def _values(self, values: Mapping[Point, float | None], *, floor: float) -> GridValues:
        return GridValues(values=values, floor=floor, higher_is_better=self.metric.higher_is_better)


def grids_of(arms: Sequence[Arm]) -> list[Grid]:
    """The grids among arms, in order of appearance; a single setting is a grid of one point.

    Raises:
        InputError: for a learning rate or an epsilon that is no finite number, or a rate that is not positive.
        NotComparableError: two arms are the same point of a grid.
    """
    groups: dict[str, tuple[dict[str, object], dict[Point, Arm]]] = {}
    for arm in arms:
        if not arm.is_whole:
            continue
        point = _number(arm, RATE), None if arm.group.get(EPSILON) is None else _number(arm, EPSILON)
        if not point[0] > 0:
            raise InputError(f"arm {arm.label!r}: the learning rate is {point[0]:g}; expected a positive number")
        others = {key: value for key, value in arm.group.items() if key not in (RATE, EPSILON)}
        _, points = groups.setdefault(json.dumps(others, sort_keys=True), (others, {}))
        if point in points:
            raise NotComparableError(
                f"the arms {points[point].label!r} and {arm.label!r} have the same optimizer, settings, learning rate "
                "and epsilon; a repeated setting is no new trial, leave the runs of one of them out"
            )
        points[point] = arm
    return [
        Grid(name=_name(mine, [other for other, _ in groups.values()]), arms=points) for mine, points in groups.values()
    ]


def best_of(grids: Sequence[Grid]) -> Grid | None:
    """The grid whose best point has the best mean validation quality; None if nothing ended well. Ties: the first."""
    return max((grid for grid in grids if grid.best is not None), key=lambda grid: grid.score, default=None)


def leading(arms: Sequence[Arm]) -> list[Arm]:
    """The arms without the points of grids; of each grid its best point alone, charged for the whole grid."""
    best = {arm.label: arm for grid in grids_of(arms) if (arm := grid.charged) is not None}
    return [best.get(arm.label, arm) for arm in arms if not arm.is_whole or arm.label in best]


def _charged(run: RunRecord, others: Sequence[RunRecord]) -> RunRecord:
    """The run with a phase for every other trial; seconds are unknown where those of one trial are."""
    trials: list[dict[str, Any]] = [{"phase": f"trial {other.run_id}", "kind": "trial"} for other in others]
    for trial, other in zip(trials, others, strict=True):
        if (epochs := training_epochs(other)) is not None:
            trial["epochs"] = epochs
    seconds = [training_seconds(one) for one in (run, *others)]
    known = [one for one in seconds if one is not None]
    untimed = [{key: value for key, value in phase.items() if key != "seconds"} for phase in run.phases]
    whole = {"seconds": math.fsum(known) if len(known) == len(seconds) else None, "longest_path_s": None}
    return replace(run, phases=[*trials, *untimed], cost=run.cost | whole)


def _number(arm: Arm, name: str) -> float:
    value = arm.group[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"arm {arm.label!r}: the factor {name!r} is {value!r}; expected a number")
    return float(value)


def _name(mine: Mapping[str, object], grids: Sequence[Mapping[str, object]]) -> str:
    """The optimizer, and those of its other factors in which grids of it differ."""
    others = [grid for grid in grids if grid[OPTIMIZER] == mine[OPTIMIZER]]
    apart = [key for key in mine if any(grid.get(key) != mine[key] for grid in others)]
    return ", ".join([str(mine[OPTIMIZER]), *(factor(key, mine[key]) for key in apart)])
