"""Figures, tables and conclusions of `sparse_soups`, all computed from the results of its cells.

A figure rests on the seeds that are finished for it, at least three; a paired difference on those that both arms have.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from _harness import add_accuracy, table
from _sides import chance, verdict
from _soup_problem import COPIES, Problem

SOUP, GREEDY, BEST, MEAN = "SMS", "SMS, greedy", "best candidate", "mean candidate"
IMP, LONG, SWA, LONG_SWA, REPRUNE = "IMP", f"IMP {COPIES}x", "IMP with SWA", f"IMP {COPIES}x with SWA", "IMP-RePrune"
READ = (SOUP, GREEDY, BEST, MEAN)  # what one cell of SMS gives
ARMS = (*READ, IMP, LONG, SWA, LONG_SWA, REPRUNE)
COSTLY = (SOUP, IMP, LONG, SWA, LONG_SWA, REPRUNE)  # one cell each
PAIRS = (
    (SOUP, LONG),
    (SOUP, IMP),
    (SOUP, BEST),
    (SOUP, MEAN),
    (GREEDY, BEST),
    (SOUP, LONG_SWA),
    (SOUP, REPRUNE),
    (LONG, IMP),
    (LONG_SWA, LONG),
    (SWA, IMP),
)
DISTILLED = (SOUP, LONG, IMP)
TEACHER_SHARE = 1 / 3  # a teacher's forward pass over a step's forward and backward pass


@dataclass(frozen=True)
class Setting:
    """One point of the grid."""

    sparsity: float
    cycles: int
    distilled: bool

    @property
    def key(self) -> str:
        """In names of figures: "0.9-3" or "0.9-3-distilled"."""
        return f"{self.sparsity:g}-{self.kind}"

    @property
    def kind(self) -> str:
        """Without the sparsity: costs do not depend on it."""
        return f"{self.cycles}{'-distilled' if self.distilled else ''}"

    @property
    def kind_words(self) -> str:
        cycles = f"{self.cycles} cycle{'s' if self.cycles > 1 else ''}"
        return f"{cycles}{' with a teacher' if self.distilled else ''}"

    @property
    def words(self) -> str:
        return f"{100 * self.sparsity:g} % in {self.kind_words}"


Cells = Mapping[tuple[str, Setting], Mapping[int, Mapping[str, Any]]]  # arm and setting, seed, what the cell found


def settings_of(problem: Problem) -> list[Setting]:
    """All of a task, in the order of the tables."""
    return [
        Setting(sparsity, cycles, distilled)
        for cycles in sorted(problem.cycles, reverse=True)
        for distilled in (False, True)
        for sparsity in sorted(problem.sparsities)
    ]


def figures_of(problem: Problem, cells: Cells) -> dict[str, Any]:
    """All figures of one task."""
    figures: dict[str, Any] = {}
    for setting in settings_of(problem):
        accuracy = {arm: _accuracies(cells, arm, setting) for arm in ARMS}
        for arm, found in accuracy.items():
            add_accuracy(figures, f"{arm}, {setting.key}", found)
        for first, second in PAIRS:
            add_accuracy(figures, f"{first} minus {second}, {setting.key}", accuracy[first], accuracy[second])
        if setting.distilled:
            plain = Setting(setting.sparsity, setting.cycles, False)
            for arm in DISTILLED:
                name = f"{arm}, distilled minus plain, {plain.key}"
                add_accuracy(figures, name, accuracy[arm], _accuracies(cells, arm, plain))
        for arm in COSTLY:
            for one in cells.get((arm, setting), {}).values():
                figures |= {f"{arm}, {setting.kind}, {name}": value for name, value in _costs(one).items()}
        for one in cells.get((SOUP, setting), {}).values():
            figures[f"{setting.sparsity:g}, zeros"], figures["weights"] = one["zeros"], one["weights"]
    return figures


def _costs(one: Mapping[str, Any]) -> dict[str, float]:
    """What a cell cost, in examples: those of the teacher count a third."""
    return {
        "samples": one["samples"],
        "teacher samples": one["teacher_samples"],
        "cost": round(one["samples"] + TEACHER_SHARE * one["teacher_samples"]),
        "longest path": round(one["path_samples"] + TEACHER_SHARE * one["path_teacher_samples"]),
    }


def _accuracies(cells: Cells, arm: str, setting: Setting) -> dict[int, float]:
    cell = SOUP if arm in READ else arm
    return {seed: found["accuracy"][arm] for seed, found in cells.get((cell, setting), {}).items()}


def tables(problem: Problem, figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How the page shows one task, which is a group of the figures."""
    known = {f"{problem.name}/{name}" for name in figures}
    made = []
    for cycles in sorted(problem.cycles, reverse=True):
        for distilled in (False, True):
            made += _of_kind(problem, Setting(0.0, cycles, distilled), known)
        made += _teaching_table(problem, Setting(0.0, cycles, False), known)
    return [*made, *_cost_table(problem, known)]


