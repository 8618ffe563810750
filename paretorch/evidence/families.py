"""A family: the runs of one recipe over seeds and durations, and what each run is charged on an axis of cost.

Each (seed, duration) is one full run with its schedule rescaled to that duration; a point of a curve is never the
prefix of a longer run, whose learning rate had not come down yet. The curve of a seed is the runs of that seed, so that
two families can be compared seed by seed.

    charge = sum over the phases of a run      steps, samples, epochs: as counted
                                               seconds: steps * step_s where the steps were timed interleaved with those
                                               of the other arms, else the phase's own seconds
                                               flops: steps * (forward + backward operations of one step)
                                               energy_j: what the meter read

Trials that were not chosen are tuning, and are charged separately (`trial_charge`).
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.curves import TradeoffCurve
from paretorch.evidence.records import RunRecord
from paretorch.evidence.words import Metric, percent

Axis = Literal["seconds", "steps", "samples", "epochs", "flops", "energy_j"]
Scope = Literal["total", "after_dense"]
AXES: tuple[Axis, ...] = ("seconds", "steps", "samples", "epochs", "flops", "energy_j")
SCOPES: tuple[Scope, ...] = ("total", "after_dense")
DECAYED = 0.05  # of the highest learning rate; a schedule that ends above has not come down
_SAME = ("role", "workload", "metric", "higher_is_better", "task", "methods")


@dataclass(frozen=True, kw_only=True)
class Family:
    """The runs that differ in seed and duration only.

    Args:
        label: of the family.
        role: "candidate", "baseline", "control:smaller", "control:random" or "".
        records: seed -> its runs, by rising duration; failed ones too.
    """

    label: str
    role: str
    records: dict[int, tuple[RunRecord, ...]]

    @cached_property
    def runs(self) -> tuple[RunRecord, ...]:
        """All runs, seed by seed."""
        return tuple(run for seed in self.seeds for run in self.records[seed])

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, in order."""
        return tuple(sorted(self.records))

    @property
    def metric(self) -> Metric:
        """How the quality is written."""
        return Metric(self.runs[0].metric, higher_is_better=self.runs[0].higher_is_better)

    @cached_property
    def durations(self) -> tuple[float, ...]:
        """The durations that every seed has run, whether or not the run ended well."""
        shared = set.intersection(*({duration_of(run) for run in runs} for runs in self.records.values()))
        return tuple(sorted(shared))

    def finished(self, seed: int) -> tuple[float, ...]:
        """The durations at which a run of `seed` ended well."""
        return tuple(duration_of(run) for run in self.records[seed] if run.status == "ok")

    @property
    def trials(self) -> int:
        """Tuning trials of the recipe, the most that any of its runs had; 1 when nothing was tuned."""
        return max(int(run.tuning.get("trials", 1)) for run in self.runs)

    @property
    def shares_dense(self) -> bool:
        """Whether its runs go on from a dense model, so that they have a cost after the dense training."""
        named = [{phase.get("phase") for phase in run.phases if phase.get("kind") != "trial"} for run in self.runs]
        return any("dense" in phases and len(phases) > 1 for phases in named)

    @property
    def batch(self) -> int | None:
        """Examples per step; None where the runs do not say."""
        duration = self.runs[0].duration
        known = duration.get("samples") and duration.get("steps")
        return round(duration["samples"] / duration["steps"]) if known else None

    def curve(self, seed: int, *, axis: Axis = "seconds", scope: Scope = "total") -> TradeoffCurve:
        """Test quality against cost of one seed's runs; runs that did not end well reach nothing and are no points.

        Args:
            seed: one of `seeds`.
            axis: what the cost is counted in.
            scope: "total", or "after_dense" to leave out the dense training that all arms share.

        Raises:
            InputError: an unknown seed, a finished run without a quality, or as `charge`.
        """
        if seed not in self.records:
            raise InputError(f"family {self.label!r} has no seed {seed}; it has {list(self.seeds)}")
        points = []
        for run in self.records[seed]:
            if run.status == "ok":
                if run.quality is None:
                    raise InputError(f"run {run.run_id!r} ended well and has no test quality; evaluate it again")
                points.append((charge(run, axis, scope=scope), run.quality))
        return TradeoffCurve(points, higher_is_better=self.runs[0].higher_is_better)


def families_of(records: Iterable[RunRecord]) -> dict[str, Family]:
    """Group records by their family label, in order of appearance; records without one are left out.

    Raises:
        InputError: no record belongs to a family.
        NotComparableError: the runs of a family differ in task, metric, role or methods, or two of them have the same
            seed and duration.
    """
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        if record.family:
            groups.setdefault(record.family, []).append(record)
    if not groups:
        raise InputError("no record belongs to a family of durations; run a comparison, or set `family` in the records")
    return {label: _family(label, runs) for label, runs in groups.items()}


