"""Whether families may be compared: one task and metric, and for times one machine, one torch and one way of timing.

Counts (steps, samples, epochs, operations) do not depend on the machine, so they may be compared across machines, which
`claims` then says.
"""

from collections.abc import Sequence

from paretorch.errors import NotComparableError
from paretorch.evidence.families import Axis, Family
from paretorch.evidence.records import RunRecord

MEASURED = ("seconds", "energy_j")
MACHINE = ("host", "cpu", "cpu_capability", "accelerators", "cuda", "threads")


def check_comparable(families: Sequence[Family], *, axis: Axis) -> tuple[int, ...]:
    """Refuse what differs in more than the recipe.

    Args:
        families: two or more.
        axis: what will be charged.

    Returns:
        The seeds that all of them have run.

    Raises:
        NotComparableError: naming the difference and the values.
    """
    for name in ("workload", "metric", "higher_is_better", "task"):
        _same([(family.label, getattr(family.runs[0], name)) for family in families], name)
    if axis in MEASURED and (differences := machine_differences(families)):
        raise NotComparableError(
            f"{axis} from different environments cannot be compared: {'; '.join(differences)}; run all arms on one "
            "machine with one torch, or compare steps"
        )
    if axis == "seconds":
        _same([(family.label, interleaved(family)) for family in families], "steps timed in turns")
    if axis == "energy_j":
        for name in ("source", "scope"):
            _same([(family.label, _of_meter(family, name)) for family in families], f"{name} of the energy meter")
    seeds = set.intersection(*(set(family.seeds) for family in families))
    if not seeds:
        found = "; ".join(f"{family.label!r} ran seeds {list(family.seeds)}" for family in families)
        raise NotComparableError(f"{found}; runs are compared seed by seed, so run all arms with the same seeds")
    return tuple(sorted(seeds))


def machine_differences(families: Sequence[Family]) -> list[str]:
    """What differs in the environments of all runs, e.g. "threads: 1, 2"; empty when nothing does."""
    facts = [_environment(run) for family in families for run in family.runs]
    found = []
    for name in facts[0]:
        values = sorted({fact[name] for fact in facts})
        if len(values) > 1:
            found.append(f"{name}: {', '.join(values)}")
    return found


def interleaved(family: Family) -> bool:
    """Whether every phase of training carries `step_s`, the time of a step measured in turns with the other arms."""
    phases = [phase for run in family.runs for phase in run.phases if phase.get("steps")]
    return bool(phases) and all("step_s" in phase for phase in phases if phase.get("kind") != "trial")


def _of_meter(family: Family, name: str) -> list[str]:
    return sorted({str(run.energy.get(name)) for run in family.runs if run.energy})


def _environment(run: RunRecord) -> dict[str, str]:
    packages = run.env.get("packages")
    torch = packages.get("torch") if isinstance(packages, dict) else None
    return {name: str(run.env.get(name)) for name in MACHINE} | {"torch": str(torch)}


def _same(values: Sequence[tuple[str, object]], name: str) -> None:
    if any(value != values[0][1] for _, value in values):
        found = "; ".join(f"{label!r} has {value!r}" for label, value in values)
        raise NotComparableError(
            f"the families differ in {name.replace('_', ' ')}: {found}; compare arms of one task that were measured "
            "in the same way"
        )
