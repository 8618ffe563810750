"""The best measured profile within budgets: solvers propose, measurements decide.

    candidates    least sum of errors, least greatest error (both from the tables), equal ratios, centres of training
    each one      measured on the calibration examples with batch-norm statistics of its own
    chosen        the lowest measured loss within the budgets

What a solver predicted stands beside what was measured, for every candidate. Equal ratios are among them because a
search is only as good as the order of the units it slices.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from paretorch.artefacts.latency_file import load_latency_table
from paretorch.errors import InputError
from paretorch.methods.width.allocation.costs import Cost, cost_of
from paretorch.methods.width.archive import Archive, Entry
from paretorch.methods.width.calibration import Calibration
from paretorch.methods.width.dpod import footprints
from paretorch.methods.width.dpod_events import FOOTPRINTS
from paretorch.methods.width.grid import Grids, below
from paretorch.methods.width.groups import Profile, WidthGroups
from paretorch.methods.width.latency import latency_cost
from paretorch.methods.width.ordered import OrderedModel
from paretorch.methods.width.profile import Solver, allocate
from paretorch.pipelines.elastic.training import ElasticWeights
from paretorch.training.devices import repeatable_cudnn

PREDICTED_LATENCY = "predicted_latency_s"
SOLVERS: tuple[Solver, ...] = ("auto", "minmax")


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """Fractions of the uncut model's footprints that may be left, in (0, 1]; all that are given must hold.

    Args:
        params, macs, activations: of the exact counts.
        latency: of the latency that a table predicts for the uncut model.
        latency_table: file of that table, as `paretorch.artefacts.latency_file` writes it.

    Raises:
        InputError: without a budget, for one out of range, or for a latency without a table or the reverse.
    """

    params: float | None = None
    macs: float | None = None
    activations: float | None = None
    latency: float | None = None
    latency_table: Path | None = None

    def __post_init__(self) -> None:
        if (self.latency is None) != (self.latency_table is None):
            raise InputError("a latency budget needs a latency_table to predict from, and such a table a budget")
        if not self.given():
            raise InputError(
                "say how small the model shall be: params, macs or activations, a fraction of the full one"
            )
        for name, value in self.given().items():
            if not 0 < value <= 1:
                raise InputError(f"{name} is the fraction that may be left, in (0, 1]; got {value}. For half pass 0.5")

    def given(self) -> dict[str, float]:
        """The fractions by name of the footprint."""
        found = {
            "params": self.params, "macs": self.macs, "activations": self.activations, "latency": self.latency,
        }  # fmt: skip
        return {name: value for name, value in found.items() if value is not None}

    def words(self) -> str:
        """As in labels: "25 % params"."""
        return " ".join(f"{part * 100:.4g} % {name}" for name, part in self.given().items())

    def costs(self, groups: WidthGroups) -> dict[str, Cost]:
        """The footprints that have a budget, in the order of `given`; `groups` of the uncut model.

        Raises:
            InputError: if the latency table cannot be read, or is of another model.
        """
        found = {name: cost_of(groups, name) for name in self.given() if name in FOOTPRINTS}
        if self.latency_table is not None:
            found[PREDICTED_LATENCY] = latency_cost(load_latency_table(self.latency_table), groups)
        return found

    def caps(self, costs: Mapping[str, Cost], full: Profile) -> dict[str, float]:
        """The greatest footprint allowed, by name; whole numbers where footprints are counted."""
        parts = zip(self.given().values(), costs.items(), strict=True)
        whole = {name: Fraction(str(part)) * Fraction(cost(full)) for part, (name, cost) in parts}
        return {name: math.floor(cap) if name in FOOTPRINTS else float(cap) for name, cap in whole.items()}

    def check(self, groups: WidthGroups, grids: Grids) -> None:
        """Refuse budgets that no profile meets.

        Raises:
            InputError: saying the smallest that can be reached.
        """
        smallest = tuple(widths[0] for widths in grids)
        costs = self.costs(groups)
        for name, cap in self.caps(costs, groups.full).items():
            least, full = costs[name](smallest), costs[name](groups.full)
            if least > cap:
                raise InputError(
                    f"the budget of {self.words()} allows {cap:,.10g} {name} of {full:,.10g}, and the smallest profile "
                    f"of the grids, {smallest}, has {least:,.10g}, a fraction of {least / full:.3g}. Raise the budget, "
                    "or lower min_ratio or the quantum"
                )


def search(
    weights: ElasticWeights,
    budgets: Budgets,
    *,
    uncut: WidthGroups,
    grids: Grids,
    calibration: Calibration,
    seed: int,
) -> tuple[Entry, Archive, list[Entry]]:
    """The profile to cut out of `weights`, the archive of what was measured, and all of it.

    Args:
        weights: to cut from.
        budgets: of the model.
        uncut: groups of the uncut model, of whose footprints the budgets are fractions.
        grids: widths of the uncut model's groups that are allowed.
        calibration: how profiles are measured.
        seed: of the run, for the archive.

    Raises:
        InputError: if nothing within the budgets can be reached below the centre of `weights`.
    """
    costs = budgets.costs(uncut)
    caps = budgets.caps(costs, uncut.full)
    ordered = OrderedModel(weights.model, weights.groups)
    found: dict[Profile, tuple[str, float | None]] = {}
    with repeatable_cudnn():
        base = _mean(calibration.measured(ordered, weights.groups.full))
        for profile, source, rise in _candidates(weights, costs, caps, grids):
            found.setdefault(profile, (source, None if rise is None else base + rise))
        measured = {profile: _mean(calibration.measured(ordered, profile)) for profile in found}
    archive = Archive(tuple(caps))
    entries = [
        Entry(
            profile=profile,
            footprint=footprints(uncut, profile) | {name: cost(profile) for name, cost in costs.items()},
            loss=measured[profile],
            source=source,
            seed=seed,
            reestimated=bool(calibration.statistics) or not ordered.statistics(weights.groups.full),
            predicted=predicted,
            checkpoint=weights.name,
        )
        for profile, (source, predicted) in found.items()
    ]
    return archive.with_entries(entries).best(caps), archive, entries


def _candidates(
    weights: ElasticWeights, costs: Mapping[str, Cost], caps: Mapping[str, float], grids: Grids
) -> list[tuple[Profile, str, float | None]]:
    """(profile, where it comes from, predicted rise of the loss) within all caps."""
    made: list[tuple[Profile, str, float | None]] = []
    for solver in SOLVERS:
        if len(caps) == 1:  # exact solvers know one cost
            ((name, cap),) = caps.items()
            found = allocate(weights.tables, costs[name], cap, method=solver)
        else:
            found = allocate(weights.tables, costs, caps, method=solver)
        rise = sum(table.error(width) for table, width in zip(weights.tables, found.profile, strict=True))
        made.append((found.profile, found.method, rise))
    centre = weights.groups.full
    for profile in (centre, weights.shrunk):
        if profile is not None and _fits(profile, costs, caps):
            made.append((profile, "trace", None))
    equal = [profile for profile in equal_ratios(centre, grids) if _fits(profile, costs, caps)]
    if equal:
        made.append((equal[-1], "uniform", None))
    return made


def equal_ratios(centre: Profile, grids: Grids) -> list[Profile]:
    """Profiles that give all groups about the same share of the centre, from the smallest to the centre.

    Group g at the ratio r has the greatest width of its grid that is at most r times its centre's, or the smallest.
    """
    allowed = [below(widths, top) for widths, top in zip(grids, centre, strict=True)]
    ratios = sorted({Fraction(width, top) for widths, top in zip(allowed, centre, strict=True) for width in widths})
    profiles: list[Profile] = []
    for ratio in ratios:
        profile = tuple(
            max((width for width in widths if width <= ratio * top), default=widths[0])
            for widths, top in zip(allowed, centre, strict=True)
        )
        if profile not in profiles:
            profiles.append(profile)
    return profiles


def _fits(profile: Profile, costs: Mapping[str, Cost], caps: Mapping[str, float]) -> bool:
    return all(cost(profile) <= caps[name] for name, cost in costs.items())


def _mean(losses: tuple[float, ...]) -> float:
    return sum(losses) / len(losses)
