"""Pareto fronts of (cost, quality) points: what dominates what, and how much a front covers.

    a dominates b:  a costs no more, a is no worse, and one of the two strictly
    hypervolume:    area between the front and a reference point, HV = sum_i (r_c - c_i) * (e_(i-1) - e_i),
                    points sorted by cost, e = quality as an error to minimise, e_0 = r_e

Cost is always minimised; quality is maximised or minimised. Only pass measured or counted numbers; a front of
theoretical costs is a theoretical front and must be labelled so. Fronts of more than two objectives: look at each
pair.

Source of the definitions: Zitzler, Thiele, "Multiobjective evolutionary algorithms" (IEEE TEC 3(4), 1999), section 3.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from paretorch.errors import InputError


@dataclass(frozen=True)
class Point:
    """One candidate: a name, what it costs (lower is better) and how good it is."""

    label: str
    cost: float
    quality: float


class Front:
    """A set of points and the part of it that no other point beats.

    Args:
        points: `Point`s, or plain (cost, quality) pairs, whose label is then empty.
        cost: name and unit of the cost axis, used in messages and plots.
        quality: name of the quality axis.
        higher_is_better: direction of the quality.

    Raises:
        InputError: a cost or quality is NaN or infinite; the message names the point.

    Example:
        >>> Front([(1.0, 0.7), (2.0, 0.9), (3.0, 0.8)]).optimal
        (Point(label='', cost=1.0, quality=0.7), Point(label='', cost=2.0, quality=0.9))
    """

    def __init__(
        self,
        points: Iterable[Point | tuple[float, float]],
        *,
        cost: str = "cost",
        quality: str = "quality",
        higher_is_better: bool = True,
    ) -> None:
        self.cost, self.quality, self.higher_is_better = cost, quality, higher_is_better
        self.points = tuple(p if isinstance(p, Point) else Point("", *p) for p in points)
        for point in self.points:
            if not (math.isfinite(point.cost) and math.isfinite(point.quality)):
                raise InputError(
                    f"point {point.label!r} has {cost} = {point.cost} and {quality} = {point.quality}; both must be "
                    "finite. Leave failed runs out of the front and report them."
                )

    def dominates(self, a: Point, b: Point) -> bool:
        """Whether `a` is at least as good as `b` in both, and better in one."""
        error_a, error_b = self._error(a.quality), self._error(b.quality)
        return a.cost <= b.cost and error_a <= error_b and (a.cost < b.cost or error_a < error_b)

    @property
    def optimal(self) -> tuple[Point, ...]:
        """The points that no point dominates, cheapest first; equal points do not dominate each other."""
        chosen: list[Point] = []
        ordered = sorted(self.points, key=lambda p: (p.cost, self._error(p.quality), p.label))
        for point in ordered:
            # Everything before `point` is no dearer, so only the best of it so far can dominate `point`.
            if not chosen or not self.dominates(chosen[-1], point):
                chosen.append(point)
        return tuple(chosen)

    def hypervolume(self, reference: tuple[float, float]) -> float:
        """Area that the front dominates inside the box that ends at the reference.

        To make a comparison independent of the unit of cost, pass ln(cost) in points and reference.

        Args:
            reference: (cost, quality) of the worst case that still counts, e.g. the budget and the quality of
                guessing. Points that are no better than it in either coordinate contribute nothing.

        Returns:
            Area in units of cost times quality, at least 0.

        Raises:
            InputError: the reference is not finite.
        """
        if not all(map(math.isfinite, reference)):
            raise InputError(f"the reference must be a finite (cost, quality), got {reference}")
        limit, previous = reference[0], self._error(reference[1])
        area = 0.0
        for point in self.optimal:
            error = self._error(point.quality)
            if point.cost < limit and error < previous:
                area += (limit - point.cost) * (previous - error)
                previous = error
        return area

    def _error(self, quality: float) -> float:
        """Quality as something to minimise."""
        return -quality if self.higher_is_better else quality
