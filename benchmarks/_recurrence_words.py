"""Figures, tables and conclusions of `implicit_recurrence`, all computed from the results of its cells.

A figure rests on the seeds that are finished for it, at least three; a paired difference on those that both arms have.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _harness import MIN_SEEDS, add_accuracy, add_equal, over_seeds, table
from _sides import chance, verdict

from paretorch.evidence.best_of_n import expected_best, tuned_interval

UNSHARED, HARD, SOFT, WEAK, PENALTY = "unshared", "one weight", "soft", "soft with weak penalty", "soft with penalty"
ARMS = (UNSHARED, HARD, SOFT, WEAK, PENALTY)
SHARING = (SOFT, WEAK, PENALTY)
PAIRS = (
    (PENALTY, UNSHARED),
    (PENALTY, HARD),
    (PENALTY, SOFT),
    (PENALTY, WEAK),
    (SOFT, UNSHARED),
    (SOFT, HARD),
    (WEAK, UNSHARED),
    (WEAK, HARD),
    (HARD, UNSHARED),
)
SIZES = {"larger": "larger grids", "small": "grids of the size of training"}
FOLDED = "folded minus unfolded"
NEAR = 0.3  # points that folding may change
SEARCH = "random search"

Cells = Mapping[str, Mapping[int, Mapping[str, Any]]]  # arm, seed, what the cell found


def figures_of(cells: Cells, patterns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All figures; `patterns` are the trainings of the random search."""
    figures: dict[str, Any] = {}
    for size in SIZES:
        found = {arm: _values(cells, arm, size) for arm in ARMS}
        for arm in ARMS:
            add_accuracy(figures, f"{arm}, {size}", found[arm])
        for first, second in PAIRS:
            add_accuracy(figures, f"{first} minus {second}, {size}", found[first], found[second])
    for arm in ARMS:
        add_accuracy(figures, f"{arm}, solved", _values(cells, arm, "solved"))
        add_equal(figures, f"{arm}, parameters", cells.get(arm, {}), "parameters")
        add_equal(figures, "training samples of one training", cells.get(arm, {}), "samples")
    add_equal(figures, "training samples of one training", dict(enumerate(patterns)), "samples")
    for arm in SHARING:
        own = cells.get(arm, {})
        add_accuracy(figures, f"{arm}, {FOLDED}", _values(cells, arm, "folded"), _values(cells, arm, "larger"))
        if len(own) >= MIN_SEEDS:
            seeds = sorted(own)
            for name in ("similarity", "weights", "folded_parameters"):
                words = f"{arm}, {name.replace('_', ' ')}"
                figures[words] = over_seeds([own[seed][name] for seed in seeds], unit="")
    return figures | _search_figures(figures, [one["larger"] for one in patterns])


def _search_figures(figures: Mapping[str, Any], reached: Sequence[float]) -> dict[str, Any]:
    """Expected best of 1, 2, 4, ... and all patterns, and how many it takes to expect what each soft arm reached."""
    if len(reached) < MIN_SEEDS:
        return {}
    found: dict[str, Any] = {f"{SEARCH}, patterns": len(reached)}
    for n in tried(len(reached)):
        interval = tuned_interval([reached], n, higher_is_better=True, generator=np.random.default_rng(0)).scaled(100)
        spread = {"mean": interval.mean, "low": interval.low, "high": interval.high, "n": interval.n}
        found[f"{SEARCH}, best of {n}"] = {**spread, "unit": "%"}
    for arm in SHARING:
        if f"{arm}, larger" in figures:
            found[f"{SEARCH}, trainings to reach {arm}"] = needed(reached, figures[f"{arm}, larger"]["mean"] / 100)
    return found


def tried(patterns: int) -> list[int]:
    """Numbers of trainings of which the expected best is shown: powers of two, and all."""
    return sorted({*(2**k for k in range(patterns.bit_length()) if 2**k <= patterns), patterns})


