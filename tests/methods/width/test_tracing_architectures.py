"""Groups of every kind of network that ships: which there are, what is pinned and why, exact costs of any profile."""

import math
import random
from fnmatch import fnmatchcase

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paretorch.measurement.macs import count_macs
from paretorch.methods.width.extract import extract, masked
from paretorch.methods.width.tracing import find_groups
from paretorch.training.models.llama import Llama
from paretorch.training.models.resnet import resnet18
from tests.architectures import ARCHITECTURES

OUTPUT = "it is an output of the model"
NORM = "a norm averages over it*"

# names and sizes of the groups; pinned axes and patterns of their reasons
EXPECTED: dict[str, tuple[dict[str, int], dict[str, str]]] = {
    "mlp": ({"1": 9}, {"3": OUTPUT}),
    "cifar-resnet-a": (
        {"conv1": 16, "layer1.0.conv1": 16, "layer2.0.conv1": 32, "layer3.0.conv1": 64},
        {"layer2.0.conv2": "*padded with*", "layer3.0.conv2": "*padded with*", "linear": OUTPUT},
    ),
    "cifar-resnet-b": (
        {
            "conv1": 16,
            "layer1.0.conv1": 16,
            "layer2.0.downsample.0": 32,
            "layer2.0.conv1": 32,
            "layer3.0.downsample.0": 64,
            "layer3.0.conv1": 64,
        },
        {"linear": OUTPUT},
    ),
    "resnet-imagenet-stem": (
        {
            "conv1": 8,
            **{f"layer{stage}.0.conv1": 4 * 2**stage for stage in (1, 2, 3, 4)},
            **{f"layer{stage}.0.conv2": 4 * 2**stage for stage in (2, 3, 4)},
        },
        {"fc": OUTPUT},
    ),
    "resnext": (
        {
            "conv1": 8,
            **{f"layer{stage}.0.conv{layer}": 2**stage for stage in (1, 2, 3, 4) for layer in (1, 2)},
            **{f"layer{stage}.0.conv3": 16 * 2**stage for stage in (1, 2, 3, 4)},
        },
        {"fc": OUTPUT},
    ),
    "vgg-flattened": (
        {
            "features.0": 4,
            "features.4": 8,
            "features.8": 16,
            "features.11": 16,
            "features.15": 32,
            "features.18": 32,
            "features.22": 32,
            "features.25": 32,
            "classifier.0": 16,
        },
        {"classifier.3": OUTPUT},
    ),
    "densenet": (
        {
            "features.0": 8,
            **{f"features.{layer}.conv1": 16 for layer in (1, 2, 4, 5)},
            **{f"features.{layer}.conv2": 4 for layer in (1, 2, 4, 5)},
            "features.3.conv": 8,
        },
        {"linear": OUTPUT},
    ),
    "group-norm-cnn": ({"conv1": 4, "conv2": 4, "conv3": 4}, {"linear": OUTPUT}),
    "vit": (
        {f"blocks.{block}.{layer}": size for block in (0, 1) for layer, size in (("attention.qkv", 4), ("widen", 64))},
        {"patches": NORM, "head": OUTPUT},
    ),
    "dcgan-generator": ({"layers.0": 8, "layers.3": 4}, {}),
    "gpt": (
        {f"blocks.{block}.{layer}": size for block in (0, 1) for layer, size in (("attention.qkv", 4), ("widen", 64))},
        {"tokens": NORM, "output": "rows are picked by their numbers*"},
    ),
    "llama": (
        {
            "tokens": 16,
            **{f"blocks.{block}.attention.query": 2 for block in (0, 1)},
            **{f"blocks.{block}.gate": 24 for block in (0, 1)},
        },
        {"output": "rows are picked by their numbers*"},
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_groups_and_pinned_axes(name: str) -> None:
    architecture = ARCHITECTURES[name]
    groups = find_groups(architecture.build(), architecture.inputs())
    expected, pinned = EXPECTED[name]
    assert dict(zip(groups.names, groups.full, strict=True)) == expected
    found = {each.name: each.reason for each in groups.pinned}
    for layer, reason in pinned.items():
        assert fnmatchcase(found[layer], reason), (layer, found)


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_costs_are_recounted_and_cut_models_equal_masked_ones_at_any_profile(name: str) -> None:
    architecture = ARCHITECTURES[name]
    model, inputs = architecture.build().eval(), architecture.inputs()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.dim() == 1 and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
            elif tensor.dim() == 4 and not tensor.any():
                tensor.normal_(std=0.1)  # the U-Net's last convolutions start at zero
    groups = find_groups(model, inputs)
    profiles = [groups.full, tuple(1 for _ in groups.full)]
    profiles += [tuple(random.randint(1, size) for size in groups.full) for _ in range(3)]
    for profile in profiles:
        cut = extract(model, groups, profile)
        assert sum(each.numel() for each in cut.parameters()) == groups.num_params(profile)
        assert count_macs(cut, inputs).dense == groups.num_macs(profile)
        with torch.no_grad():
            expected = masked(model, groups, groups.prefix(profile))(*inputs)
            torch.testing.assert_close(cut(*inputs), expected, rtol=1e-4, atol=1e-5)
        if min(profile) > 1:
            again = find_groups(cut, inputs)
            assert again.num_params(again.full) == groups.num_params(profile)


@settings(max_examples=25)
@given(st.data())
def test_costs_of_a_random_profile_are_those_of_a_model_built_that_small(data: st.DataObject) -> None:
    """A Llama without sharing, at any hidden width and any number of heads, against one built with these numbers."""
    shape = {"vocab_size": 11, "context": 8, "width": 16, "depth": 2, "hidden": 24, "heads": 4, "kv_heads": 4}
    groups = find_groups(Llama(**shape), torch.zeros(1, 6, dtype=torch.int64))
    hidden = data.draw(st.integers(1, 24))
    widths = groups.profile({"blocks.0.gate": hidden, "blocks.1.gate": hidden})
    small = Llama(**{**shape, "hidden": hidden})
    assert groups.num_params(widths) == sum(each.numel() for each in small.parameters())
    assert groups.num_macs(widths) == count_macs(small, torch.zeros(1, 6, dtype=torch.int64)).dense


def test_a_resnet18_of_half_the_widths_has_the_published_number_of_parameters() -> None:
    groups = find_groups(resnet18(), torch.zeros(1, 3, 224, 224))
    assert groups.num_params(groups.full) == 11_689_512
    assert groups.num_params(size // 2 for size in groups.full) == 3_055_880


@pytest.mark.parametrize(
    ("ratio", "params", "macs"),
    [
        (0.2, 457_578, 23.1e6),
        (0.4, 1_803_314, 91.1e6),
        (0.6, 4_049_352, 203.0e6),
        (0.8, 7_175_586, 360.4e6),
        (1.0, 11_173_962, 555.4e6),
    ],
)
def test_a_cifar_resnet18_has_the_costs_of_ordered_dropouts_reference(ratio: float, params: int, macs: float) -> None:
    groups = find_groups(resnet18(stem="cifar", num_classes=10), torch.zeros(1, 3, 32, 32))
    profile = tuple(math.ceil(round(ratio * size, 9)) for size in groups.full)
    assert groups.num_params(profile) == params
    assert groups.num_macs(profile) == pytest.approx(macs, abs=0.1e6)
