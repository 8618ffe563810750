"""The image models: parameter counts that others published, and what makes each architecture what it is."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from paretorch.artefacts.constructor import find_constructor, reference_of
from paretorch.errors import InputError
from paretorch.training.models.densenet import DenseLayer, DenseNet
from paretorch.training.models.group_norm_cnn import GroupNormCNN
from paretorch.training.models.initialise import initialise_convolutions_
from paretorch.training.models.mobilenet_v2 import InvertedResidual, MobileNetV2, round_channels
from paretorch.training.models.resnet import (
    BasicBlock,
    Bottleneck,
    ResNet,
    resnet18,
    resnet34,
    resnet50,
    resnext50_32x4d,
)
from paretorch.training.models.vgg import VGG
from paretorch.training.models.vit import ViT
from paretorch.training.models.wide_resnet import WideBlock, WideResNet

IMAGENET_HEAD = {"side": 7, "hidden": (4096, 4096), "num_classes": 1000}


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def build(constructor: Any, kwargs: dict[str, Any]) -> nn.Module:
    with torch.device("meta"):  # shapes without memory
        return constructor(**kwargs)


@pytest.mark.parametrize(
    ("constructor", "kwargs", "parameters"),
    [
        # Documentation of torchvision.models: num_params of the weights IMAGENET1K_V1.
        (resnet18, {}, 11_689_512),
        (resnet34, {}, 21_797_672),
        (resnet50, {}, 25_557_032),
        (resnext50_32x4d, {}, 25_028_904),
        (ResNet, {"blocks": (3, 4, 23, 3), "bottleneck": True}, 44_549_160),
        (ResNet, {"blocks": (3, 4, 23, 3), "bottleneck": True, "groups": 32, "width_per_group": 8}, 88_791_336),
        (VGG, {"depth": 11, **IMAGENET_HEAD}, 132_868_840),
        (VGG, {"depth": 13, **IMAGENET_HEAD}, 133_053_736),
        (VGG, {"depth": 16, **IMAGENET_HEAD}, 138_365_992),
        (VGG, {"depth": 19, **IMAGENET_HEAD}, 143_678_248),
        (MobileNetV2, {}, 3_504_872),
        (DenseNet, {}, 7_978_856),
        (DenseNet, {"blocks": (6, 12, 32, 32)}, 14_149_480),
        (DenseNet, {"blocks": (6, 12, 36, 24), "growth": 48}, 28_681_000),
        (ViT, {}, 86_567_656),
        (ViT, {"patch_side": 32}, 88_224_232),
        (ViT, {"width": 1024, "depth": 24, "heads": 16}, 304_326_632),
    ],
)
def test_parameters_are_as_many_as_torchvision_documents(constructor: Any, kwargs: dict, parameters: int) -> None:
    assert count(build(constructor, kwargs)) == parameters


@pytest.mark.parametrize(
    ("depth", "widen", "millions"),
    [  # Zagoruyko and Komodakis 2016, table 4
        (40, 1, 0.6),
        (40, 2, 2.2),
        (40, 4, 8.9),
        (40, 8, 35.7),
        (28, 10, 36.5),
        (28, 12, 52.5),
        (22, 8, 17.2),
        (22, 10, 26.8),
        (16, 8, 11.0),
        (16, 10, 17.1),
    ],
)
def test_wide_resnets_have_the_sizes_of_their_paper(depth: int, widen: int, millions: float) -> None:
    model = build(WideResNet, {"depth": depth, "widen": widen})
    assert round(count(model) / 1e6, 1) == millions
    # The name counts the convolutions; with k = 1 the first stage needs no convolution in its shortcut.
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) == depth - (widen == 1)


def wide_resnet_parameters(*, depth: int, widen: int, bias: bool, classes: int) -> int:
    """Counted from the paper's table 1: two numbers per normalised channel, one bias per channel made."""
    n, total, inputs = (depth - 4) // 6, 27 * 16 + 16 * bias, 16
    for channels in (16 * widen, 32 * widen, 64 * widen):
        total += 9 * inputs * channels + (2 * n - 1) * 9 * channels**2 + inputs * channels  # 3x3 and the 1x1 shortcut
        total += 2 * inputs + 2 * (2 * n - 1) * channels + (2 * n + 1) * channels * bias
        inputs = channels
    return total + 2 * inputs + (inputs + 1) * classes