def needed(reached: Sequence[float], wanted: float) -> int | str:
    """The least number of trainings whose expected best is at least `wanted`; "more than N" if there is none."""
    for n in range(1, len(reached) + 1):
        if expected_best(reached, n, higher_is_better=True) >= wanted:
            return n
    return f"more than {len(reached)}"


def tables(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How the page shows them."""
    arms = [(arm,) for arm in ARMS if f"{arm}, larger" in figures]
    sharing = [(arm,) for arm in SHARING if f"{arm}, similarity" in figures]
    pairs = [pair for pair in PAIRS if f"{pair[0]} minus {pair[1]}, larger" in figures]
    trainings = [(n,) for n in tried(figures.get(f"{SEARCH}, patterns", 0)) if n]
    made = []
    if arms:
        columns = {
            "larger grids": ("{0}, larger", "percent"),
            "solved without a mistake": ("{0}, solved", "percent"),
            "grids of the size of training": ("{0}, small", "percent"),
            "parameters": "{0}, parameters",
        }
        made.append(table("Accuracy by cells", factors={"weights of the layers": "{}"}, rows=arms, columns=columns))
    if pairs:
        gaps = {words: (f"{{0}} minus {{1}}, {size}", "signed") for size, words in SIZES.items()}
        factors = {"arm": "{}", "minus": "{}"}
        made.append(table("Paired differences in accuracy by cells", factors=factors, rows=pairs, columns=gaps))
    if sharing:
        columns = {
            "mean similarity": "{0}, similarity",
            "weights after folding": "{0}, weights",
            "parameters after folding": ("{0}, folded parameters", ".0"),
            f"larger grids, {FOLDED}": (f"{{0}}, {FOLDED}", "signed"),
        }
        made.append(table("Which layers became one", factors={"arm": "{}"}, rows=sharing, columns=columns))
    if trainings:
        title = "Random search over sharing patterns: expected accuracy on larger grids"
        columns = {"best of so many": (f"{SEARCH}, best of {{0}}", "percent")}
        made.append(table(title, factors={"trainings": "{}"}, rows=trainings, columns=columns))
    return made


def conclusions(figures: Mapping[str, Any]) -> list[str]:
    """What the data say, and no more."""
    sentences, all_gaps = [], []
    for first, second in PAIRS:
        keys = {words: f"{first} minus {second}, {size}" for size, words in SIZES.items()}
        gaps = {words: figures[key] for words, key in keys.items() if key in figures}
        all_gaps += gaps.values()
        sentences += [verdict(f"{first} minus {second}", gaps)] if gaps else []
    for arm in SHARING:
        if (gap := figures.get(f"{arm}, {FOLDED}")) is not None:
            worst = max(map(abs, gap["values"]))
            word = "within" if worst <= NEAR else "not within"
            sentences.append(f"Folding, {arm}: {word} {NEAR} points of the unfolded model with every seed.")
        if (count := figures.get(f"{SEARCH}, trainings to reach {arm}")) is not None:
            sentences.append(
                f"One training of {arm} reaches on the average what the best of {count} random patterns is expected to "
                f"reach, chosen by its accuracy on the larger grids themselves."
            )
    return [*sentences, chance(all_gaps)] if all_gaps else sentences


def headlines(figures: Mapping[str, Any]) -> list[dict[str, str]]:
    """Soft sharing against the unshared stack and one weight for all on larger grids; what a search has to train."""
    lines = []
    for arm, other in [*((arm, UNSHARED) for arm in (HARD, *SHARING)), *((arm, HARD) for arm in SHARING)]:
        if (key := f"{arm} minus {other}, larger") in figures:
            claim = f"Paths on grids larger than those of training, accuracy: {arm} minus {other}"
            lines.append({"claim": claim, "figure": key, "format": "signed"})
    for arm in SHARING:
        if (key := f"{SEARCH}, trainings to reach {arm}") in figures:
            claim = f"Trainings of random sharing patterns until the best is expected to reach one training of {arm}"
            lines.append({"claim": claim, "figure": key})
    return lines


def _values(cells: Cells, arm: str, name: str) -> dict[int, float]:
    return {seed: one[name] for seed, one in cells.get(arm, {}).items()}
