"""The solvers under one form: each takes a problem and the cheapest choice, and says what it proves."""

from collections.abc import Callable
from dataclasses import dataclass

from paretorch.errors import InputError
from paretorch.methods.width.allocation import exact, hull, lagrange, minmax, trust_region
from paretorch.methods.width.allocation.completion import Bound
from paretorch.methods.width.allocation.costs import Cost, Kind
from paretorch.methods.width.allocation.elimination import Elimination, least_cost
from paretorch.methods.width.allocation.labels import Labels, TooManyLabelsError
from paretorch.methods.width.allocation.polish import polished
from paretorch.methods.width.allocation.problem import Choice, Problem

TIE = 1e-9  # of the range of errors: a gap below is rounding


@dataclass(frozen=True)
class Found:
    """What a solver hands over.

    choice: within the budgets. method: the solver. loss: what it predicts. bound: less is not possible; None unknown.
    said: what else is proved or not, one or more sentences.
    """

    choice: Choice
    method: str
    loss: float
    bound: float | None
    said: str


Solve = Callable[[Problem, Choice], Found]


def cheapest(problem: Problem) -> Choice:
    """A choice within the budgets.

    With a single cost of known structure the least of all; else the smallest widths, as costs are supposed not to fall
    when a width grows.

    Raises:
        InputError: if it exceeds a budget; it says the smallest reachable cost.
    """
    single = len(problem.costs) == 1 and problem.structured
    choice = (least_cost(problem) if single else None) or problem.smallest
    for name, value in problem.cost(choice).items():
        if not value <= problem.budgets[name]:
            raise InputError(
                f"no profile of these tables keeps the {name} within {problem.budgets[name]:,}; the smallest reachable "
                f"is {value:,}, at the widths {problem.profile(choice)}. Raise the budget, or offer smaller widths"
            )
    return choice


def auto(problem: Problem, start: Choice) -> Found:
    """The exact solver where there is one; where it would take too long, or there is none, the local search."""
    if len(problem.costs) > 1 or not problem.structured or not Elimination(problem).possible:
        return _trust_region(problem, start)
    try:
        return _exact(problem, start)
    except TooManyLabelsError:
        found = _trust_region(problem, start)
    try:
        return _exact(problem, found.choice)  # a better start leaves fewer states
    except TooManyLabelsError as error:
        return Found(found.choice, found.method, found.loss, found.bound, f"{found.said}The exact solver: {error}. ")


def bucketed(problem: Problem, start: Choice, *, buckets: int) -> Found:
    """Exact on costs rounded up to whole buckets."""
    parts, limit, size = exact.rounded_up(problem, buckets=buckets)
    labels = exact.best_choices(problem, parts=parts, bounds=(Bound(0.0, 1.0, limit),))
    best = _best_within(problem, labels) or start
    bound = lagrange.solve(problem, best).bound
    said = f"The best of all profiles when costs are rounded up to multiples of {size:.6g}. "
    return Found(best, name_of_exact(problem), problem.loss(best), bound, said)


def kind_of(problem: Problem) -> Kind:
    """The structure of a single cost; "general" for several, and for a plain function."""
    (cost, *others) = problem.costs.values()
    return cost.kind if isinstance(cost, Cost) and not others else "general"


def name_of_exact(problem: Problem) -> str:
    """The name under which the exact solver fits the problem."""
    return "dp" if kind_of(problem) == "separable" else "chain_dp"


def require(problem: Problem, method: str) -> None:
    """Refuse a method for costs of another structure.

    Raises:
        InputError: naming the structure and what fits.
    """
    if method in ("lagrange", "chain_dp") and not problem.structured:
        raise InputError(
            f'the method "{method}" needs costs whose structure is known, such as cost_of(groups, "params"); for a '
            'plain function of a profile use "trust_region"'
        )
    if method in ("hull", "dp", "chain_dp") and len(problem.costs) > 1:
        raise InputError(
            f'the method "{method}" needs a single cost, and there are {len(problem.costs)}: '
            f'{", ".join(problem.costs)}; use "trust_region" or "lagrange"'
        )
    if method in ("hull", "dp") and (kind := kind_of(problem)) != "separable":
        raise InputError(
            f'the method "{method}" needs a separable cost, and this one is of {kind} structure; use '
            f'"{"chain_dp" if problem.structured else "trust_region"}"'
        )


def _exact(problem: Problem, start: Choice) -> Found:
    """A relaxation for bounds; then all labels that they leave."""
    dual = lagrange.solve(problem, start)
    best = min(start, polished(problem, dual.best), key=problem.loss)
    if problem.loss(best) - dual.bound > tie(problem):
        limit, rate = float(problem.limits[0]), float(dual.multipliers[0])
        slack = tie(problem) + TIE * rate * abs(limit)
        reach = Bound(1.0, rate, problem.loss(best) + rate * limit + slack)
        labels = exact.best_choices(problem, bounds=(reach, Bound(0.0, 1.0, limit + TIE * abs(limit))))
        best = min(best, _best_within(problem, labels) or best, key=problem.loss)
    loss = problem.loss(best)
    return Found(best, name_of_exact(problem), loss, loss, "")


def _best_within(problem: Problem, labels: Labels) -> Choice | None:
    """The label of least error whose cost, counted anew, is within the budget."""
    choices = (exact.chosen(labels, index) for index in reversed(range(len(labels))))
    return next((choice for choice in choices if problem.feasible(choice)), None)


def _dp(problem: Problem, start: Choice) -> Found:
    require(problem, "dp")
    return _exact(problem, start)


def _chain_dp(problem: Problem, start: Choice) -> Found:
    require(problem, "chain_dp")
    return _exact(problem, start)


def _hull(problem: Problem, start: Choice) -> Found:
    require(problem, "hull")
    chain = hull.hull_chain(problem)
    best = next((choice for choice in chain if problem.feasible(choice)), start)
    (cost,) = problem.cost(best).values()
    said = f"The best of all profiles that cost at most {cost:,.6g}. "
    return Found(best, "hull", problem.loss(best), lagrange.solve(problem, best).bound, said)


def _lagrange(problem: Problem, start: Choice) -> Found:
    require(problem, "lagrange")
    dual = lagrange.solve(problem, start)
    said = "A corner of the convex hull of all profiles. "
    return Found(dual.best, "lagrange", problem.loss(dual.best), dual.bound, said)


def _trust_region(problem: Problem, start: Choice) -> Found:
    starts, bound = [start], None
    if problem.structured and Elimination(problem).possible:
        dual = lagrange.solve(problem, start)
        starts, bound = [start, dual.best], dual.bound
    best = trust_region.solve(problem, starts)
    return Found(best, "trust_region", problem.loss(best), bound, "A local search. ")


def _minmax(problem: Problem, start: Choice) -> Found:
    best = minmax.solve(problem) or start
    greatest = max(table.errors[row] for table, row in zip(problem.tables, best, strict=True))
    if minmax.never_falls(problem):
        return Found(best, "minmax", greatest, greatest, "Of the greatest error, not of the sum: ")
    return Found(best, "minmax", greatest, None, "Of the greatest error, if no cost falls when a width grows. ")


def tie(problem: Problem) -> float:
    """Losses that differ by less are equal."""
    return TIE * sum(float(row.max() - row.min()) for row in problem.errors)


SOLVERS: dict[str, Solve] = {
    "auto": auto,
    "hull": _hull,
    "dp": _dp,
    "chain_dp": _chain_dp,
    "lagrange": _lagrange,
    "minmax": _minmax,
    "trust_region": _trust_region,
}