@pytest.mark.parametrize(
    ("depth", "bias", "classes", "parameters"),
    [
        (28, False, 10, 36_479_194),
        (28, False, 100, 36_536_884),
        (28, True, 100, 36_546_980),
        (22, True, 100, 26_863_460),
    ],
)
def test_wide_resnets_have_the_parameters_counted_by_hand(
    depth: int, bias: bool, classes: int, parameters: int
) -> None:
    assert wide_resnet_parameters(depth=depth, widen=10, bias=bias, classes=classes) == parameters
    model = build(WideResNet, {"depth": depth, "bias": bias, "num_classes": classes})
    assert count(model) == parameters


@pytest.mark.parametrize(("widen", "millions"), [(4, 1.98), (8, 7.87), (10, 12.29), (14, 24.05)])
def test_behind_the_first_block_of_each_stage_all_3x3_convolutions_have_one_shape(widen: int, millions: float) -> None:
    """So each stage's can share one weight with a factor per layer: the sizes are those of that construction at k = 1.

    Savarese and Maire 2019 ("Learning Implicitly Recurrent CNNs Through Parameter Sharing"), shared WRN-28.
    """
    model = build(WideResNet, {"depth": 28, "widen": widen})
    saved = 0
    for stage in (1, 2, 3):
        blocks = model.get_submodule(f"layer{stage}")
        shapes = [conv.weight.shape for block in list(blocks)[1:] for conv in (block.conv1, block.conv2)]
        assert len(shapes) == 6
        assert set(shapes) == {(16 * widen * 2 ** (stage - 1),) * 2 + (3, 3)}
        saved += 5 * shapes[0].numel() - 6
    assert round((count(model) - saved) / 1e6, 2) == millions


def test_models_for_small_images_have_the_parameters_counted_by_hand() -> None:
    # ResNet-18 loses the weights of a 7x7 stem against a 3x3 one, and 990 classes of 512 + 1.
    assert 11_689_512 - (49 - 9) * 3 * 64 - 990 * 513 == 11_173_962
    assert count(build(resnet18, {"stem": "cifar", "num_classes": 10})) == 11_173_962
    # VGG-16 keeps its convolutions and norms and has a single linear layer.
    wide_head = (512 * 49 + 1) * 4096 + 4097 * 4096 + 4097 * 1000
    assert count(build(VGG, {})) == 138_365_992 - wide_head + 513 * 10
    assert count(build(MobileNetV2, {"stem": "cifar", "num_classes": 10})) == 3_504_872 - 1281 * 990
    # Huang et al. 2017, table 2: DenseNet-BC with growth 12 and 100 layers has 0.8 million.
    densenet = {"blocks": (16, 16, 16), "growth": 12, "stem": "cifar", "num_classes": 10}
    channels, parameters = 24, 27 * 24
    for block in range(3):
        if block:
            parameters, channels = parameters + 2 * channels + channels * channels // 2, channels // 2
        for _ in range(16):
            parameters += 2 * channels + channels * 48 + 2 * 48 + 9 * 48 * 12
            channels += 12
    parameters += 2 * channels + (channels + 1) * 10
    assert count(build(DenseNet, densenet)) == parameters
    assert round(parameters / 1e6, 1) == 0.8
    width, classes = 8, 5
    convolutions = 9 * (3 * width + 2 * width**2 + 8 * width**2)
    expected = convolutions + 2 * (width + 2 * width + 4 * width) + (4 * width + 1) * classes
    assert count(GroupNormCNN(width=width, groups=2, num_classes=classes)) == expected
    # Patches, class token and 64 + 1 positions; 12 w^2 + 13 w per block; the last norm; the linear layer.
    small = {"image_side": 32, "patch_side": 4, "width": 192, "depth": 9, "heads": 3, "num_classes": 10}
    w = 192
    assert count(build(ViT, small)) == (48 * w + w) + 66 * w + 9 * (12 * w**2 + 13 * w) + 2 * w + 10 * (w + 1)


