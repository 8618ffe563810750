"""The recurrence regulariser: its value, its ramp, and where it leads."""

import pytest
import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.methods.sharing.fold import fold_
from paretorch.methods.sharing.regulariser import ramp, recurrence_penalty
from paretorch.methods.sharing.similarity import layer_similarity
from paretorch.methods.sharing.templates import mixing_parameters, share_
from tests.methods.sharing.networks import CONVS, network


def test_the_penalty_is_the_sum_of_one_minus_similarity_over_all_pairs_and_groups() -> None:
    model = nn.ModuleList([nn.Linear(3, 3) for _ in range(7)])
    share_(model, templates=2, groups={"a": ["0", "1", "2"], "b": ["3", "4", "5", "6"]})
    expected = sum(float((1 - one.matrix).sum()) for one in layer_similarity(model).values())
    assert float(recurrence_penalty(model).detach()) == pytest.approx(expected, rel=1e-5)
    assert expected > 1


def drawn_together(rows: list[list[float]], *, power: int, steps: int = 300) -> nn.Module:
    """The network after a descent on the penalty alone, from these coefficients."""
    model = network()
    share_(model, templates=len(rows[0]))
    with torch.no_grad():
        for name, row in zip(CONVS, rows, strict=True):
            model.get_submodule(name).coefficients.copy_(torch.tensor(row))
    optimizer = torch.optim.SGD(mixing_parameters(model).values(), lr=0.2)
    for _ in range(steps):
        optimizer.zero_grad()
        recurrence_penalty(model, power=power).backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] *= 0.98 if power == 1 else 1
    return model


@pytest.mark.parametrize(
    ("rows", "power"),
    [
        ([[1.0, 0.2, 0.1], [0.3, 1.0, 0.2], [0.1, 0.4, 1.0]], 1),  # no pair points apart
        ([[1.0, 0.2, 0.1], [0.3, 1.0, 0.2], [0.1, 0.4, 1.0]], 2),
        ([[1.0, 0.01, 0.0], [-0.02, 1.0, 0.01], [0.01, -0.03, 1.0]], 2),  # nearly orthonormal, as rows begin
        ([[1.0, 0.1], [0.5, 0.87], [-0.5, 0.8]], 2),  # nearly at 60 degrees
    ],
)
def test_alone_it_makes_all_layers_alike_and_folding_then_loses_nothing(rows: list[list[float]], power: int) -> None:
    model = drawn_together(rows, power=power)
    (found,) = layer_similarity(model).values()
    assert float(found.matrix.min()) > 1 - 1e-5
    folding = fold_(model)
    assert list(folding.clusters.values()) == [CONVS]
    assert folding.max_change < 0.01
    assert folding.params_after < folding.params_before


def test_with_power_one_three_lines_at_sixty_degrees_stay_where_they_are() -> None:
    model = drawn_together([[1.0, 0.0], [0.52, 0.86], [-0.5, 0.87]], power=1)
    (found,) = layer_similarity(model).values()
    assert [float(found.matrix[i, j]) for i, j in ((0, 1), (0, 2), (1, 2))] == [pytest.approx(0.5, abs=1e-3)] * 3


@pytest.mark.parametrize("power", [1, 2])
def test_the_gradient_is_that_of_finite_differences(power: int) -> None:
    model = network()
    share_(model, templates=2)
    first = model.get_submodule("2").coefficients
    recurrence_penalty(model, power=power).backward()
    slope, step = first.grad.clone(), 1e-6
    for j in range(2):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                first[j] += sign * step
                values.append(float(recurrence_penalty(model, power=power)))
                first[j] -= sign * step
        assert float(slope[j]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-8)


def test_the_ramp_has_exact_ends() -> None:
    assert [ramp(step, 5) for step in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert [ramp(step, 5, begin=0.25, end=0.75) for step in range(5)] == [0, 0, 0.5, 1, 1]
    assert [ramp(step, 3, begin=0.5, end=0.5) for step in range(3)] == [0, 1, 1]
    assert [ramp(step, 3, begin=0, end=0) for step in range(3)] == [1, 1, 1]
    assert ramp(0, 1) == 1


def test_a_model_that_shares_nothing_has_no_penalty() -> None:
    with pytest.raises(InputError, match="no layers that share templates"):
        recurrence_penalty(network())


def test_another_power_is_refused() -> None:
    model = network()
    share_(model, templates=2)
    with pytest.raises(InputError, match="1 or 2; got 3"):
        recurrence_penalty(model, power=3)
