"""When the centre of an elastic training shrinks, and which group then loses how many units.

    target of step t:   c(t) = c_full (c_target / c_full)^f,    f = (t / T - start) / (stop - start), from 0 to 1
    an event is due:    c(C) > c(t), at most one in a step
    what shrinks:       argmin over (g, v) of e_g(v) / s_g(v),  s_g(v) = c(C) - c(C[g -> v])

Ties go to the larger saving, then to the earlier group. Targets that fall exponentially spread the events evenly over
the logarithm of the footprint, whatever their number, which is not known before: every event takes one group only.

Source: reconstructed from the abstract of J. Liu, MSc thesis, MBZUAI 2025 (DPOD), which says that a single layer is
pruned per step; exponential targets as in HALP (Shen et al., NeurIPS 2022), greedy choice as in AutoSlim (Yu and Huang
2019), there by error alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paretorch.errors import InputError
from paretorch.methods.width.allocation.costs import cost_of
from paretorch.methods.width.grid import Grids
from paretorch.methods.width.groups import Profile, WidthGroups
from paretorch.methods.width.tables import Table, moved

Footprint = Callable[[Profile], float]
WINDOW = (0.15, 0.70)
FOOTPRINTS = ("params", "macs", "activations")


@dataclass(frozen=True, kw_only=True)
class Shrink:
    """One event: group number `group` goes to `width`, for `error` more loss and `saving` less footprint."""

    group: int
    width: int
    error: float
    saving: float


def choose(tables: Sequence[Table], centre: Profile, footprint: Footprint) -> Shrink | None:
    """The smallest error per saving over all narrower widths of all tables; None if nothing can be saved.

    Args:
        tables: one per group, at `centre`.
        centre: the current greatest widths.
        footprint: exact cost of a whole profile.
    """
    now = footprint(centre)
    found = []
    for number, table in enumerate(tables):
        for width, error in zip(table.widths, table.errors, strict=True):
            saving = now - footprint(moved(centre, number, width)) if width < centre[number] else 0
            if saving > 0:
                found.append(Shrink(group=number, width=width, error=error, saving=saving))
    return min(found, key=lambda shrink: (shrink.error / shrink.saving, -shrink.saving, shrink.group), default=None)


@dataclass(frozen=True, kw_only=True)
class ShrinkPlan:
    """How far and when an elastic training shrinks.

    Args:
        target: fraction of the full footprint at which shrinking ends, in (0, 1].
        key: which footprint: "params", "macs" or "activations".
        keep_at: fractions of the full footprint, in (target, 1), at which a copy of the weights is kept: of those that
            the centre had when its footprint last exceeded the fraction.
        window: fractions of the phase between which the targets fall.
        tolerance: no event that would raise the calibration loss by more; None sets no limit.
        all_levels: measure every narrower width of every group at an event, instead of the next one only.

    Raises:
        InputError: for numbers out of range, or a window without a step's length.
    """

    target: float
    key: str = "params"
    keep_at: tuple[float, ...] = ()
    window: tuple[float, float] = WINDOW
    tolerance: float | None = None
    all_levels: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.target <= 1:
            raise InputError(f"target is the fraction of the footprint that is left, in (0, 1]; got {self.target}")
        if self.key not in FOOTPRINTS:
            raise InputError(f"{self.key!r} is no exact footprint to shrink by; choose from {', '.join(FOOTPRINTS)}")
        if bad := [fraction for fraction in self.keep_at if not self.target < fraction < 1]:
            raise InputError(
                f"keep_at holds fractions between the target {self.target:g} and 1, at which weights are kept; got "
                f"{bad[0]:g}"
            )
        if not 0 <= self.window[0] < self.window[1] <= 1:
            raise InputError(
                f"the window of events is two fractions of the phase, start < stop, in [0, 1]; got {self.window}"
            )
        if self.tolerance is not None and not self.tolerance >= 0:
            raise InputError(f"tolerance is a rise of the loss, at least 0, or None; got {self.tolerance}")

    def limit_at(self, step: int, *, num_steps: int, full: float) -> float:
        """The footprint that the centre may have at `step`, from `full` before the window to the target after it."""
        start, stop = self.window
        passed = (step / num_steps - start) / (stop - start)
        return full * math.exp(math.log(self.target) * min(1.0, max(0.0, passed)))

    def reached(self, footprint: float, *, full: float) -> bool:
        """Whether the centre is small enough."""
        return footprint <= self.target * full

    def check(self, groups: WidthGroups, grids: Grids, *, num_steps: int) -> None:
        """Refuse what cannot be done, before anything is trained.

        Args:
            groups: of the full model.
            grids: the widths that each group may take.
            num_steps: of the phase.

        Raises:
            InputError: if the smallest profile of the grids is above the target, saying how small it is; or if the
                window has fewer steps than the grids have levels, since every event takes one step of the phase.
        """
        footprint = cost_of(groups, self.key)
        smallest = tuple(widths[0] for widths in grids)
        full, least = footprint(groups.full), footprint(smallest)
        if not self.reached(least, full=full):
            raise InputError(
                f"shrinking to {self.target:g} of {self.key} ({self.target * full:,.0f} of {full:,.0f}) cannot be "
                f"reached: the smallest profile of the grids, {smallest}, has {least:,.0f}, a fraction of "
                f"{least / full:.3g}. Raise the target, or lower min_ratio or the quantum"
            )
        levels = sum(len(widths) - 1 for widths in grids)
        start, stop = (math.ceil(fraction * num_steps) for fraction in self.window)
        if stop - start < levels:
            raise InputError(
                f"the window of events has {stop - start} steps ({start} to {stop} of {num_steps}), and shrinking may "
                f"need {levels} events, one grid step of one group each. Train longer, widen the window, or take a "
                "larger quantum"
            )
