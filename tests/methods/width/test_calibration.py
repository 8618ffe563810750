"""The measured loss of a profile is that of the cut model with statistics of its own, and the model is left alone."""

import copy

import pytest
import torch
from torch import Tensor, nn

from paretorch.errors import InputError, NotFiniteError
from paretorch.methods.averaging.batchnorm import reestimate_batchnorm
from paretorch.methods.width.calibration import Calibration
from paretorch.methods.width.extract import extract
from paretorch.methods.width.groups import FIXED, Size, Term, WidthGroup, WidthGroups
from paretorch.methods.width.ordered import OrderedModel
from paretorch.methods.width.tables import sensitivity
from tests.methods.width.handmade import axis, count


def normed() -> tuple[nn.Sequential, WidthGroups]:
    """Linear, batch norm, ReLU, dropout, linear, by hand."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 2)).double()
    names = ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"]
    axes = (*(axis(name, 0, 6, 0) for name in names), axis("4.weight", 1, 6, 0))
    width = count(6, 0)
    sizes = (Size("0", "out_features", width), Size("1", "num_features", width), Size("4", "in_features", width))
    params = (Term(3, (width,)), Term(3, (width,)), Term(2, (width,)), Term(1, (count(2, FIXED),)))
    return model, WidthGroups((WidthGroup("0", 6, ("0",), ("4",)),), axes, sizes, params=params)


def squared(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return (model(batch["inputs"]) - batch["targets"]).square().mean(1)


def batches(count: int, *, size: int = 8, seed: int = 0) -> list[dict[str, Tensor]]:
    stream = torch.Generator().manual_seed(seed)
    draw = lambda width: torch.randn(size, width, generator=stream, dtype=torch.float64)  # noqa: E731
    return [{"inputs": 2 + draw(3), "targets": draw(2)} for _ in range(count)]


def test_losses_are_those_of_the_cut_model_with_its_own_statistics() -> None:
    model, groups = normed()
    splits, own = [batches(2, seed=1), batches(2, seed=2)], batches(3, seed=3)
    measured = Calibration(losses=squared, splits=splits, statistics=own).measured(OrderedModel(model, groups), (4,))
    small = extract(model, groups, (4,)).eval()
    stale = [float(torch.cat([squared(small, b) for b in part]).mean().detach()) for part in splits]
    reestimate_batchnorm(small, own, forward=squared)
    expected = [float(torch.cat([squared(small, b) for b in part]).mean().detach()) for part in splits]
    assert measured == pytest.approx(expected, rel=1e-12)
    assert stale != pytest.approx(expected, rel=1e-3)  # the data have another mean than the initial statistics


def test_measuring_leaves_the_model_bit_for_bit_and_in_its_modes() -> None:
    model, groups = normed()
    model.train()
    model[1].eval()
    before, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    calibration = Calibration(losses=squared, splits=[batches(1)], statistics=batches(2))
    ordered = OrderedModel(model, groups)
    tables = sensitivity(
        groups, (6,), grids=((2, 4, 6),), losses_at=lambda profile: calibration.measured(ordered, profile)
    )
    assert tables[0].widths == (2, 4, 6)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [module.training for module in model] == [True, False, True, True, True]
    assert model.training
    assert torch.equal(generator, torch.get_rng_state())  # dropout was off


def test_examples_count_equally_whatever_their_batch() -> None:
    model, groups = normed()
    whole = batches(1, size=9, seed=4)[0]
    parts = [{name: tensor[:2] for name, tensor in whole.items()}, {name: tensor[2:] for name, tensor in whole.items()}]
    ordered = OrderedModel(model, groups)
    one = Calibration(losses=squared, splits=[[whole]]).measured(ordered, (4,))
    two = Calibration(losses=squared, splits=[parts]).measured(ordered, (4,))
    assert one == pytest.approx(two, rel=1e-12)


def test_weights_that_diverged_are_told_from_bad_input() -> None:
    model, groups = normed()
    ordered = OrderedModel(model, groups)
    with torch.no_grad():
        model[4].bias.fill_(float("inf"))
    with pytest.raises(NotFiniteError, match=r"at profile \(4,\) are \(inf,\): the weights have diverged"):
        Calibration(losses=squared, splits=[batches(1)]).measured(ordered, (4,))
    assert model.training  # modes are as they were


def test_calibration_without_examples_is_refused() -> None:
    with pytest.raises(InputError, match=r"2 splits of \[1, 0\] batches"):
        Calibration(losses=squared, splits=[batches(1), []])
    with pytest.raises(InputError, match="0 splits"):
        Calibration(losses=squared, splits=[])
