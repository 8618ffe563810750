"""Figures, tables and conclusions of `continuous_sparsification`, all computed from the results of its cells.

A figure rests on the seeds that are finished for it, at least three; a paired difference on those that both arms have.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from _cs_problem import Problem
from _harness import MIN_SEEDS, add_accuracy, add_equal, over_seeds, table
from _sides import chance, verdict

BUDGETED, EQUAL_TIME, DENSE, CS, TUNED = "BIMP", "BIMP, equal time", "dense", "CS", "CS, fine-tuned"
FIXED, FIXED_TUNED = "CS, fixed temperature", "CS, fixed temperature, fine-tuned"
SEARCH_LONG, SEARCH_ONE, SEARCH_SHORT = "search, 3 rounds", "search, 1 round", "search, 1 round, half the epochs"
IMP_LONG, IMP_ONE = "IMP with rewinding, 3 rounds", "IMP with rewinding, 1 round"
OTHERS = ("GMP", "DNW")
ARMS = (BUDGETED, EQUAL_TIME, *OTHERS, CS, TUNED, FIXED, FIXED_TUNED)
TICKET_ARMS = (SEARCH_LONG, IMP_LONG, SEARCH_ONE, IMP_ONE, SEARCH_SHORT)
GATED = (CS, TUNED, FIXED, FIXED_TUNED)
OTHER_COST = (EQUAL_TIME, SEARCH_SHORT)
PAIRS = (
    (CS, BUDGETED),
    (TUNED, BUDGETED),
    (CS, EQUAL_TIME),
    *((CS, other) for other in OTHERS),
    (TUNED, CS),
    (CS, FIXED),
    (TUNED, FIXED_TUNED),
    (CS, DENSE),
)
TICKET_PAIRS = ((SEARCH_LONG, IMP_LONG), (SEARCH_ONE, IMP_ONE), (SEARCH_ONE, IMP_LONG), (SEARCH_SHORT, IMP_LONG))

Cells = Mapping[tuple[str, float], Mapping[int, Mapping[str, Any]]]  # arm and sparsity, seed, what the cell found


def figures_of(task: Problem, cells: Cells) -> dict[str, Any]:
    """All figures of one task; the dense model is under sparsity 0."""
    figures: dict[str, Any] = {}
    dense = cells.get((DENSE, 0.0), {})
    _add(figures, DENSE, task, _qualities(dense))
    for one in dense.values() if not task.higher_is_better else ():
        figures |= {name: over_seeds([value], unit=task.metric) for name, value in one["references"].items()}
    for sparsity in task.sparsities:
        for arm in (*ARMS, *TICKET_ARMS):
            found = cells.get((arm, sparsity), {})
            name = f"{arm}, {sparsity:g}"
            _add(figures, name, task, _qualities(found))
            if len(found) >= MIN_SEEDS and all("undecided" in one for one in found.values()):
                shares = [one["undecided"] for one in found.values()]
                figures[f"{name}, undecided"] = over_seeds(shares, unit="%", factor=100)
            add_equal(figures, f"{sparsity:g}, zeros", found, "zeros")
            add_equal(figures, "weights", found, "weights")
            add_equal(figures, f"{arm}, training samples", found, "samples")
        for first, second in (*PAIRS, *TICKET_PAIRS):
            both = [_qualities(dense if arm == DENSE else cells.get((arm, sparsity), {})) for arm in (first, second)]
            _add(figures, f"{first} minus {second}, {sparsity:g}", task, *both)
    return figures


def _qualities(found: Mapping[int, Mapping[str, Any]]) -> dict[int, float]:
    return {seed: one["quality"] for seed, one in found.items()}


def _add(
    figures: dict[str, Any],
    name: str,
    task: Problem,
    found: Mapping[int, float],
    minus: Mapping[int, float] | None = None,
) -> None:
    """Enter the test metric over seeds, or a paired difference."""
    if task.higher_is_better:
        add_accuracy(figures, name, found, minus)
        return
    seeds = sorted(found if minus is None else found.keys() & minus.keys())
    if len(seeds) >= MIN_SEEDS:
        other = None if minus is None else [minus[seed] for seed in seeds]
        figures[name] = over_seeds([found[seed] for seed in seeds], minus=other, unit=task.metric)


def tables(tasks: Sequence[Problem], figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How the page shows all tasks, each of which is a group of the figures."""
    vision = [task for task in tasks if task.higher_is_better]
    distances = [task for task in tasks if not task.higher_is_better]
    plain, gaps = dict.fromkeys(ARMS, ""), {f"{first} minus {second}": "signed" for first, second in PAIRS}
    lotteries = {f"{first} minus {second}": "signed" for first, second in TICKET_PAIRS}
    lower = "Fréchet distance, lower is better"
    bare, bare_gaps = dict.fromkeys(ARMS, "bare"), dict.fromkeys(gaps, "signed bare")
    made = [
        *_table("Test accuracy", vision, plain, figures, beside={DENSE: f"{{0}}/{DENSE}"}),
        *_table("Paired differences in test accuracy", vision, gaps, figures),
        *_table(
            lower,
            distances,
            bare,
            figures,
            beside={DENSE: (f"{{0}}/{DENSE}", "bare"), "real images": ("{0}/real against real", "bare")},
        ),
        *_table(f"Paired differences in {lower}", distances, bare_gaps, figures),
        *_table("Gates that are undecided at the end", tasks, dict.fromkeys(GATED, ""), figures, key=", undecided"),
        *_table("Tickets: test accuracy", vision, dict.fromkeys(TICKET_ARMS, ""), figures),
        *_table("Tickets: paired differences in test accuracy", vision, lotteries, figures),
    ]
    every = [(task, arm) for task in tasks for arm in TICKET_ARMS]
    rows = [(task.name, arm) for task, arm in every if f"{arm}, training samples" in _own(task, figures)]
    if rows:
        columns = {"training samples": "{0}/{1}, training samples"}
        made.append(table("Tickets: what they cost", factors={"task": "{}", "arm": "{}"}, rows=rows, columns=columns))
    return made


