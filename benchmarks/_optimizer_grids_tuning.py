"""What a grid of learning rates and epsilons says about tuning; everything follows from the values of its points.

    best rate(eps) = the rate with the best value at eps
    moved          = max - min over eps of log10 best rate(eps)
    two lines      = the best rate at one eps, then the best eps at this rate: R + E - 1 trials in the place of R E
    random points  = expected best of so many points of the grid, drawn without replacement

A trial that diverged, or left the model worse than it was before, counts as the untrained model, which whoever tunes
still has.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paretorch.evidence.best_of_n import expected_best

Point = tuple[float, float | None]  # rate and epsilon


@dataclass(frozen=True)
class Grid:
    """The points of one optimizer with one seed.

    Attributes:
        values: by point, in ascending order of rates and epsilons; None: it diverged.
        untrained: the value before any training.
        higher: whether more is better.
    """

    values: Mapping[Point, float | None]
    untrained: float
    higher: bool

    @property
    def rates(self) -> list[float]:
        return list(dict.fromkeys(rate for rate, _ in self.values))

    @property
    def epsilons(self) -> list[float | None]:
        return list(dict.fromkeys(epsilon for _, epsilon in self.values))

    def value(self, point: Point) -> float:
        """That of the point, or of the untrained model."""
        found = self.values[point]
        if found is None:
            return self.untrained
        return max(found, self.untrained) if self.higher else min(found, self.untrained)

    def best(self, points: Sequence[Point]) -> Point:
        """The best of some points; the first among equals."""
        return (max if self.higher else min)(points, key=self.value)

    def best_rate(self, epsilon: float | None) -> float | None:
        """None if no rate makes the model better than it was."""
        point = self.best([(rate, epsilon) for rate in self.rates])
        return None if self.value(point) == self.untrained else point[0]

    def moved(self, above: float) -> float:
        """Decades that the best rate moves over the epsilons from `above` on at which there is one."""
        some = [self.best_rate(epsilon) for epsilon in self.epsilons if epsilon is not None and epsilon >= above]
        best = [rate for rate in some if rate is not None]
        return math.log10(max(best)) - math.log10(min(best)) if best else 0.0

    def two_lines(self) -> list[Point]:
        """The point that two lines end at, for every epsilon that they may start from."""
        firsts = [self.best([(rate, epsilon) for rate in self.rates]) for epsilon in self.epsilons]
        return [self.best([(rate, epsilon) for epsilon in self.epsilons]) for rate, _ in firsts]

    @property
    def line_trials(self) -> int:
        return len(self.rates) + len(self.epsilons) - 1

    def random_points(self, count: int) -> float:
        """Expected best of so many points."""
        values = [self.value(point) for point in self.values]
        return expected_best(values, count, higher_is_better=self.higher)


def mean_grid(grids: Sequence[Grid]) -> Grid:
    """The means over seeds; a point that diverged with any seed did."""
    values: dict[Point, float | None] = {}
    for point in grids[0].values:
        found = [grid.values[point] for grid in grids]
        known = [value for value in found if value is not None]
        values[point] = sum(known) / len(known) if len(known) == len(found) else None
    untrained = sum(grid.untrained for grid in grids) / len(grids)
    return Grid(values, untrained, grids[0].higher)
