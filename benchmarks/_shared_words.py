"""Figures, tables and conclusions of `shared_networks`, all computed from the results of its cells.

A figure rests on the seeds that are finished for it, at least three; a paired difference on those that both have.
"""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from _harness import MIN_SEEDS, add_accuracy, add_equal, over_seeds, table
from _shared_arms import Arm
from _sides import chance, verdict

CLOSE = 0.3  # percentage points that a folded network may differ by
MATRIX = "similarity"

Cells = Mapping[str, Mapping[int, Mapping[str, Any]]]  # name of the arm, seed, what the cell found


def figures_of(arms: Sequence[Arm], cells: Cells) -> dict[str, Any]:
    """All figures that rest on seeds, and the similarities of one run."""
    figures: dict[str, Any] = {}
    plain = _accuracy(cells.get(arms[0].name, {}))
    for arm in arms:
        found = cells.get(arm.name, {})
        if len(found) < MIN_SEEDS:
            continue
        add_accuracy(figures, arm.name, _accuracy(found))
        add_equal(figures, f"{arm.name}, parameters", found, "parameters")
        if arm.templates is None:
            continue
        add_accuracy(figures, f"{arm.name} minus unshared", _accuracy(found), plain)
        means = [mean(_pairs(one[MATRIX])) for one in found.values()]
        figures[f"{arm.name}, similarity"] = over_seeds(means, unit="")
        if arm.folded:
            figures |= _folding(arm.name, found)
    for own in cells.values():
        add_equal(figures, "training samples of an arm", own, "samples")
    return figures


def _folding(name: str, found: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """What folding did to the networks of one arm: both networks have new statistics, or both those of training."""
    made: dict[str, Any] = {}
    own = {seed: one["folded"] for seed, one in found.items()}
    add_accuracy(made, f"{name}, folded", _accuracy(own))
    renewed = {seed: one["unfolded"] for seed, one in own.items()}
    add_accuracy(made, f"{name}, unfolded, new statistics", renewed)
    add_accuracy(made, f"{name}, folded minus unfolded", _accuracy(own), renewed)
    raw = {seed: one["accuracy_raw"] for seed, one in own.items()}
    add_accuracy(made, f"{name}, folded minus unfolded, old statistics", raw, _accuracy(found))
    for key in ("parameters", "weights"):
        counts = [one[key] for one in own.values()]
        made[f"{name}, folded, {key}"] = counts[0] if len({*counts}) == 1 else over_seeds(counts, unit="")
    add_equal(made, f"{name}, folded, layers", own, "layers")
    made[f"{name}, folded, change"] = over_seeds([one["change"] for one in own.values()], unit="fraction")
    return made


def matrix_of(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Layer -> place of another layer in its stage -> their similarity."""
    places = {}
    for one in groups.values():
        for layer, row in zip(one["layers"], one["matrix"], strict=True):
            places[layer] = {other.partition(".")[2]: s for other, s in zip(one["layers"], row, strict=True)}
    return places


def tables(arms: Sequence[Arm], figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How the page shows them."""
    rows = [(arm.name,) for arm in arms if arm.name in figures]
    made = [
        table(
            "Networks whose stages share k templates",
            factors={"network": "{}"},
            rows=rows,
            columns={
                "parameters": "{0}, parameters",
                "test accuracy": ("{0}", "percent"),
                "minus unshared": ("{0} minus unshared", "signed"),
                "mean similarity of layers": ("{0}, similarity", ".2"),
            },
            known=figures,
        )
    ]
    if folded := [(arm.name,) for arm in arms if f"{arm.name}, folded" in figures]:
        made.append(
            table(
                "Folded: layers that became alike have one weight; batch-norm statistics re-estimated in both networks",
                factors={"network": "{}"},
                rows=folded,
                columns={
                    "test accuracy": ("{0}, folded", "percent"),
                    "unfolded": ("{0}, unfolded, new statistics", "percent"),
                    "folded minus unfolded": ("{0}, folded minus unfolded", "signed .2"),
                    "the same, both with the statistics of training": (
                        "{0}, folded minus unfolded, old statistics",
                        "signed .2",
                    ),
                    "parameters": "{0}, folded, parameters",
                    "weights": "{0}, folded, weights",
                    "of layers": "{0}, folded, layers",
                    "largest change of a weight": ("{0}, folded, change", "percent .1"),
                },
                known=figures,
            )
        )
    return made


def matrix_table(title: str, matrix: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """One row per layer; a column per place in its stage."""
    columns = list(dict.fromkeys(place for row in matrix.values() for place in row))
    keys = {column: (f"{MATRIX}/{{0}}/{column}", ".2") for column in columns}
    return table(title, factors={"layer": "{}"}, rows=[(layer,) for layer in matrix], columns=keys)


def conclusions(arms: Sequence[Arm], figures: Mapping[str, Any]) -> list[str]:
    """What the data say about sharing and folding, and no more."""
    gaps = {arm.name: figures[key] for arm in arms if (key := f"{arm.name} minus unshared") in figures}
    if not gaps:
        return []
    sentences = [verdict("Test accuracy minus that of the unshared network", gaps), chance(list(gaps.values()))]
    for arm in arms:
        if (key := f"{arm.name}, folded minus unfolded") in figures:
            largest = max(map(abs, figures[key]["values"]))
            word = "within" if largest <= CLOSE else "not within"
            sentences.append(
                f"{arm.name}: folding changes test accuracy by at most {largest:.2f} points on any seed, {word} "
                f"{CLOSE:g} points."
            )
    return sentences


def _accuracy(found: Mapping[int, Mapping[str, Any]]) -> dict[int, float]:
    return {seed: one["accuracy"] for seed, one in found.items()}


def _pairs(groups: Mapping[str, Mapping[str, Any]]) -> list[float]:
    """Similarities of pairs of different layers of a group."""
    return [s for one in groups.values() for i, row in enumerate(one["matrix"]) for s in row[:i]]
