"""The exact expected cost of a model whose units are present at random, each with a probability of its own.

    w_g = max(1, sum over units u of q_u)       q_u ~ Bernoulli(p_u), independent; one unit of a group always stays
    E[x y z] = E x E y E z + E x cov(y, z) + E y cov(x, z) + E z cov(x, y) + k3(x, y, z)

for counts x, y, z that are linear in the widths. A layer that reads and makes the same units costs E[w^2], which is
more than (E w)^2: the cost at the expected widths is not the expected cost. Moments of w follow from the cumulants of a
sum of independent draws, and from the probability that none is drawn, for which 1 is added.

Derived here; a test compares it with the mean over all draws.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.width.groups import Count, Term

FACTORS = 3  # counts in one product: outputs times inputs, and one to spare


class ExpectedCost:
    """The expectation of a sum of products of counts, as a differentiable function of the units' probabilities.

    Args:
        terms: such as `WidthGroups.macs`.
        num_groups: of the profile.

    Raises:
        InputError: if there are no terms, or one has more than three counts.
    """

    def __init__(self, terms: Iterable[Term], *, num_groups: int) -> None:
        terms = tuple(terms)
        if not terms:
            raise InputError("these width groups have no terms of the cost that was asked for; find them by tracing")
        if (longest := max(len(term.counts) for term in terms)) > FACTORS:
            raise InputError(f"a term of the cost is a product of {longest} counts; expected at most {FACTORS}")
        padded = [(*term.counts, *[Count(1)] * (FACTORS - len(term.counts))) for term in terms]
        self.coefficients = torch.tensor([float(term.coefficient) for term in terms], dtype=torch.float64)
        self.constants = torch.tensor([[c.constant for c in counts] for counts in padded], dtype=torch.float64)
        self.per_unit = torch.zeros(len(terms), FACTORS, num_groups, dtype=torch.float64)
        for row, counts in enumerate(padded):
            for column, count in enumerate(counts):
                for group, entries in count.per_unit.items():
                    self.per_unit[row, column, group] = entries

    def __call__(self, probabilities: Sequence[Tensor]) -> Tensor:
        """The expected cost, 0-d float64.

        Args:
            probabilities: for each group, (size,) in [0, 1].
        """
        k1, k2, k3 = torch.stack([width_cumulants(p) for p in probabilities]).unbind(1)
        x, y, z = (self.constants + self.per_unit @ k1).unbind(1)
        a, b, c = self.per_unit.unbind(1)
        products = x * y * z + x * ((b * c) @ k2) + y * ((a * c) @ k2) + z * ((a * b) @ k2) + (a * b * c) @ k3
        return (self.coefficients * products).sum()


def width_cumulants(probabilities: Tensor) -> Tensor:
    """Mean, variance and third cumulant of max(1, number of units drawn), (3,) float64, for probabilities (n,)."""
    p = probabilities.double()
    none = (1 - p).prod()
    mean, variance = p.sum(), (p * (1 - p)).sum()
    third = (p * (1 - p) * (1 - 2 * p)).sum()
    # Raw moments; where nothing is drawn, the width 0 becomes 1 and adds `none` to each.
    m1 = mean + none
    m2 = variance + mean**2 + none
    m3 = third + 3 * variance * mean + mean**3 + none
    return torch.stack([m1, m2 - m1**2, m3 - 3 * m1 * m2 + 2 * m1**3])