def _own(task: Problem, figures: Mapping[str, Any]) -> Mapping[str, Any]:
    return figures.get(task.name, {})


def _table(
    title: str,
    tasks: Sequence[Problem],
    formats: Mapping[str, str],
    figures: Mapping[str, Any],
    *,
    key: str = "",
    beside: Mapping[str, str | tuple[str, str]] | None = None,
) -> list[dict[str, Any]]:
    """One table by task and sparsity, without rows and columns that are empty; none where nothing is known.

    Args:
        title: heading.
        tasks: of the rows.
        formats: words of the format by name of the figure.
        figures: all.
        key: behind the sparsity in the key of a figure.
        beside: columns before them whose figures have no sparsity.
    """
    known = {f"{task.name}/{name}" for task in tasks for name in _own(task, figures)}
    cells = {name: (f"{{0}}/{name}, {{1:g}}{key}", words) for name, words in formats.items()}
    places = [(task.name, sparsity) for task in tasks for sparsity in sorted(task.sparsities)]
    rows = [row for row in places if any(cell[0].format(*row) in known for cell in cells.values())]
    used = {name: cell for name, cell in cells.items() if any(cell[0].format(*row) in known for row in rows)}
    if not used:
        return []
    columns = {**(beside or {}), **used}
    return [table(title, factors={"task": "{}", "sparsity": "{:.0%}"}, rows=rows, columns=columns, known=known)]


def conclusions(tasks: Sequence[Problem], figures: Mapping[str, Any]) -> list[str]:
    """What the data say, difference by difference, and no more; then who has the best mean."""
    sentences, all_gaps = [], []
    for task in tasks:
        own, direction = _own(task, figures), " (a distance: below 0 is better)" if not task.higher_is_better else ""
        for first, second in (*PAIRS, *TICKET_PAIRS):
            name = f"{first} minus {second}"
            keys = {f"{100 * sparsity:g} %": f"{name}, {sparsity:g}" for sparsity in sorted(task.sparsities)}
            gaps = {words: own[key] for words, key in keys.items() if key in own}
            all_gaps += gaps.values()
            sentences += [verdict(f"{task.name}, {name}{direction}", gaps)] if gaps else []
        sentences += _orders(task, own)
    return [*sentences, chance(all_gaps)] if all_gaps else sentences


def _orders(task: Problem, own: Mapping[str, Any]) -> list[str]:
    """Arms of equal total cost in the order of their means, at every sparsity."""
    sign, found = 1 if not task.higher_is_better else -1, []
    for sparsity in sorted(task.sparsities):
        arms = [arm for arm in (*ARMS, *TICKET_ARMS) if arm not in OTHER_COST and f"{arm}, {sparsity:g}" in own]
        order = sorted(arms, key=lambda arm: sign * own[f"{arm}, {sparsity:g}"]["mean"])
        found += [f"{task.name}, means at {100 * sparsity:g} %, best first: {'; '.join(order)}."] if arms else []
    return found


def headlines(tasks: Sequence[Problem], figures: Mapping[str, Any]) -> list[dict[str, str]]:
    """CS without fine-tuning at every sparsity, at equal epochs and equal time, and tickets at the highest."""
    lines = []
    for task in tasks:
        own, words = _own(task, figures), "signed" if task.higher_is_better else "signed bare"
        measure = "Fréchet distance (lower is better), " if not task.higher_is_better else ""
        pairs = ((CS, BUDGETED), (CS, EQUAL_TIME))
        wanted = [(pair, sparsity) for sparsity in sorted(task.sparsities) for pair in pairs]
        wanted += [(TICKET_PAIRS[0], max(task.sparsities))]
        for (first, second), sparsity in wanted:
            key = f"{first} minus {second}, {sparsity:g}"
            if key in own:
                cost = "" if second == EQUAL_TIME else ", equal epochs"
                claim = f"{task.name}, {100 * sparsity:g} % sparsity{cost}: {measure}{first} minus {second}"
                lines.append({"claim": claim, "figure": f"{task.name}/{key}", "format": words})
    return lines
