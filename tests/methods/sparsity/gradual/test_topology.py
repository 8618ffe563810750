"""The exchange of weights against a brute force in numpy, and conserved counts for any shape and sparsity."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.sparsity.allocation import erk_counts, uniform_counts
from paretorch.methods.sparsity.gradual.topology import (
    absent_counts,
    drop_fraction,
    exchange,
    exchanged,
    random_masks,
)
from tests.methods.sparsity.shapes import resnet56_shapes


def brute_force(weight: Tensor, gradient: Tensor, mask: Tensor, count: int) -> NDArray[np.bool_]:
    """One drop and one growth at a time, by a search through the whole layer."""
    w, g, exists = (tensor.double().numpy().ravel() for tensor in (weight, gradient, mask))
    exists = exists.astype(bool)
    for _ in range(count):
        there = [i for i in range(w.size) if exists[i]]
        exists[min(there, key=lambda i: (abs(w[i]), i))] = False
    candidates = [i for i in range(w.size) if not exists[i]]
    for i in sorted(candidates, key=lambda i: (-abs(g[i]), -i))[:count]:
        exists[i] = True
    return exists.reshape(mask.shape)


@st.composite
def layers(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, int]:
    shape = draw(st.sampled_from([(7,), (3, 5), (4, 2, 3), (2, 3, 2, 2)]))
    size = math.prod(shape)
    values = st.lists(st.sampled_from([0.0, -0.5, 0.5, 1.0, -2.0, 3.0]), min_size=size, max_size=size)
    weight, gradient = (torch.tensor(draw(values)).view(shape) for _ in range(2))
    mask = torch.tensor(draw(st.lists(st.booleans(), min_size=size, max_size=size))).view(shape)
    count = draw(st.integers(0, int(mask.sum())))
    return weight * mask, gradient, mask, count


@settings(max_examples=60)
@given(layers())
def test_an_exchange_is_that_of_a_brute_force_and_conserves_the_number_of_weights(
    layer: tuple[Tensor, Tensor, Tensor, int],
) -> None:
    weight, gradient, mask, count = layer
    before = mask.clone()
    after = exchanged(weight, gradient, mask, count)
    np.testing.assert_array_equal(after.numpy(), brute_force(weight, gradient, mask, count))
    assert after.sum() == mask.sum()
    assert torch.equal(mask, before), "the old mask is left as it is"


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4),
    st.floats(0.0, 0.9),
    st.sampled_from(["erk", "uniform"]),
    st.floats(0.0, 1.0),
)
def test_every_layer_keeps_its_count_and_all_of_them_add_up_to_the_target(
    shapes: list[tuple[int, int]], sparsity: float, allocation: str, fraction: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = {f"{i}": nn.Parameter(torch.randn(shape, generator=generator)) for i, shape in enumerate(shapes)}
    for parameter in parameters.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    target = round(sparsity * sum(parameter.numel() for parameter in parameters.values()))
    exact = erk_counts if allocation == "erk" else uniform_counts
    sizes = {
        name: parameter.shape if allocation == "erk" else parameter.numel() for name, parameter in parameters.items()
    }
    assume(all(count < parameters[name].numel() for name, count in exact(sizes, target).items()))
    masks = random_masks(parameters, target, allocation=allocation, seed=1)
    assert sum(int((~mask).sum()) for mask in masks.values()) == target
    after = exchange(parameters, masks, fraction)
    assert {name: int(mask.sum()) for name, mask in after.items()} == {n: int(m.sum()) for n, m in masks.items()}


def test_erk_gives_the_published_shares_of_resnet_56() -> None:
    """At 90 %, two layers are dense (the first convolution and the linear layer), 16-channel ones are 67.9 % sparse."""
    shapes = resnet56_shapes()
    sizes = {name: shape.numel() for name, shape in shapes.items()}
    counts = absent_counts(shapes, round(0.9 * sum(sizes.values())), allocation="erk")
    sparsities = {name: count / sizes[name] for name, count in counts.items()}
    assert sum(counts.values()) == round(0.9 * 848_944)
    assert [name for name, sparsity in sparsities.items() if sparsity == 0] == ["conv1", "fc"]
    assert sparsities["layer1.3.conv1"] == pytest.approx(0.679, abs=5e-4)
    assert sparsities["layer3.3.conv1"] == pytest.approx(0.929, abs=5e-4)


def test_the_fraction_falls_along_a_cosine_from_alpha_to_nothing() -> None:
    fractions = [drop_fraction(step, last=80, alpha=0.3) for step in range(100)]
    assert fractions[0] == 0.3
    assert fractions[40] == pytest.approx(0.15, abs=1e-15)
    assert fractions[20] == pytest.approx(0.15 * (1 + math.sqrt(0.5)), rel=1e-15)
    assert fractions[:81] == sorted(fractions[:81], reverse=True)
    assert set(fractions[80:]) == {0.0}


def test_what_was_just_dropped_may_come_back() -> None:
    weight, gradient = torch.tensor([0.1, 0.5, 0.0]), torch.tensor([9.0, 0.0, 1.0])
    mask = torch.tensor([True, True, False])
    assert exchanged(weight, gradient, mask, 1).tolist() == [True, True, False]
    assert exchanged(weight, gradient.flip(0), mask, 1).tolist() == [False, True, True]


def test_a_dense_layer_and_one_without_gradient_keep_their_masks() -> None:
    dense, frozen = nn.Parameter(torch.arange(4.0)), nn.Parameter(torch.arange(4.0))
    dense.grad = torch.ones(4)
    masks = {"dense": torch.ones(4, dtype=torch.bool), "frozen": torch.tensor([True, False, True, False])}
    after = exchange({"dense": dense, "frozen": frozen}, masks, 1.0)
    assert all(torch.equal(after[name], mask) for name, mask in masks.items())


def test_the_random_start_depends_on_the_seed_and_nothing_else() -> None:
    parameters = {"a": nn.Parameter(torch.randn(20, 10)), "b": nn.Parameter(torch.randn(10, 30))}
    first, again, other = (random_masks(parameters, 400, allocation="erk", seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["a"], other["a"])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_weights_and_gradients_that_are_not_finite_are_refused(bad: float) -> None:
    good, mask = torch.ones(4), torch.tensor([True, True, False, False])
    wrong = torch.tensor([1.0, bad, 1.0, 1.0])
    with pytest.raises(InputError, match="weight: 1 of 4 values are NaN or infinite"):
        exchanged(wrong, good, mask, 1)
    with pytest.raises(InputError, match=r"gradient: .* are NaN or infinite"):
        exchanged(good, torch.full((4,), bad), mask, 1)
    with pytest.raises(InputError, match=r"a\.weight: 1 of 4 values are NaN or infinite"):
        random_masks({"a.weight": nn.Parameter(wrong)}, 2, allocation="erk", seed=0)


def test_more_drops_than_weights_are_refused() -> None:
    with pytest.raises(InputError, match=r"between 0 and 1 weights of this layer can be dropped.*got 2"):
        exchanged(torch.ones(3), torch.ones(3), torch.tensor([True, False, False]), 2)


def test_a_layer_that_would_lose_every_weight_is_refused_by_name() -> None:
    shapes = {"large": torch.Size((50, 50)), "tiny": torch.Size((2, 1))}
    with pytest.raises(InputError, match=r"'uniform' leaves no weight in tiny when 2252 of 2502 are absent.*erk"):
        absent_counts(shapes, 2252, allocation="uniform")
    assert absent_counts(shapes, 2252, allocation="erk")["tiny"] < 2


def test_an_unknown_allocation_is_refused() -> None:
    with pytest.raises(InputError, match="unknown allocation 'lamp'; expected one of erk, uniform"):
        absent_counts({"a": torch.Size((2, 2))}, 1, allocation="lamp")
