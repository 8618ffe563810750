"""Spend what is left of the budgets: change one group at a time to the width that lowers the loss most."""

from collections.abc import Iterator

from paretorch.methods.width.allocation.problem import Choice, Problem


def polished(problem: Problem, choice: Choice) -> Choice:
    """A choice from which no change of a single group lowers the loss within the budgets; `choice` is within them."""
    while True:
        better = next((c for c in _single_changes(problem, choice) if problem.feasible(c)), None)
        if better is None:
            return choice
        choice = better


def _single_changes(problem: Problem, choice: Choice) -> Iterator[Choice]:
    """Changes of one group that lower the loss, the greatest fall first."""
    falls = [
        (errors[choice[group]] - error, group, row)
        for group, errors in enumerate(problem.errors)
        for row, error in enumerate(errors)
        if error < errors[choice[group]]
    ]
    for _, group, row in sorted(falls, key=lambda fall: (-fall[0], fall[1], fall[2])):
        yield (*choice[:group], row, *choice[group + 1 :])
