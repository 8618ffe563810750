"""Shared layers in the hands of others: memory formats, types, drawing anew, layers taken out, numbers gone wrong."""

import copy

import pytest
import torch
from torch import nn

from paretorch.errors import InputError, NotFiniteError
from paretorch.methods.sharing.fold import fold_
from paretorch.methods.sharing.soft_sharing import SoftSharing
from paretorch.methods.sharing.templates import share_, shared_groups
from tests.methods.sharing.networks import images, network, same
from tests.methods.sharing.test_soft_sharing import trainer


def shared() -> nn.Sequential:
    model = network()
    share_(model, templates=2)
    return model.eval()


@pytest.mark.parametrize("channels", [torch.channels_last, torch.channels_last_3d])
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d])
def test_a_memory_format_for_images_changes_no_output_and_no_gradient(
    kind: type[nn.Conv1d | nn.Conv2d], channels: torch.memory_format
) -> None:
    """Torch converts every parameter of four and of five axes, which templates of convolutions have."""
    torch.manual_seed(0)
    model = nn.Sequential(kind(4, 4, 3), kind(4, 4, 3)).double()
    share_(model, templates=2)
    inputs = torch.randn(2, 4, *[7] * (1 if kind is nn.Conv1d else 2), dtype=torch.float64)
    converted = copy.deepcopy(model).to(memory_format=channels)
    found = []
    for one in (model, converted):
        outputs = one(inputs)
        outputs.square().sum().backward()
        found.append([outputs.detach(), *[parameter.grad for parameter in one.parameters()]])
    assert all(same(a, b) for a, b in zip(*found, strict=True))
    assert len(shared_groups(converted)) == 1


def test_all_layers_follow_a_change_of_type_with_one_set_of_templates() -> None:
    model = shared().float()
    (group,) = shared_groups(model).values()
    assert {layer.weight.dtype for layer in group.layers.values()} == {torch.float32}
    assert {id(layer.bank.templates) for layer in group.layers.values()} == {id(model[2].bank.templates)}
    assert model(images().float()).dtype == torch.float32


def test_parameters_that_are_put_in_from_outside_reach_all_layers() -> None:
    model = shared()
    given = {name: 1.1 * parameter.detach() for name, parameter in model.named_parameters()}
    expected = copy.deepcopy(model)
    expected.load_state_dict(given, strict=False)
    assert torch.equal(torch.func.functional_call(model, given, (images(),)), expected(images()))


def test_a_layer_without_a_weight_of_its_own_refuses_to_draw_one() -> None:
    model = shared()
    with pytest.raises(InputError, match="no weight of its own to draw"):
        model[2].reset_parameters()
    fold_(model, threshold=0.01)
    scaled = [layer for layer in model if hasattr(layer, "base")]
    assert scaled
    with pytest.raises(InputError, match="no weight of its own to draw"):
        scaled[0].reset_parameters()


def test_templates_that_left_with_their_first_layer_are_missed_before_training() -> None:
    def headless() -> nn.Module:
        model = shared()
        model[2] = nn.Conv2d(4, 4, 3, padding=1).double()
        return model

    own = trainer(make=headless)
    with pytest.raises(InputError, match=r"templates of \['conv2d-4x4x3x3'\] are no parameters of the model"):
        own.fit(own.model(), phase="train", num_steps=1, methods=[SoftSharing()])


@pytest.mark.parametrize("where", ["coefficients", "bank.templates"])
def test_numbers_that_are_not_finite_are_not_folded(where: str) -> None:
    model = shared()
    with torch.no_grad():
        model[2].get_parameter(where).view(-1)[0] = torch.nan
    names = list(model.state_dict())
    with pytest.raises(NotFiniteError, match="coefficients of conv2d-4x4x3x3 are NaN or infinite"):
        fold_(model)
    assert list(model.state_dict()) == names
