"""What the values of a grid of learning rates and epsilons say about tuning; it knows no runs and no seeds.

    best rate(eps) = the rate with the best value at eps
    moved          = max - min over eps of log10 best rate(eps)
    in turn        = the best rate at one eps, then the best eps at this rate: R + E - 1 trials in the place of R E
    random points  = expected best of so many points of the grid, drawn without replacement

A point that did not end well, or is worse than the floor, counts as the floor: the untrained model, which whoever tunes
still has, or the worst there is.

Source of the question: Savarese, McAllester, Babu and Maire, CVPR 2021 (AvaGrad), whose heat maps are such grids.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.best_of_n import expected_best

Point: TypeAlias = tuple[float, float | None]
"""Learning rate and epsilon; the epsilon is None where none is given."""


@dataclass(frozen=True, kw_only=True)
class GridValues:
    """The values of one optimizer.

    Args:
        values: by point; None where it did not end well. A point that was not run is missing.
        floor: what such a point counts as; infinitely bad where nothing else is known.
        higher_is_better: direction of the values.

    Raises:
        InputError: there is no point, or a value is not finite.

    Example:
        >>> grid = GridValues(
        ...     values={(0.1, 1.0): 0.7, (1.0, 1.0): 0.9, (0.1, 2.0): 0.8, (1.0, 2.0): None},
        ...     floor=0.0,
        ...     higher_is_better=True,
        ... )
        >>> grid.best(), grid.best_rate(2.0), grid.moved(), grid.in_turn(2.0)
        ((1.0, 1.0), 0.1, 1.0, (0.1, 2.0))
    """

    values: Mapping[Point, float | None]
    floor: float
    higher_is_better: bool

    def __post_init__(self) -> None:
        if not self.values:
            raise InputError("a grid needs at least one point")
        if bad := {
            point: value for point, value in self.values.items() if value is not None and not math.isfinite(value)
        }:
            raise InputError(f"the value of a point is finite, got {bad}; None is a point that did not end well")

    @property
    def points(self) -> list[Point]:
        """All points, by epsilon and then by rate; those without an epsilon come first."""
        return sorted(self.values, key=lambda point: (-1.0 if point[1] is None else point[1], point[0]))

    @property
    def rates(self) -> tuple[float, ...]:
        """Ascending."""
        return tuple(sorted({rate for rate, _ in self.values}))

    @property
    def epsilons(self) -> tuple[float | None, ...]:
        """Ascending; None, not given, comes first."""
        return tuple(dict.fromkeys(epsilon for _, epsilon in self.points))

    def at_epsilon(self, epsilon: float | None) -> list[Point]:
        """The points that were run at an epsilon, by rate."""
        return [point for point in self.points if point[1] == epsilon]

    def at_rate(self, rate: float) -> list[Point]:
        """The points that were run at a rate, by epsilon."""
        return [point for point in self.points if point[0] == rate]

    def value(self, point: Point) -> float:
        """That of the point, or the floor."""
        found = self.values[point]
        if found is None:
            return self.floor
        return max(found, self.floor) if self.higher_is_better else min(found, self.floor)

    def best(self, points: Sequence[Point] | None = None) -> Point:
        """The best of some points, by default of all; the first among equals."""
        return (max if self.higher_is_better else min)(self.points if points is None else points, key=self.value)

    def best_rate(self, epsilon: float | None) -> float | None:
        """The best rate at an epsilon; None if nothing there is better than the floor. Ties: the smaller rate."""
        point = self.best(self.at_epsilon(epsilon))
        return None if self.value(point) == self.floor else point[0]

    def moved(self, *, above: float = 0.0) -> float | None:
        """Decades between the largest and the smallest best rate; None with fewer than two of them.

        Args:
            above: the smallest epsilon that counts. Where none is given there is no order, so that does not.
        """
        some = [self.best_rate(epsilon) for epsilon in self.epsilons if epsilon is not None and epsilon >= above]
        best = [rate for rate in some if rate is not None]
        return decades(best) if len(best) > 1 else None

    def in_turn(self, start: float | None) -> Point:
        """Where a search ends that takes the best rate at an epsilon, and then the best epsilon at that rate."""
        return self.best(self.at_rate(self.best(self.at_epsilon(start))[0]))

    def trials_in_turn(self, start: float | None) -> int:
        """How many points that search tries; the one where its two lines meet is tried once."""
        rate, _ = self.best(self.at_epsilon(start))
        return len(self.at_epsilon(start)) + len(self.at_rate(rate)) - 1

    def random_points(self, count: int) -> float:
        """Expected best of so many points; infinite if the floor is and they may all be such.

        Raises:
            InputError: for a number of points that the grid does not have.
        """
        values = [self.value(point) for point in self.points]
        return expected_best(values, count, higher_is_better=self.higher_is_better)


def mean_values(grids: Sequence[GridValues]) -> GridValues:
    """The means over seeds; a point that did not end well with any one seed did not.

    Raises:
        NotComparableError: the grids have different points or directions.
    """
    first = grids[0]
    for other in grids[1:]:
        if other.values.keys() != first.values.keys() or other.higher_is_better != first.higher_is_better:
            raise NotComparableError(
                f"a mean over seeds needs the same grid with each: {first.points} against {other.points}"
            )
    means: dict[Point, float | None] = {}
    for point in first.points:
        found = [grid.values[point] for grid in grids]
        known = [value for value in found if value is not None]
        means[point] = math.fsum(known) / len(known) if len(known) == len(found) else None
    floor = sum(grid.floor for grid in grids) / len(grids)
    return GridValues(values=means, floor=floor, higher_is_better=first.higher_is_better)


def decades(rates: Iterable[float]) -> float:
    """Between the smallest and the largest of some rates."""
    found = list(rates)
    return math.log10(max(found)) - math.log10(min(found))


def least_decades(choices: Sequence[Iterable[float]]) -> float:
    """The fewest decades that one rate out of each of several sets can span; 0 if they have a rate in common."""
    ascending = [sorted(choice) for choice in choices]
    spans = []
    for low in {rate for choice in ascending for rate in choice}:
        above = [next((rate for rate in choice if rate >= low), None) for choice in ascending]
        if None not in above:
            spans.append(decades([low, *(rate for rate in above if rate is not None)]))
    return min(spans)