def charge(record: RunRecord, axis: Axis, *, scope: Scope = "total") -> float:
    """What a run cost, all phases together, without the tuning trials that were not chosen.

    Args:
        record: the run.
        axis: one of `AXES`.
        scope: "total", or "after_dense": without the phase named "dense".

    Raises:
        InputError: an unknown axis or scope, or a number that the record does not hold.
    """
    if axis not in AXES or scope not in SCOPES:
        raise InputError(f"axis is one of {AXES} and scope one of {SCOPES}; got {axis!r} and {scope!r}")
    if axis == "energy_j" and scope == "total":
        return _metered(record)
    phases = [phase for phase in record.phases if phase.get("kind") != "trial"]
    return _total(record, [p for p in phases if scope == "total" or p.get("phase") != "dense"], axis)


def trial_charge(record: RunRecord, axis: Axis) -> float:
    """What the tuning trials cost that were not chosen; 0 without any.

    Raises:
        InputError: as `charge`.
    """
    trials = [phase for phase in record.phases if phase.get("kind") == "trial"]
    return _total(record, trials, axis) if trials else 0.0


def duration_of(record: RunRecord) -> float:
    """How long the run was, in epochs, else in steps: what a family varies.

    Raises:
        InputError: the record says neither.
    """
    for name in ("epochs", "steps"):
        if isinstance(value := record.duration.get(name), int | float):
            return float(value)
    return charge(record, "steps")


def decay_warning(record: RunRecord) -> str | None:
    """A sentence if the learning rate ended above `DECAYED` of the run's highest; None if it came down.

    Gains over a baseline tend to vanish once its learning rate is fully decayed at every budget (Kaddour et al. 2023,
    arXiv 2307.06440). None too where the record holds fewer than two learning rates.
    """
    rates = [point["lr"] for point in record.curves if isinstance(point.get("lr"), int | float)]
    if len(rates) < 2 or max(rates) == 0 or rates[-1] <= DECAYED * max(rates):
        return None
    return (
        f"The learning rate of {record.run_id} ended at {percent(round(rates[-1] / max(rates), 2))} of its highest "
        f"value, so its schedule had not come down; let it end below {percent(DECAYED)} at every duration."
    )


def _family(label: str, runs: Sequence[RunRecord]) -> Family:
    for name in _SAME:
        found = {json.dumps(getattr(run, name), sort_keys=True) for run in runs}
        if len(found) > 1:
            raise NotComparableError(
                f"the runs of family {label!r} differ in {name}: {sorted(found)}; a family differs in seed and "
                "duration only, so give the others a label of their own"
            )
    by_cell: dict[tuple[int, float], RunRecord] = {}
    for run in runs:
        cell = run.seed, duration_of(run)
        if cell in by_cell:
            raise NotComparableError(
                f"family {label!r} has seed {cell[0]} at duration {cell[1]:g} twice, in {by_cell[cell].run_id!r} and "
                f"{run.run_id!r}; a repeated run is not a new sample, leave one out"
            )
        by_cell[cell] = run
    seeds = dict.fromkeys(sorted(run.seed for run in runs))
    ordered = sorted(by_cell)
    records = {seed: tuple(by_cell[cell] for cell in ordered if cell[0] == seed) for seed in seeds}
    return Family(label=label, role=runs[0].role, records=records)


def _total(record: RunRecord, phases: Sequence[dict[str, Any]], axis: Axis) -> float:
    if axis == "flops":
        step = record.flops_step
        if "forward" not in step or "backward" not in step:
            raise InputError(f"run {record.run_id!r} did not count the operations of its steps; choose another axis")
        if any(phase.get("teacher_samples") for phase in phases):
            raise InputError(
                f"run {record.run_id!r} had a teacher, whose operations its steps do not count; choose another axis, "
                "such as seconds"
            )
        return _total(record, phases, "steps") * (step["forward"] + step["backward"])
    found = [_of_phase(phase, axis) for phase in phases]
    known = [value for value in found if value is not None]
    if not known or any(value is None and phase.get("steps") for value, phase in zip(found, phases, strict=True)):
        raise InputError(
            f"run {record.run_id!r} does not say how many {axis} each of its phases took, so it cannot be charged; "
            "run it again with this version, or choose another axis"
        )
    return math.fsum(known)


def _of_phase(phase: dict[str, Any], axis: str) -> float | None:
    if axis == "seconds" and "step_s" in phase and "steps" in phase:
        return float(phase["steps"] * phase["step_s"])
    value = phase.get("energy", {}).get("joules") if axis == "energy_j" else phase.get(axis)
    return float(value) if isinstance(value, int | float) else None


def _metered(record: RunRecord) -> float:
    value = record.energy.get("joules")
    if not isinstance(value, int | float):
        raise InputError(f"run {record.run_id!r} has no reading of an energy meter; choose another axis")
    return float(value)
