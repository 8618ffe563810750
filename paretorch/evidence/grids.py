"""Arms that differ in learning rate and epsilon alone: which rate is best at each epsilon, and what tuning reaches.

    best lr(eps) = argmax over lr of the mean validation quality        of points whose runs all ended well
    moved        = max - min over eps of log10 best lr(eps)             0: lr and eps can be tuned one after the other

A run that diverged is a trial that was paid for; it counts as the worst there is.

Source of the question: Savarese, McAllester, Babu and Maire, CVPR 2021 (AvaGrad), whose heat maps are such grids.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from paretorch.errors import InputError
from paretorch.evidence.arms import OPTIMIZER, RATE, Arm
from paretorch.evidence.best_of_n import expected_best
from paretorch.evidence.quantities import training_epochs
from paretorch.evidence.statistics import paired_interval
from paretorch.evidence.words import Metric, factor

EPSILON = "eps"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The arms of one optimizer.

    Attributes:
        name: of the optimizer, with what sets it apart from other grids of it.
        rates: learning rates, ascending.
        epsilons: ascending; None where none is given.
        arms: by (rate, epsilon); a point that was not run is missing.
    """

    name: str
    rates: tuple[float, ...]
    epsilons: tuple[float | None, ...]
    arms: Mapping[tuple[float, float | None], Arm]

    @property
    def metric(self) -> Metric:
        """How the quality is written."""
        return next(iter(self.arms.values())).metric

    @property
    def given(self) -> list[float]:
        """The epsilons that are given, ascending."""
        return [epsilon for epsilon in self.epsilons if epsilon is not None]

    def ended_well(self, rate: float, epsilon: float | None) -> Arm | None:
        """The arm of a point; None if it was not run, or a run of it did not end well."""
        arm = self.arms.get((rate, epsilon))
        return None if arm is None or arm.quality is None or len(arm.finished) < len(arm.runs) else arm

    def best_rate(self, epsilon: float | None) -> float | None:
        """The rate with the best mean validation quality; None if nothing ended well. Ties: the smaller rate."""
        arms = {rate: self.ended_well(rate, epsilon) for rate in self.rates}
        means = {rate: self.score(arm) for rate, arm in arms.items() if arm is not None}
        return max(means, key=means.__getitem__) if means else None

    def alike(self, epsilon: float | None) -> tuple[float, ...]:
        """The rates that cannot be told from the best one: the paired 95 % interval of validation contains 0.

        All that ended well where no seed is shared, or only one.
        """
        best = self.best_rate(epsilon)
        if best is None:
            return ()
        reference = _validations(self.arms[best, epsilon])
        arms = {rate: self.ended_well(rate, epsilon) for rate in self.rates}
        known = {rate: _validations(arm) for rate, arm in arms.items() if arm is not None}
        return tuple(rate for rate, values in known.items() if rate == best or _alike(values, reference))

    @property
    def best(self) -> Arm | None:
        """The point with the best mean validation quality; None if nothing ended well. Ties: the first epsilon."""
        points = [(rate, epsilon) for epsilon in self.epsilons if (rate := self.best_rate(epsilon)) is not None]
        return max((self.arms[point] for point in points), key=self.score, default=None)

    @property
    def moved(self) -> float | None:
        """Decades between the largest and the smallest of the best rates; None with fewer than two epsilons."""
        best = [rate for epsilon in self.given if (rate := self.best_rate(epsilon)) is not None]
        return math.log10(max(best) / min(best)) if len(best) > 1 else None

    @property
    def in_turn(self) -> dict[float, Arm]:
        """Epsilon -> what is found from there by choosing the rate at it, and then the epsilon at that rate.

        That takes one trial for each rate and each epsilon, less one, in the place of their product. {} with fewer than
        two epsilons.
        """
        found = {}
        for start in self.given:
            if (rate := self.best_rate(start)) is not None:
                line = [arm for epsilon in self.given if (arm := self.ended_well(rate, epsilon)) is not None]
                found[start] = max(line, key=self.score)
        return found if len(self.given) > 1 else {}

    @property
    def at_edge(self) -> tuple[float | None, ...]:
        """The epsilons whose best rate is an end of the grid: a better one may lie outside."""
        ends = (self.rates[0], self.rates[-1])
        return tuple(epsilon for epsilon in self.epsilons if self.best_rate(epsilon) in ends)

    def score(self, arm: Arm) -> float:
        """Mean validation quality, negated where lower is better; minus infinity or 0 where no run has one."""
        return self.sign * (self._worst if arm.validation is None else arm.validation.mean)

    @property
    def failed(self) -> list[str]:
        """The runs that did not end well."""
        return [run.run_id for arm in self.arms.values() for run in arm.runs if run.status != "ok"]

    @property
    def trial_epochs(self) -> float | None:
        """Mean passes over the data of one trial; None where no record says."""
        runs = [run for arm in self.arms.values() for run in arm.runs]
        known = [epochs for run in runs if (epochs := training_epochs(run)) is not None]
        return fmean(known) if known else None

    def studies(self) -> list[list[float]]:
        """Validation quality of every trial, for each seed that ran all; the worst there is where one did not end well.

        The worst is 0 for a fraction such as accuracy, infinite for other metrics.
        """
        found: dict[int, list[float]] = {}
        for run in (run for arm in self.arms.values() for run in arm.runs):
            value = run.validation if run.status == "ok" and run.validation is not None else self._worst
            found.setdefault(run.seed, []).append(value)
        return [found[seed] for seed in sorted(found) if len(found[seed]) == len(self.arms)]

    def expected(self, n: int) -> float | None:
        """Expected best validation quality of n points drawn at random, median over seeds; None without n points."""
        studies = self.studies()
        if not studies or n > len(self.arms):
            return None
        return median(expected_best(study, n, higher_is_better=self.metric.higher_is_better) for study in studies)

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1."""
        return 1 if self.metric.higher_is_better else -1

    @property
    def _worst(self) -> float:
        return 0.0 if self.metric.is_fraction and self.metric.higher_is_better else -self.sign * math.inf


def grids_of(arms: Sequence[Arm]) -> list[Grid]:
    """The grids among arms, in order of appearance; a single setting is a grid of one point.

    Raises:
        InputError: for a learning rate or an epsilon that is no number.
    """
    groups: dict[str, tuple[dict[str, object], dict[tuple[float, float | None], Arm]]] = {}
    for arm in arms:
        if not arm.is_whole:
            continue
        point = _number(arm, RATE), None if arm.group.get(EPSILON) is None else _number(arm, EPSILON)
        others = {key: value for key, value in arm.group.items() if key not in (RATE, EPSILON)}
        groups.setdefault(json.dumps(others, sort_keys=True), (others, {}))[1][point] = arm
    return [
        Grid(
            name=_name(mine, [other for other, _ in groups.values()]),
            rates=tuple(sorted({rate for rate, _ in points})),
            epsilons=tuple(sorted({epsilon for _, epsilon in points}, key=lambda one: -1.0 if one is None else one)),
            arms=points,
        )
        for mine, points in groups.values()
    ]


def _number(arm: Arm, name: str) -> float:
    value = arm.group[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"arm {arm.label!r}: the factor {name!r} is {value!r}; expected a number")
    return float(value)


def leading(arms: Sequence[Arm]) -> list[Arm]:
    """The arms without the points of grids; of each grid its best point alone."""
    best = {arm.label for grid in grids_of(arms) if (arm := grid.best) is not None}
    return [arm for arm in arms if not arm.is_whole or arm.label in best]


def _name(mine: Mapping[str, object], grids: Sequence[Mapping[str, object]]) -> str:
    """The optimizer, and those of its other factors in which grids of it differ."""
    others = [grid for grid in grids if grid[OPTIMIZER] == mine[OPTIMIZER]]
    apart = [key for key in mine if any(grid.get(key) != mine[key] for grid in others)]
    return ", ".join([str(mine[OPTIMIZER]), *(factor(key, mine[key]) for key in apart)])


def _validations(arm: Arm) -> dict[int, float]:
    return arm.values(lambda run: run.validation)


def _alike(values: Mapping[int, float], reference: Mapping[int, float]) -> bool:
    """Whether no difference can be claimed over the seeds that both have."""
    seeds = sorted(values.keys() & reference.keys())
    if len(seeds) < 2:
        return True
    return paired_interval([values[seed] for seed in seeds], [reference[seed] for seed in seeds]).contains(0.0)
