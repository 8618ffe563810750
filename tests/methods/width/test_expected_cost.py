"""The expected cost is the mean of the exact cost over all draws."""

from itertools import product

import pytest
import torch

from paretorch.errors import InputError
from paretorch.methods.width.expected_cost import ExpectedCost, width_cumulants
from paretorch.methods.width.groups import Count, Term
from tests.methods.width.handmade import perceptron_groups


def over_all_draws(terms, probabilities):
    """Mean cost over every combination of units, where an empty group keeps one unit."""
    sizes = [len(p) for p in probabilities]
    every = torch.cat(probabilities).tolist()
    mean = 0.0
    for draw in product([0, 1], repeat=len(every)):
        chance = 1.0
        for here, p in zip(draw, every, strict=True):
            chance *= p if here else 1 - p
        widths = [max(1, int(sum(part))) for part in torch.tensor(draw).split(sizes)]
        mean += chance * sum(term.at(widths) for term in terms)
    return mean


def test_for_a_perceptron_the_expected_cost_is_the_mean_over_all_draws():
    groups = perceptron_groups(3, 4, 5, 2)
    probabilities = [torch.rand(4, dtype=torch.float64), torch.rand(5, dtype=torch.float64)]
    for terms in (groups.macs, groups.params):
        expected = ExpectedCost(terms, num_groups=2)(probabilities)
        assert float(expected) == pytest.approx(over_all_draws(terms, probabilities), rel=1e-12)


def test_layers_that_read_and_make_the_same_units_cost_the_mean_of_the_square_and_the_cube():
    terms = [
        Term(2, (Count(0, {0: 3}), Count(1, {0: 2, 1: 1}))),
        Term(1, (Count(0, {0: 1}), Count(0, {0: 1}), Count(2, {0: 1, 1: 5}))),
        Term(7, ()),
    ]
    probabilities = [torch.tensor([0.1, 0.3, 0.05]), torch.tensor([0.2, 0.9])]
    expected = ExpectedCost(terms, num_groups=2)(probabilities)
    mean = over_all_draws(terms, [p.double() for p in probabilities])
    assert float(expected) == pytest.approx(mean, rel=1e-6)  # 0.1 is another number in float32
    widths = [float(width_cumulants(p)[0]) for p in probabilities]
    assert float(expected) > 1.02 * sum(term.at(widths) for term in terms), "not the cost at the expected widths"


def test_certain_units_cost_what_the_profile_costs():
    groups = perceptron_groups(3, 4, 5, 2)
    drawn = [torch.tensor([1.0, 0.0, 1.0, 1.0]), torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])]
    assert float(ExpectedCost(groups.macs, num_groups=2)(drawn)) == groups.num_macs((3, 1))
    assert float(ExpectedCost(groups.macs, num_groups=2)([drawn[0], torch.zeros(5)])) == groups.num_macs((3, 1))


def test_its_gradient_is_that_of_finite_differences():
    groups = perceptron_groups(3, 2, 3, 2)
    cost = ExpectedCost(groups.params, num_groups=2)
    probabilities = [torch.rand(n, dtype=torch.float64, requires_grad=True) for n in (2, 3)]
    assert torch.autograd.gradcheck(lambda *p: cost(p), probabilities)


def test_it_is_refused_without_terms_and_for_products_of_four():
    with pytest.raises(InputError, match="no terms of the cost"):
        ExpectedCost((), num_groups=1)
    with pytest.raises(InputError, match="product of 4 counts; expected at most 3"):
        ExpectedCost([Term(1, (Count(1),) * 4)], num_groups=1)
