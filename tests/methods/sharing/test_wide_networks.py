"""The authors' networks, which are wide residual networks with named groups: exact counts, and which layers share."""

import pytest
import torch
from torch import nn

from paretorch.methods.sharing.layers import SharedLayer
from paretorch.methods.sharing.templates import mixing_parameters, shared_groups
from paretorch.training.models.wide_resnet import WideResNet
from tests.methods.sharing.networks import wide


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def empty(**settings: int) -> nn.Module:
    with torch.device("meta"):
        return wide(**settings)


@pytest.mark.parametrize(
    ("widen", "millions"),
    [
        (4, (1.98, 2.75, 3.53, 4.30, 5.07, 5.85)),
        (8, (7.87, 10.97, 14.07, 17.16, 20.26, 23.35)),
        (10, (12.29, 17.13, 21.96, 26.80, 31.64, 36.48)),
        (14, (24.05, 33.54, 43.02, 52.50, 61.99, 71.47)),
        (18, (39.74, 55.41, 71.09, 86.77, 102.44, 118.12)),
    ],
)
def test_networks_of_depth_28_have_the_sizes_of_the_authors_architecture(
    widen: int, millions: tuple[float, ...]
) -> None:
    assert [round(count(empty(widen=widen, templates=k)) / 1e6, 2) for k in range(1, 7)] == list(millions)


@pytest.mark.parametrize(
    ("templates", "classes", "parameters"),
    [
        (6, 10, 36_479_194 + 108),  # WRN-28-10, and 18 rows of 6 coefficients
        (2, 10, 17_125_630),
        (1, 10, 12_287_212),
        (6, 100, 36_536_992),
        (2, 100, 17_183_320),
        (1, 100, 12_344_902),
    ],
)
def test_exact_numbers_of_parameters(templates: int, classes: int, parameters: int) -> None:
    assert count(empty(widen=10, templates=templates, num_classes=classes)) == parameters


def test_what_is_saved_is_the_weights_that_templates_stand_for_less_the_coefficients() -> None:
    for depth, widen, k in [(16, 1, 1), (16, 2, 2), (22, 1, 3), (34, 2, 5)]:
        with torch.device("meta"):
            whole = count(WideResNet(depth=depth, widen=widen))
        shared = 2 * ((depth - 4) // 6 - 1)
        saved = sum((shared - k) * 9 * (16 * widen * 2**stage) ** 2 - shared * k for stage in range(3))
        assert count(empty(depth=depth, widen=widen, templates=k)) == whole - saved


def test_each_stage_has_a_bank_for_all_blocks_but_its_first() -> None:
    model = wide(depth=22, widen=1, templates=2)
    groups = shared_groups(model)
    assert {name: list(group.layers) for name, group in groups.items()} == {
        f"stage{stage}": [f"layer{stage}.{block}.conv{number}" for block in (1, 2) for number in (1, 2)]
        for stage in (1, 2, 3)
    }
    assert len(mixing_parameters(model)) == 12
    assert not any(
        isinstance(m, SharedLayer) for stage in ("layer1", "layer2") for m in model.get_submodule(stage)[0].modules()
    )
    assert len({id(module) for module in model.modules() if isinstance(module, nn.BatchNorm2d)}) == 19
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


def test_with_a_row_of_the_identity_for_each_layer_the_network_is_the_wide_one() -> None:
    plain, shared = WideResNet(depth=16, widen=1), wide(depth=16, widen=1, templates=2)
    state = plain.state_dict()
    shared.load_state_dict({name: value for name, value in state.items() if name in shared.state_dict()}, strict=False)
    with torch.no_grad():
        for group in shared_groups(shared).values():
            for number, (name, layer) in enumerate(group.layers.items()):
                group.bank.templates[number] = state[f"{name}.weight"]
                layer.coefficients.copy_(torch.eye(2)[number])
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(shared(x), plain(x))
