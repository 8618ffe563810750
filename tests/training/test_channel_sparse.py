"""The published channel-sparse ResNet-20: its channels of zeros can be removed and nothing changes but the size."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import paretorch as pt
from paretorch.artefacts.cut_edit import CutEdit
from paretorch.errors import InputError
from paretorch.methods.width.cutting import Cut
from paretorch.methods.width.extract import masked
from paretorch.training.models.resnet_cifar import CifarResNet
from paretorch.training.published import load_published, locate_published
from paretorch.training.published.channel_sparse import build, unread_channels
from paretorch.training.tasks.images.cifar10 import scaled
from paretorch.training.tasks.images.cifar10_files import read_test

NAME = "resnet20-channel-sparse"
# block: (channels that nobody reads, inputs of conv1, channels of the block)
UNREAD = {
    "layer1.0": (5, 16, 16),
    "layer1.1": (8, 16, 16),
    "layer1.2": (8, 16, 16),
    "layer2.0": (9, 16, 32),
    "layer2.1": (14, 32, 32),
    "layer3.0": (13, 32, 64),
    "layer3.1": (12, 64, 64),
}
IMAGE = torch.zeros(1, 3, 32, 32)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture
def model(data_folder: Callable[[str], Path]) -> nn.Module:
    folder = data_folder("weights_cifar_resnet")
    return build(locate_published(NAME, data=folder.parent)).eval()


@pytest.fixture
def images(data_folder: Callable[[str], Path]) -> tuple[Tensor, Tensor]:
    pixels, labels = read_test(data_folder("cifar10"))
    return scaled(pixels[:100], "half"), labels[:100]


@pytest.mark.slow
def test_the_weights_reach_the_accuracy_of_the_file_on_the_whole_test_set(
    data_root: Path, data_folder: Callable[[str], Path]
) -> None:
    data_folder("weights_cifar_resnet")
    data_folder("cifar10")
    loaded = load_published(NAME, data=data_root)
    assert count(loaded) == 272_474
    assert not loaded.training


def test_the_weights_have_as_many_zeros_as_their_authors_say(model: nn.Module) -> None:
    weights = [p for p in model.parameters() if p.dim() > 1]
    assert sum(weight.numel() for weight in weights) == 270_896
    assert sum(int(weight.count_nonzero()) for weight in weights) == 246_848


def test_the_channels_that_nobody_reads_are_found_by_block(model: nn.Module) -> None:
    cut = unread_channels(model)
    kept = {name.removesuffix(".conv2.weight"): dims[1] for name, dims in cut.slices.items() if "conv2" in name}
    assert {name: width - len(kept[name]) for name, (_, _, width) in UNREAD.items()} == {
        name: unread for name, (unread, _, _) in UNREAD.items()
    }
    assert kept.keys() == UNREAD.keys()
    for name, read in kept.items():
        removed = sorted(set(range(UNREAD[name][2])) - set(read.index.tolist()))
        assert not model.get_parameter(f"{name}.conv2.weight")[:, removed].any()
        assert model.get_parameter(f"{name}.conv2.weight")[:, read.index].ne(0).any(dim=(0, 2, 3)).all()


def test_cutting_them_leaves_outputs_and_answers_and_takes_the_parameters_counted_by_hand(
    model: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    pixels, labels = images
    cost = pt.measure(model, IMAGE, latency=False)
    with torch.no_grad():
        before = model(pixels)
    unread_channels(model).apply_(model)
    with torch.no_grad():
        after = model(pixels)
    assert float((after - before).norm() / before.norm()) < 1e-5
    assert after.argmax(1).equal(before.argmax(1))
    assert (after.argmax(1) == labels).float().mean() > 0.8  # the images are scaled as the model needs them
    smaller = pt.measure(model, IMAGE, latency=False)
    saved = sum(unread * (9 * inputs + 2 + 9 * width) for unread, inputs, width in UNREAD.values())
    assert saved == 43_194
    assert cost.params - smaller.params == saved
    # Every weight of a convolution is used once per output pixel: 32 x 32, 16 x 16 and 8 x 8 in the three stages.
    pixels_of = {"layer1": 32**2, "layer2": 16**2, "layer3": 8**2}
    macs = sum(
        unread * 9 * (inputs + width) * pixels_of[name.partition(".")[0]]
        for name, (unread, inputs, width) in UNREAD.items()
    )
    assert cost.macs_dense - smaller.macs_dense == macs
    # The zeros that are gone were no work: what is left of conv2 is dense, and conv1's products were all nonzero.
    assert smaller.macs_nonzero == smaller.macs_dense < cost.macs_nonzero < cost.macs_dense
    assert unread_channels(model) == Cut()


def test_half_of_a_trained_network_cut_by_importance_costs_what_the_formulas_say(
    model: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    groups = pt.find_groups(model, IMAGE)
    keep = pt.keep_within(groups, pt.unit_importance(model, groups), ratio=0.5)
    with torch.no_grad():
        expected = masked(model, groups, keep)(images[0])
    before = pt.measure(model, IMAGE, latency=False)
    assert (before.params, before.macs_dense) == (groups.num_params(groups.full), groups.num_macs(groups.full))
    pt.plan_cut(groups, keep).apply_(model)
    # Half of every channel: 3 * 3 * 3 * 8 in the stem; per stage blocks of 3x3 products and 1x1 shortcuts.
    w1, w2, w3 = 8, 16, 32
    stem, first = 27 * w1, 6 * 9 * w1**2
    second, third = 9 * w1 * w2 + 5 * 9 * w2**2 + w1 * w2, 9 * w2 * w3 + 5 * 9 * w3**2 + w2 * w3
    norms = 2 * (w1 + 6 * w1 + 7 * w2 + 7 * w3)
    after = pt.measure(model, IMAGE, latency=False)
    assert after.params == stem + first + second + third + norms + 10 * w3 + 10
    assert after.macs_dense == 1024 * (stem + first) + 256 * second + 64 * third + 10 * w3
    with torch.no_grad():
        torch.testing.assert_close(model(images[0]), expected, rtol=1e-4, atol=1e-4)


def test_the_cut_model_is_saved_as_edits_and_loaded_with_the_same_bits(
    model: nn.Module, images: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    cut = unread_channels(model)
    cut.apply_(model)
    path = pt.save_model(
        tmp_path / "cut", model, constructor=CifarResNet, kwargs={"depth": 20, "shortcut": "B"}, edits=[CutEdit(cut)]
    )
    loaded = pt.load_model(path)
    assert count(loaded) == 272_474 - 43_194
    with torch.no_grad():
        assert loaded(images[0][:20]).equal(model(images[0][:20]))


def test_channels_that_nobody_reads_are_found_without_the_published_weights() -> None:
    model = CifarResNet(depth=8, shortcut="B").eval()
    assert unread_channels(model) == Cut()
    with torch.no_grad():
        model.get_parameter("layer2.0.conv2.weight")[:, [0, 30]] = 0
        model.get_parameter("layer1.0.conv1.weight")[:, 3] = 0  # read through the shortcut too, so it must stay
        before = model(torch.ones(1, 3, 16, 16))
    cut = unread_channels(model)
    assert cut.slices.keys() == {
        "layer2.0.conv1.weight",
        "layer2.0.conv2.weight",
        *(f"layer2.0.bn1.{name}" for name in ("weight", "bias", "running_mean", "running_var")),
    }
    assert cut.slices["layer2.0.conv1.weight"][0].index.tolist() == [*range(1, 30), 31]
    cut.apply_(model)
    torch.testing.assert_close(model(torch.ones(1, 3, 16, 16)), before, rtol=1e-5, atol=1e-6)


def test_a_block_that_reads_nothing_is_refused() -> None:
    model = CifarResNet(depth=8)
    nn.init.zeros_(model.get_parameter("layer3.0.conv2.weight"))
    with pytest.raises(InputError, match=r"units of 'layer3\.0\.conv1' .* at least one; got none"):
        unread_channels(model)
