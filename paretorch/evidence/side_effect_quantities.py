"""What compression broke, over seeds: means and paired changes of what the runs' `side_effects` hold.

Every run was compared with the dense model of its own seed, so changes are paired; the intervals are those of
`statistics`, over seeds. The worst of several classes by its mean change is found after averaging: the mean of each
seed's own worst class would be pulled down by whatever was unlucky in that seed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paretorch.evidence.records import RunRecord
from paretorch.evidence.statistics import Interval, mean_interval, paired_interval


@dataclass(frozen=True, kw_only=True)
class Change:
    """One class, corruption or text, before and after compression.

    Args:
        name: of it.
        dense, candidate: means over seeds.
        change: candidate minus dense, paired over seeds.
        examples: that each seed's figures rest on, or tokens.
    """

    name: str
    dense: Interval
    candidate: Interval
    change: Interval
    examples: int


def affected(runs: Iterable[RunRecord]) -> list[RunRecord]:
    """The finished runs that say what compression broke."""
    return [run for run in runs if run.status == "ok" and run.side_effects]


def class_changes(runs: Iterable[RunRecord]) -> list[Change]:
    """Accuracy by class, in the order of the classes; [] where there are none."""

    def entries(effects: Mapping[str, Any]) -> Iterator[tuple[str, float, float, int]]:
        table = effects.get("per_class", {"labels": [], "dense": [], "candidate": [], "counts": []})
        return zip(*(table[name] for name in ("labels", "dense", "candidate", "counts")), strict=True)

    return _changes(runs, entries)


def corruption_changes(runs: Iterable[RunRecord]) -> list[Change]:
    """Accuracy on each corruption, named with its severity; [] where there are none."""

    def entries(effects: Mapping[str, Any]) -> Iterator[tuple[str, float, float, int]]:
        for entry in effects.get("corruptions", []):
            yield f"{entry['name']} {entry['severity']}", entry["dense"], entry["candidate"], entry["examples"]

    return _changes(runs, entries)


def domain_changes(runs: Iterable[RunRecord]) -> list[Change]:
    """Loss in nats per token on each text; [] where there are none."""

    def entries(effects: Mapping[str, Any]) -> Iterator[tuple[str, float, float, int]]:
        for entry in effects.get("domains", []):
            yield entry["name"], entry["dense"], entry["candidate"], entry["tokens"]

    return _changes(runs, entries)


def mean_effect(runs: Iterable[RunRecord], *path: str) -> Interval | None:
    """Mean over seeds of one number, e.g. `mean_effect(runs, "disagreement", "rate")`; None where no run has it."""
    found = []
    for run in affected(runs):
        value: Any = run.side_effects
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is not None:
            found.append(float(value))
    return mean_interval(found) if found else None


def worst(changes: Sequence[Change], *, higher_is_better: bool = True) -> Change:
    """The one whose mean change is most for the worse, the first of several."""
    return min(changes, key=lambda one: one.change.mean if higher_is_better else -one.change.mean)


def _changes(
    runs: Iterable[RunRecord], entries: Callable[[Mapping[str, Any]], Iterable[tuple[str, float, float, int]]]
) -> list[Change]:
    found: dict[str, list[tuple[float, float, int]]] = {}
    for run in affected(runs):
        for name, dense, candidate, examples in entries(run.side_effects):
            found.setdefault(name, []).append((dense, candidate, examples))
    changes = []
    for name, rows in found.items():
        before, after, counts = zip(*rows, strict=True)
        changes.append(
            Change(
                name=name,
                dense=mean_interval(before),
                candidate=mean_interval(after),
                change=paired_interval(after, before),
                examples=min(counts),
            )
        )
    return changes
