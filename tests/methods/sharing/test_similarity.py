"""The layer similarity matrix: its definition, what it does not see, and rows that are zero."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from paretorch.errors import InputError
from paretorch.methods.sharing.similarity import layer_similarity, similarity
from paretorch.methods.sharing.templates import share_, shared_groups
from tests.methods.sharing.networks import CONVS, network


def rows(count: int, number: int, *, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, number, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_an_entry_is_the_absolute_cosine_of_two_rows() -> None:
    alpha = rows(5, 3)
    found = similarity(alpha)
    for i in range(5):
        for j in range(5):
            expected = abs(float(nn.functional.cosine_similarity(alpha[i], alpha[j], dim=0)))
            assert float(found[i, j]) == pytest.approx(expected, rel=1e-12)


@given(
    st.integers(1, 6),
    st.integers(1, 5),
    st.lists(st.floats(1e-6, 1e6), min_size=6, max_size=6),
    st.lists(st.sampled_from([-1.0, 1.0]), min_size=6, max_size=6),
    st.integers(0, 1000),
)
def test_the_matrix_is_symmetric_one_on_the_diagonal_and_blind_to_factors_of_rows(
    count: int, number: int, sizes: list[float], signs: list[float], seed: int
) -> None:
    alpha = rows(count, number, seed=seed)
    found = similarity(alpha)
    assert torch.equal(found, found.T)
    assert torch.equal(found.diagonal(), torch.ones(count, dtype=torch.float64))
    assert bool(((found >= 0) & (found <= 1)).all())
    factors = torch.tensor(sizes[:count], dtype=torch.float64) * torch.tensor(signs[:count], dtype=torch.float64)
    torch.testing.assert_close(similarity(factors[:, None] * alpha), found, rtol=0, atol=1e-12)


def test_with_one_template_all_layers_are_the_same_and_orthogonal_rows_are_not_alike_at_all() -> None:
    assert torch.equal(similarity(rows(4, 1)), torch.ones(4, 4, dtype=torch.float64))
    assert torch.equal(similarity(torch.eye(3)), torch.eye(3))


def test_a_row_of_zeros_is_like_nothing_and_has_a_finite_gradient() -> None:
    alpha = torch.tensor([[1.0, 0.0], [0.0, 0.0]], requires_grad=True)
    found = similarity(alpha)
    assert found.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    found.sum().backward()
    assert bool(torch.isfinite(alpha.grad).all())


def test_the_matrix_of_a_model_names_its_layers_in_order() -> None:
    model = network()
    share_(model, templates=2)
    (found,) = layer_similarity(model).values()
    assert found.layers == CONVS
    alpha = shared_groups(model)["conv2d-4x4x3x3"].coefficients.detach()
    torch.testing.assert_close(found.matrix, similarity(alpha.double()))
    off = [float(found.matrix[i, j]) for i in range(3) for j in range(3) if i != j]
    assert found.mean == pytest.approx(sum(off) / 6)
    assert found.to_dict()["matrix"][0][0] == 1.0
    assert found.to_dict()["matrix"][1][2] == round(float(found.matrix[1, 2]), 6)


def test_a_model_that_shares_nothing_has_no_matrix() -> None:
    with pytest.raises(InputError, match="Sequential has no layers that share templates"):
        layer_similarity(network())