def _of_kind(problem: Problem, kind: Setting, known: set[str]) -> list[dict[str, Any]]:
    """Accuracies, and paired differences, by sparsity; without columns that are empty."""
    rows = [(sparsity,) for sparsity in sorted(problem.sparsities)]
    gaps = {f"{first} minus {second}": "signed" for first, second in PAIRS}
    made = []
    for title, formats in (
        ("test accuracy", dict.fromkeys(ARMS, "percent")),
        ("paired differences in test accuracy", gaps),
    ):
        cells = {name: (f"{problem.name}/{name}, {{0:g}}-{kind.kind}", words) for name, words in formats.items()}
        used = {name: cell for name, cell in cells.items() if any(cell[0].format(*row) in known for row in rows)}
        if used:
            heading = f"{problem.name}, {kind.kind_words}: {title}"
            made.append(table(heading, factors={"sparsity": "{:.0%}"}, rows=rows, columns=used, known=known))
    return made


def _teaching_table(problem: Problem, kind: Setting, known: set[str]) -> list[dict[str, Any]]:
    """What a teacher changes at equal total cost, by sparsity; nothing where nothing is known."""
    rows = [(sparsity,) for sparsity in sorted(problem.sparsities)]
    columns = {
        arm: (f"{problem.name}/{arm}, distilled minus plain, {{0:g}}-{kind.kind}", "signed") for arm in DISTILLED
    }
    if not any(cell.format(*row) in known for cell, _ in columns.values() for row in rows):
        return []
    title = f"{problem.name}, {kind.kind_words}: test accuracy with a teacher minus without"
    return [table(title, factors={"sparsity": "{:.0%}"}, rows=rows, columns=columns, known=known)]


def _cost_table(problem: Problem, known: set[str]) -> list[dict[str, Any]]:
    kinds = [Setting(0.0, cycles, distilled) for cycles in problem.cycles for distilled in (False, True)]
    heads = {
        "training samples": "samples",
        "teacher samples": "teacher samples",
        "total cost": "cost",
        "longest path": "longest path",
    }
    made = []
    for kind in kinds:
        rows = [(arm,) for arm in COSTLY if f"{problem.name}/{arm}, {kind.kind}, samples" in known]
        columns = {head: f"{problem.name}/{{0}}, {kind.kind}, {name}" for head, name in heads.items()}
        title = f"{problem.name}, {kind.kind_words}: cost in training samples, a teacher's forward pass a third"
        made += [table(title, factors={"arm": "{}"}, rows=rows, columns=columns)] if rows else []
    return made


def conclusions(problem: Problem, figures: Mapping[str, Any]) -> list[str]:
    """What the data say, difference by difference, and no more."""
    sentences, all_gaps = [], []
    settings = settings_of(problem)
    plain = [setting for setting in settings if not setting.distilled]
    asked = [(f"{first} minus {second}", settings) for first, second in PAIRS]
    asked += [(f"{arm}, distilled minus plain", plain) for arm in DISTILLED]
    for name, where in asked:
        keys = {setting.words: f"{name}, {setting.key}" for setting in where}
        gaps = {words: figures[key] for words, key in keys.items() if key in figures}
        all_gaps += gaps.values()
        sentences += [f"{problem.name}, {verdict(name, gaps)}"] if gaps else []
    return [*sentences, f"{problem.name}: {chance(all_gaps)}"] if all_gaps else []
