"""Figures, tables and conclusions of `gradual_pruning`, all computed from the results of its cells.

A figure rests on the seeds that are finished for it, at least three; a paired difference on those that both have.
"""

from collections.abc import Mapping
from typing import Any

from _harness import add_accuracy, over_seeds, table
from _sides import chance, verdict

BUDGETED, DENSE = "BIMP", "dense"
METHODS = (BUDGETED, "GMP", "GSM", "LC", "DPF", "DNW", "STR", "DST", "RigL")
UNSTEERED = ("STR", "DST")  # their sparsity follows from a setting
SPARSITIES = (0.9, 0.95, 0.98)

Cells = Mapping[tuple[str, float], Mapping[int, Mapping[str, Any]]]  # method and sparsity, seed, what the cell found


def figures_of(cells: Cells) -> dict[str, Any]:
    """All figures that rest on seeds; the dense model is under sparsity 0."""
    figures: dict[str, Any] = {}
    dense = cells.get((DENSE, 0.0), {})
    add_accuracy(figures, DENSE, {seed: one["accuracy"] for seed, one in dense.items()})
    for sparsity in SPARSITIES:
        accuracy = {
            method: {seed: one["accuracy"] for seed, one in cells.get((method, sparsity), {}).items()}
            for method in METHODS
        }
        for method in METHODS:
            name = f"{method}, {sparsity:g}"
            add_accuracy(figures, name, accuracy[method])
            if method != BUDGETED:
                add_accuracy(figures, f"{BUDGETED} minus {name}", accuracy[BUDGETED], accuracy[method])
            found = list(cells.get((method, sparsity), {}).values())
            if name in figures:
                zeros = [one["zeros"] / one["weights"] for one in found]
                figures[f"{name}, sparsity"] = over_seeds(zeros, unit="%", factor=100)
            if name in figures and method in UNSTEERED:
                before = [one["before"] / one["weights"] for one in found]
                figures[f"{name}, sparsity before the last pruning"] = over_seeds(before, unit="%", factor=100)
    figures["training samples of an arm"] = sorted({one["samples"] for own in cells.values() for one in own.values()})
    return figures


def tables(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How the page shows them."""
    made = []
    for title, key, words, methods in (
        ("Test accuracy, by sparsity", "{0}, {1:g}", "percent", METHODS),
        (
            f"Test accuracy of {BUDGETED} minus that of the others",
            f"{BUDGETED} minus {{0}}, {{1:g}}",
            "signed",
            METHODS[1:],
        ),
        ("Sparsity reached", "{0}, {1:g}, sparsity", "percent .2", METHODS),
        (
            "Sparsity before the last pruning",
            "{0}, {1:g}, sparsity before the last pruning",
            "percent .2",
            UNSTEERED,
        ),
    ):
        cells = {f"{100 * sparsity:g} %": (key.replace("{1:g}", f"{sparsity:g}"), words) for sparsity in SPARSITIES}
        rows = [(method,) for method in methods if any(cell[0].format(method) in figures for cell in cells.values())]
        if rows:
            made.append(table(title, factors={"method": "{}"}, rows=rows, columns=cells, known=figures))
    return made


def conclusions(figures: Mapping[str, Any]) -> list[str]:
    """What the data say about BIMP, method by method, and no more; then who has the highest mean."""
    sentences, all_gaps = [], []
    for method in METHODS[1:]:
        keys = {f"{100 * sparsity:g} %": f"{BUDGETED} minus {method}, {sparsity:g}" for sparsity in SPARSITIES}
        gaps = {words: figures[key] for words, key in keys.items() if key in figures}
        all_gaps += gaps.values()
        sentences += [verdict(f"{BUDGETED} minus {method}", gaps)] if gaps else []
    for sparsity in SPARSITIES:
        means = {
            method: figures[f"{method}, {sparsity:g}"]["mean"]
            for method in METHODS
            if f"{method}, {sparsity:g}" in figures
        }
        if means:
            order = sorted(means, key=lambda method: -means[method])
            sentences.append(f"Means at {100 * sparsity:g} %, highest first: {', '.join(order)}.")
    return [*sentences, chance(all_gaps)] if all_gaps else sentences