@pytest.mark.parametrize(
    ("constructor", "kwargs", "side", "macs"),
    [
        # Documentation of torchvision.models: 1.81, 4.09, 4.23, 7.61, 0.30, 2.83 billion ("GFLOPS", which are MACs).
        (resnet18, {}, 224, 1.81),
        (resnet50, {}, 224, 4.09),
        (resnext50_32x4d, {}, 224, 4.23),
        (VGG, {"depth": 11, **IMAGENET_HEAD}, 224, 7.61),
        (MobileNetV2, {}, 224, 0.30),
        (DenseNet, {}, 224, 2.83),
        # 0.56 billion: the figure of the CIFAR ResNet-18 that the pruning literature uses.
        (resnet18, {"stem": "cifar", "num_classes": 10}, 32, 0.56),
    ],
)
def test_products_of_one_image_are_as_many_as_published(constructor: Any, kwargs: dict, side: int, macs: float) -> None:
    with FlopCounterMode(display=False) as counter:
        build(constructor, kwargs)(torch.empty(2, 3, side, side, device="meta"))
    assert round(counter.get_total_flops() / 4e9, 2) == macs  # two images, two operations per product


def test_basic_and_bottleneck_blocks_add_their_input() -> None:
    for block in (BasicBlock(4, 4, stride=1), Bottleneck(8, 4, 8, stride=1, groups=2)):
        last = block.bn2 if isinstance(block, BasicBlock) else block.bn3
        nn.init.zeros_(last.weight)  # the branch adds nothing
        x = torch.randn(2, 4 if isinstance(block, BasicBlock) else 8, 6, 6)
        assert block.eval()(x).equal(x.relu())


def test_a_shortcut_convolves_exactly_where_shapes_change() -> None:
    model = build(resnet50, {})
    found = [name for name, module in model.named_modules() if name.endswith("downsample.0")]
    assert found == [f"layer{stage}.0.downsample.0" for stage in (1, 2, 3, 4)]
    assert [model.get_submodule(name).stride for name in found] == [(1, 1), (2, 2), (2, 2), (2, 2)]
    assert "layer1.0.downsample.0.weight" not in build(resnet18, {}).state_dict()


@pytest.mark.parametrize(("stem", "sides"), [("imagenet", [16, 16, 8, 4, 2]), ("cifar", [64, 64, 32, 16, 8])])
def test_stems_leave_the_resolution_they_say(stem: Any, sides: list[int]) -> None:
    model, seen = ResNet(blocks=(1, 1, 1, 1), width=4, stem=stem, num_classes=2), []
    for module in (model.pool, model.layer1, model.layer2, model.layer3, model.layer4):
        module.register_forward_hook(lambda _module, _args, output: seen.append(output.shape[-1]))
    model(torch.randn(2, 3, 64, 64))
    assert seen == sides


def test_a_wide_block_activates_before_it_convolves_and_its_shortcut_reads_the_activation() -> None:
    same, wider = (WideBlock(4, outputs, stride=1, dropout=0.0, bias=False).eval() for outputs in (4, 8))
    x = torch.randn(2, 4, 6, 6)
    for block in (same, wider):
        nn.init.zeros_(block.conv2.weight)
    assert same(x).equal(x)
    assert wider(x).equal(wider.shortcut(wider.bn1(x).relu()))


def test_dropout_of_a_wide_resnet_acts_while_training_only() -> None:
    model, x = WideResNet(depth=10, widen=1, dropout=0.3), torch.randn(2, 3, 8, 8)
    assert not model(x).equal(model(x))
    model.eval()
    assert model(x).equal(model(x))


def test_a_channel_of_vggs_last_map_feeds_neighbouring_inputs_of_the_linear_layer() -> None:
    model = VGG(depth=11, width=4, side=2, hidden=(16,)).eval()
    images = torch.randn(2, 3, 64, 64)
    maps = model.features(images)
    assert maps.shape == (2, 32, 2, 2)
    linear = model.classifier[0]
    by_channel = torch.einsum("bcij,ocij->bo", maps, linear.weight.view(16, 32, 2, 2)) + linear.bias
    torch.testing.assert_close(linear(maps.flatten(1)), by_channel)
    assert [type(layer).__name__ for layer in model.classifier] == ["Linear", "ReLU", "Dropout", "Linear"]
    assert VGG(depth=11, width=4, hidden=(8,), dropout=0.25).classifier[2].p == 0.25


