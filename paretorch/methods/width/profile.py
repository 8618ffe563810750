"""Choose one width per group under a budget: the least sum of errors that the tables allow, with what is proved of it.

    minimise  sum_g e_g(w_g)   subject to   c_i(w) <= B_i

    hull          separable costs: corners of the lower convex hull, a nested chain, each the best of its own cost
    dp            separable costs: exact for any budget
    chain_dp      any known structure: exact for any budget; quick for chains of layers and residual networks
    lagrange      any known structure: corners of the hull, and a bound that no profile can beat
    minmax        another objective, the greatest error instead of the sum; nested
    trust_region  any function of a profile, several constraints: a local search

The sum of errors is a surrogate. It over-predicts where the narrowest layer decides (in a serial chain of linear layers
by up to the number of layers; take minmax there) and under-predicts where cuts hurt each other. So a prediction only
ranks candidates: measure what you choose. Sources: FlexRank (Zaccone et al., ICML 2026) for the tables and the
knapsack; width costs, bounds and the other solvers as said in `paretorch.methods.width.allocation`. The search belongs
to DPOD as reconstructed from the abstract.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from paretorch.errors import InputError
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.cost_model import Effect, Effects, LayerShape
from paretorch.methods.taxonomy import unknown
from paretorch.methods.width.allocation.costs import AnyCost, Number
from paretorch.methods.width.allocation.frontiers import frontier_points
from paretorch.methods.width.allocation.nested import Point, best_nested_chain
from paretorch.methods.width.allocation.problem import Problem, problem_of
from paretorch.methods.width.allocation.solvers import SOLVERS, Found, bucketed, cheapest, require, tie
from paretorch.methods.width.groups import Profile
from paretorch.methods.width.tables import Table

Solver = Literal["auto", "hull", "dp", "chain_dp", "lagrange", "minmax", "trust_region"]


def _cost(_layers: Sequence[LayerShape], _batch: int, settings: Mapping[str, Any]) -> Effects:
    """The tables: the uncut model and every narrower width of every group, once each over the calibration batches."""
    return {"extra_forward": Effect(added=(settings["widths"] + 1) * settings["batches"])}


CARD = Card(
    id="profile-search",
    title="Profile search under a budget",
    summary="Chooses a width for every layer from measured tables of errors, and says what is proved of the choice.",
    year=2026,
    references=(
        "tables and knapsack: Zaccone, Laskaridis, Ciccone and Horvath, FlexRank, ICML 2026",
        "Lagrangian bounds: Everett, Operations Research 11(3), 1963",
        "knapsack over measured times: Frantar and Alistarh, SPDY, ICML 2022; Shen et al., HALP, NeurIPS 2022",
        "min-max: FastNAS in NVIDIA Model Optimizer",
    ),
    cells=(("architecture", "restrict"), ("parameters", "remove")),
    phase=("prune",),
    hooks=("model_surgery",),
    composes_with=("dpod", "bn-reestimate", "group-importance"),
    relieves=("inference size", "inference latency", "inference compute"),
    worsens=("compute",),
    caveat="errors measured one layer at a time do not add up; measure what was chosen",
    cost="one forward pass of the calibration batches per narrower width and group, and one for the uncut model",
    cost_model=_cost,
    charges=("calibration passes", "search"),
    realised_by="the model is cut to the profile; for latency, a table measured on the target machine",
    hyperparams=(
        HyperParameter(name="widths", default=56, low=1, high=100_000, scale="integer"),
        HyperParameter(name="batches", default=8, low=1, high=10_000, scale="integer"),
    ),
    quality_risk="medium",
    invariants=(
        "the cost of the profile, counted anew, is within every budget",
        "a profile called optimal predicts no more than any other profile within the budget",
        "no profile within the budget predicts less than the lower bound",
        "profiles of a family are nested, from the greatest cost to the least",
    ),
    evidence=("profile_solvers",),
)


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """A profile within the budgets.

    Attributes:
        profile: one width per table.
        predicted_loss: the sum of the errors; with method "minmax" the greatest of them.
        cost: of the profile, counted on the true cost; a mapping if several were given.
        budget: as given.
        optimal: True only where it is proved that no profile of these tables within the budgets predicts less.
        method: the solver that found it.
        certificate: in words, what is proved.
        lower_bound: no profile within the budgets predicts less than this; None where nothing is known.
    """

    profile: Profile
    predicted_loss: float
    cost: Number | Mapping[str, Number]
    budget: Number | Mapping[str, Number]
    optimal: bool
    method: str
    certificate: str
    lower_bound: float | None = None


def allocate(
    tables: Sequence[Table],
    cost: AnyCost | Mapping[str, AnyCost],
    budget: Number | Mapping[str, Number],
    *,
    method: Solver = "auto",
    buckets: int | None = None,
) -> Allocation:
    """The profile of least predicted loss within the budget.

    Args:
        tables: one per width group, in the order of a profile; a group with a single width is fixed.
        cost: a `Cost` (see `cost_of`, `separable`, `chain`), any function of a profile, or several by name.
        budget: greatest cost allowed, in the unit of the cost; several by the same names.
        method: "auto" takes the exact solver for a single cost of known structure, unless that would take too long, and
            else "trust_region".
        buckets: for "dp" and "chain_dp": round costs up to this many steps of the budget, where exact lists grow too
            long. The budget is still kept; the profile is then the best of the rounded costs.

    Raises:
        InputError: for tables, costs or budgets that do not fit together, a budget below the smallest reachable cost
            (which it says), or a method that the structure of the cost does not allow.
    """
    if method not in get_args(Solver):
        raise InputError(unknown("method", method, get_args(Solver)))
    if buckets is not None and (type(buckets) is not int or buckets < 1 or method not in ("dp", "chain_dp")):
        raise InputError(f'buckets is an integer of at least 1, for the methods "dp" and "chain_dp"; got {buckets!r}')
    problem = problem_of(tables, cost, budget)
    start = cheapest(problem)
    if buckets is None:
        found = SOLVERS[method](problem, start)
    else:
        require(problem, method)
        found = bucketed(problem, start, buckets=buckets)
    optimal, certificate = _certified(problem, found)
    costs = problem.cost(found.choice)
    return Allocation(
        profile=problem.profile(found.choice),
        predicted_loss=found.loss,
        cost=costs if isinstance(cost, Mapping) else costs["cost"],
        budget=budget,
        optimal=optimal,
        method=found.method,
        certificate=certificate,
        lower_bound=found.bound,
    )


def _certified(problem: Problem, found: Found) -> tuple[bool, str]:
    """Whether the choice is proved the best, and what is proved, in words."""
    if found.bound is None:
        return False, f"{found.said}Nothing is proved about other profiles."
    gap = max(0.0, found.loss - found.bound)
    if gap <= tie(problem):
        return True, f"{found.said}No profile of these tables within the budget predicts less than {found.loss:.6g}."
    return False, (
        f"{found.said}It predicts {found.loss:.6g}; no profile of these tables within the budget predicts less than "
        f"{found.bound:.6g}, so at most {gap:.3g} could be gained."
    )


def frontier(
    tables: Sequence[Table], cost: AnyCost, *, method: Solver = "auto", nested: bool = True
) -> tuple[Point, ...]:
    """Profiles for many budgets at once, from the greatest cost to the least, none dominated by another.

    Args:
        tables, cost: as in `allocate`, with a single cost.
        method: "auto" takes "hull" for a separable cost, "lagrange" for another known structure and "trust_region" for
            a plain function (at 33 budgets from the least to the greatest cost). "dp" and "chain_dp" give the whole
            exact frontier, which can be long; "minmax" one profile per threshold, with the greatest error as its loss.
        nested: keep the best chain of profiles each of which is nested in the one before.

    Raises:
        InputError: as `allocate`.
    """
    if method not in get_args(Solver):
        raise InputError(unknown("method", method, get_args(Solver)))
    points = frontier_points(tables, cost, method=method)
    return best_nested_chain(points) if nested else points
