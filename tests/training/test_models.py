"""The models that ship: published parameter counts, and shapes."""

import pytest
import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.training.models.cnn import SmallCNN
from paretorch.training.models.mlp import lenet_300_100, mlp
from paretorch.training.models.resnet_cifar import BasicBlock, CifarResNet


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("model", "parameters", "shape"),
    [
        (lenet_300_100(), 266_610, (1, 28, 28)),  # 784 x 300 + 300 + 300 x 100 + 100 + 100 x 10 + 10
        (CifarResNet(depth=20), 269_722, (3, 32, 32)),  # 0.27 M in He et al. 2016, table 6
        (CifarResNet(depth=56), 853_018, (3, 32, 32)),  # 0.85 M in the same table
        # Option B adds two 1x1 convolutions with batch norm: 16 x 32 + 64 and 32 x 64 + 128.
        (CifarResNet(depth=20, shortcut="B"), 269_722 + 576 + 2_176, (3, 32, 32)),
        (SmallCNN(), 105_914, (1, 28, 28)),  # 144 + 32 + 4608 + 64 + 1568 x 64 + 64 + 64 x 10 + 10
    ],
)
def test_models_have_the_published_number_of_parameters_and_ten_outputs(
    model: nn.Module, parameters: int, shape: tuple[int, ...]
) -> None:
    assert count(model) == parameters
    assert model.eval()(torch.zeros(2, *shape)).shape == (2, 10)


@pytest.mark.parametrize("depth", [8, 20, 32, 44, 56, 110])
def test_depth_of_a_resnet_counts_its_convolutions_and_the_linear_layer(depth: int) -> None:
    model = CifarResNet(depth=depth)
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules()) == depth


@pytest.mark.parametrize("depth", [2, 18, 21, 52])
def test_other_depths_are_refused(depth: int) -> None:
    with pytest.raises(InputError, match=rf"6n \+ 2 .*got {depth}"):
        CifarResNet(depth=depth)


def test_shortcut_takes_every_second_pixel_and_pads_channels_with_zeros_on_both_sides() -> None:
    block = BasicBlock(2, 4, 2).eval()
    nn.init.zeros_(block.conv2.weight)  # the branch adds nothing
    x = torch.rand(1, 2, 4, 4)
    expected = torch.cat([torch.zeros(1, 1, 2, 2), x[:, :, ::2, ::2], torch.zeros(1, 1, 2, 2)], dim=1)
    assert torch.equal(block(x), expected)


def test_shortcut_of_option_b_convolves_where_channels_change_and_nowhere_else() -> None:
    x = torch.rand(2, 4, 6, 6)
    for block, kept in ((BasicBlock(4, 8, 2, "B"), False), (BasicBlock(4, 4, 1, "B"), True)):
        nn.init.zeros_(block.bn2.weight)  # the branch adds nothing
        expected = x if kept else block.eval().downsample(x)
        assert block.eval()(x).equal(expected.relu())
    names = [name for name, _ in CifarResNet(depth=8, shortcut="B").named_modules() if name.endswith("downsample")]
    assert names == ["layer2.0.downsample", "layer3.0.downsample"]


def test_another_shortcut_is_refused() -> None:
    with pytest.raises(InputError, match="'A' or 'B'; got 'C'"):
        CifarResNet(shortcut="C")  # type: ignore[arg-type]


def test_mlp_has_no_activation_after_its_last_layer() -> None:
    layers = [type(layer).__name__ for layer in mlp((4, 3, 2))]
    assert layers == ["Flatten", "Linear", "ReLU", "Linear"]
    assert mlp((4, 3, 2))(torch.randn(5, 2, 2)).shape == (5, 2)
    assert mlp((4, 2))(torch.randn(100, 4)).min() < 0