@pytest.mark.parametrize(
    ("stride", "outputs", "expansion", "residual"),
    [(1, 8, 6, True), (2, 8, 6, False), (1, 16, 6, False), (1, 8, 1, True)],
)
def test_an_inverted_residual_adds_its_input_where_shapes_allow_and_ends_without_activation(
    stride: int, outputs: int, expansion: int, residual: bool
) -> None:
    block = InvertedResidual(8, outputs, stride=stride, expansion=expansion).eval()
    x = torch.randn(2, 8, 6, 6)
    assert (block(x) < 0).any()
    assert block.depthwise.weight.shape == (8 * expansion, 1, 3, 3)
    nn.init.zeros_(block.project.weight)
    assert block(x).equal(x if residual else torch.zeros(2, outputs, 6 // stride, 6 // stride))


@pytest.mark.parametrize(
    ("stem", "sides"), [("imagenet", [32, 16, 8, 4, 4, 2, 2]), ("cifar", [64, 64, 32, 16, 16, 8, 8])]
)
def test_mobilenets_stages_have_the_strides_of_the_table(stem: Any, sides: list[int]) -> None:
    model, features = MobileNetV2(width=0.25, stem=stem, num_classes=2).eval(), torch.randn(1, 3, 64, 64)
    features, seen = model.stem(features), []
    for position, block in enumerate(model.blocks):
        features = block(features)
        if position in (0, 2, 5, 9, 12, 15, 16):  # the last blocks of the stages
            seen.append(features.shape[-1])
    assert seen == sides


def test_channels_are_rounded_to_multiples_of_8_and_lose_at_most_a_tenth() -> None:
    assert [round_channels(c) for c in (1, 8, 11.9, 12, 24 * 0.75, 32 * 0.35, 96 * 1.4)] == [8, 8, 16, 16, 24, 16, 136]
    assert MobileNetV2(width=0.5, num_classes=2).last.out_channels == 1280
    assert MobileNetV2(width=1.4, num_classes=2).last.out_channels == 1792


def test_a_dense_layer_passes_on_what_it_read() -> None:
    layer, x = DenseLayer(6, 4).eval(), torch.randn(2, 6, 5, 5)
    output = layer(x)
    assert output.shape == (2, 10, 5, 5)
    assert output[:, :6].equal(x)


def test_groups_are_normalised_per_example() -> None:
    model, x = GroupNormCNN(width=8, groups=2), torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(model.train()(x)[:1], model.eval()(x[:1]))
    normalised = model.norm1(model.conv1(x)).detach().view(3, 2, -1)
    torch.testing.assert_close(normalised.mean(-1), torch.zeros(3, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.var(-1, unbiased=False), torch.ones(3, 2), atol=1e-3, rtol=0)
    assert GroupNormCNN(channels=1, width=8).conv1.in_channels == 1


def test_a_vit_without_positions_does_not_see_the_order_of_the_patches() -> None:
    model = ViT(image_side=8, patch_side=4, width=16, depth=2, heads=4, num_classes=3).eval()
    x = torch.randn(2, 3, 8, 8)
    swapped = torch.cat((x[:, :, 4:], x[:, :, :4]), dim=2)
    assert not torch.allclose(model(x), model(swapped), atol=1e-6)
    nn.init.zeros_(model.positions)
    torch.testing.assert_close(model(x), model(swapped), rtol=1e-5, atol=1e-6)


def test_attention_of_a_vit_is_torchs_multi_head_attention() -> None:
    model = ViT(image_side=8, patch_side=4, width=16, depth=1, heads=4, dropout=0.5, num_classes=3)
    attention, x = model.blocks[0].attention, torch.randn(2, 5, 16)
    theirs = nn.MultiheadAttention(16, 4, batch_first=True)
    names = {"in_proj_weight": "qkv.weight", "in_proj_bias": "qkv.bias"}
    names |= {"out_proj.weight": "project.weight", "out_proj.bias": "project.bias"}
    theirs.load_state_dict({name: attention.get_parameter(ours) for name, ours in names.items()})
    torch.testing.assert_close(attention(x), theirs(x, x, x, need_weights=False)[0], rtol=1e-5, atol=1e-6)
    images = torch.randn(2, 3, 8, 8)
    assert not model(images).equal(model(images))  # dropout


def test_convolutions_start_with_the_variance_that_keeps_gradients() -> None:
    plain, grouped, depthwise = nn.Conv2d(32, 64, 3), nn.Conv2d(64, 64, 3, groups=4), nn.Conv2d(512, 512, 3, groups=512)
    model = nn.Sequential(plain, grouped, depthwise, linear := nn.Linear(3, 4))
    before = linear.weight.clone()
    initialise_convolutions_(model)
    for layer, fan_out in ((plain, 64 * 9), (grouped, 16 * 9), (depthwise, 9)):
        assert float(layer.weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
        assert not layer.bias.any()
    assert linear.weight.equal(before)


def test_relu_networks_keep_the_size_of_gradients_through_ten_convolutions() -> None:
    layers: list[nn.Module] = []
    for _ in range(10):
        layers += [nn.Conv2d(32, 32, 3, padding=1, padding_mode="circular"), nn.ReLU()]
    model = nn.Sequential(*layers)
    initialise_convolutions_(model)
    x = torch.randn(4, 32, 8, 8, requires_grad=True)
    seed: Tensor = torch.randn(4, 32, 8, 8)
    model(x).backward(seed)
    assert 0.25 < float(x.grad.std() / seed.std()) < 4  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("constructor", "kwargs", "message"),
    [
        (ResNet, {"stem": "mnist"}, "the stem of a ResNet is 'imagenet' or 'cifar'; got 'mnist'"),
        (ResNet, {"blocks": (2, 2)}, r"four stages.*got blocks=\(2, 2\)"),
        (ResNet, {"num_classes": 0}, "sizes of at least 1; got .*num_classes=0"),
        (ResNet, {"groups": 4}, "only bottlenecks can be grouped; got groups=4"),
        (
            ResNet,
            {"bottleneck": True, "width": 16, "width_per_group": 2},
            r"multiple of 64 for whole channels; got 16 \* 2",
        ),
        (WideResNet, {"depth": 20}, r"6n \+ 4 .*got 20"),
        (WideResNet, {"widen": 0}, "at least 1 on the channels; got 0"),
        (WideResNet, {"dropout": 1.0}, r"\[0, 1\); got 1.0"),
        (VGG, {"depth": 12}, "one of 11, 13, 16, 19; got 12"),
        (VGG, {"hidden": (8, 0)}, r"sizes of at least 1; got .*hidden=\(8, 0\)"),
        (MobileNetV2, {"stem": None}, "the stem of a MobileNetV2 is 'imagenet' or 'cifar'; got None"),
        (MobileNetV2, {"width": 0}, "positive factor on the channels; got 0"),
        (DenseNet, {"stem": "other"}, "the stem of a DenseNet is 'imagenet' or 'cifar'; got 'other'"),
        (DenseNet, {"blocks": ()}, r"sizes of at least 1; got blocks=\(\)"),
        (GroupNormCNN, {"width": 12, "groups": 8}, "groups=8 must divide width=12"),
        (ViT, {"depth": 0}, "sizes of at least 1; got .*depth=0"),
        (ViT, {"patch_side": 15}, "image_side=224 of a ViT must be a multiple of patch_side=15"),
        (ViT, {"heads": 5}, "width=768 of a ViT must be a multiple of heads=5"),
        (ViT, {"dropout": -0.1}, r"\[0, 1\); got -0.1"),
    ],
)
def test_arguments_that_make_no_network_are_refused(constructor: Any, kwargs: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(constructor, kwargs)


def test_a_vit_refuses_images_of_another_size() -> None:
    model = ViT(image_side=8, patch_side=4, width=8, depth=1, heads=2)
    with pytest.raises(InputError, match=r"side 8; got shape \(1, 3, 8, 12\)"):
        model(torch.zeros(1, 3, 8, 12))


@pytest.mark.parametrize("constructor", [resnet18, resnet34, resnet50, resnext50_32x4d])
def test_artefacts_may_name_the_functions_that_build_resnets(constructor: Any) -> None:
    assert find_constructor(reference_of(constructor), allow_import=False) is constructor
