"""Labels of a search: partial profiles with their cost and error, of which only those that no other beats are kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paretorch.errors import InputError
from paretorch.methods.width.allocation.costs import Array

MAX_LABELS = 1 << 23


class TooManyLabelsError(InputError):
    """The exact search would keep more partial profiles than fit in memory."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Partial profiles: costs (n,) int64 or float64, errors (n,) float64, choices (n, groups) int32, -1 undecided."""

    costs: Array
    errors: Array
    choices: Array

    def __len__(self) -> int:
        return len(self.costs)

    def rows(self, index: Array) -> "Labels":
        """Those labels."""
        return Labels(self.costs[index], self.errors[index], self.choices[index])

    def shifted(self, cost: object) -> "Labels":
        """The same with `cost` added."""
        return Labels(self.costs + cost, self.errors, self.choices)

    def pareto(self) -> "Labels":
        """The labels that no other beats in cost and error, at increasing cost; of equals the first."""
        order = np.lexsort((self.errors, self.costs))
        errors = self.errors[order]
        better = np.ones(len(order), dtype=bool)
        better[1:] = errors[1:] < np.minimum.accumulate(errors)[:-1]
        return self.rows(order[better])

    def plus(self, other: "Labels") -> "Labels":
        """Every label of the one with every label of the other, which decide different groups; not dominated ones.

        Raises:
            TooManyLabelsError: if there are too many pairs.
        """
        if len(self) * len(other) > MAX_LABELS:
            raise TooManyLabelsError(
                f"the exact search would need {len(self)} x {len(other)} partial profiles; give `buckets`, or use "
                'method="lagrange"'
            )
        costs = np.add.outer(self.costs, other.costs).ravel()
        errors = np.add.outer(self.errors, other.errors).ravel()
        pairs = Labels(costs, errors, np.arange(len(costs))).pareto()
        left, right = np.divmod(pairs.choices, len(other))
        return Labels(pairs.costs, pairs.errors, np.maximum(self.choices[left], other.choices[right]))


def together(parts: Sequence[Labels]) -> Labels:
    """All labels of several sets, the dominated ones dropped."""
    return Labels(
        np.concatenate([part.costs for part in parts]),
        np.concatenate([part.errors for part in parts]),
        np.concatenate([part.choices for part in parts]),
    ).pareto()
