"""Every network that ships: cut along the groups that were found, it equals the masked one, in outputs and in costs."""

import copy
import functools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import paretorch as pt
from paretorch.artefacts.cut_edit import CutEdit
from paretorch.measurement.macs import count_macs
from paretorch.methods.width.cutting import narrowed, plan_cut
from paretorch.methods.width.extract import extract, masked
from paretorch.methods.width.groups import WidthGroups
from paretorch.methods.width.importance import Kind, unit_importance
from paretorch.methods.width.keeping import keep_within
from paretorch.methods.width.reorder import reorder_
from paretorch.methods.width.tracing import find_groups
from paretorch.training.models.resnet import ResNet
from tests.architectures import ARCHITECTURES

LARGE = ("mobilenet-v2",)  # of many layers
every_architecture = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in ARCHITECTURES]
)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def made(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, tuple[Tensor, ...], WidthGroups]:
    """The model with noise on parameters and statistics in evaluation mode, inputs for it, its groups."""
    model, inputs, groups = _made(name)
    converted = tuple(part.to(dtype) if part.is_floating_point() else part for part in inputs)
    return copy.deepcopy(model).to(dtype), converted, groups


@functools.cache
def _made(name: str) -> tuple[nn.Module, tuple[Tensor, ...], WidthGroups]:
    torch.manual_seed(0)
    model, inputs = ARCHITECTURES[name].build(), ARCHITECTURES[name].inputs()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        model.train()(*inputs)  # moves running statistics
    groups = find_groups(model, inputs)
    if name == "unet":  # it computes the features of a time in single precision, whatever its weights are
        first = model.get_submodule("time.linear1")
        first.register_forward_pre_hook(lambda layer, features: (features[0].to(layer.weight.dtype),))
    return model.eval(), inputs, groups


def difference(one: nn.Module, other: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Largest difference of the outputs over the largest output."""
    with torch.no_grad():
        first, second = one(*inputs), other(*inputs)
    return float((first - second).abs().max() / second.abs().max())


@every_architecture
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_half_of_every_group_cut_is_the_model_with_that_half_masked(name: str, dtype: torch.dtype) -> None:
    model, inputs, groups = made(name, dtype)
    profile = tuple((size + 1) // 2 for size in groups.full)
    small = extract(model, groups, profile)
    zeroed = masked(model, groups, groups.prefix(profile))
    assert difference(small, zeroed, inputs) < TOLERANCE[dtype]
    assert difference(small, model, inputs) > 1e-3, "the removed units did something"
    assert sum(parameter.numel() for parameter in small.parameters()) == groups.num_params(profile)
    assert count_macs(small, inputs).dense == groups.num_macs(profile)


@every_architecture
def test_every_group_can_be_cut_alone_by_its_last_unit(name: str) -> None:
    model, inputs, groups = made(name)
    for g, size in enumerate(groups.full):
        profile = (*groups.full[:g], size - 1, *groups.full[g + 1 :])
        zeroed = masked(model, groups, groups.prefix(profile))
        assert difference(extract(model, groups, profile), zeroed, inputs) < 1e-12, groups.names[g]


@every_architecture
@settings(max_examples=3)
@given(data=st.data())
def test_any_units_cut_are_the_model_with_these_masked(name: str, data: st.DataObject) -> None:
    model, inputs, groups = made(name)
    seed = data.draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    keep = []
    for size in groups.full:
        width = int(torch.randint(1, size + 1, (), generator=generator))
        keep.append(torch.randperm(size, generator=generator)[:width].sort().values)
    small = copy.deepcopy(model)
    plan_cut(groups, keep).apply_(small)
    assert difference(small, masked(model, groups, keep), inputs) < 1e-12
    left = narrowed(groups, keep)
    assert left.num_params(left.full) == sum(parameter.numel() for parameter in small.parameters())
    halves = [torch.arange(0, size, 2) for size in left.full]
    again = copy.deepcopy(small)
    plan_cut(left, halves).apply_(again)
    assert difference(again, masked(small, left, halves), inputs) < 1e-12


@every_architecture
def test_units_in_another_order_give_the_same_outputs(name: str) -> None:
    model, inputs, groups = made(name)
    twin = copy.deepcopy(model)
    reorder_(twin, groups, [torch.randn(size) for size in groups.full])
    assert difference(twin, model, inputs) < 1e-12


@every_architecture
@pytest.mark.parametrize("kind", ["l2", "taylor", "activation"])
def test_a_model_ranked_in_any_way_meets_its_cap(name: str, kind: Kind) -> None:
    model, inputs, groups = made(name)
    data = {"taylor": {"batches": [inputs], "loss": lambda model, batch: model(*batch).square().mean()}}
    data["activation"] = {"batches": [inputs], "forward": lambda model, batch: model(*batch)}
    importance = unit_importance(model, groups, kind=kind, **data.get(kind, {}))
    assert all(float(scores.mean()) == pytest.approx(1.0) for scores in importance)
    macs = (groups.num_macs(groups.full) + groups.num_macs([1] * len(groups.full))) // 2
    keep = keep_within(groups, importance, macs=macs, spread="global", min_ratio=0.01)
    zeroed = masked(model, groups, keep)
    plan_cut(groups, keep).apply_(model)
    assert difference(model, zeroed, inputs) < 1e-12
    assert count_macs(model, inputs).dense <= macs


@every_architecture
def test_a_cut_model_that_was_saved_loads_by_its_name_with_the_same_bits(name: str, tmp_path: Path) -> None:
    model, inputs, groups = made(name, torch.float32)
    cut = plan_cut(groups, [torch.arange(size // 2, size) for size in groups.full])
    cut.apply_(model)
    masks = pt.magnitude_masks(model, sparsity=0.3)
    masks.apply_(model)
    path = pt.save_model(
        tmp_path / "model",
        model,
        constructor=ARCHITECTURES[name].constructor,
        kwargs=ARCHITECTURES[name].kwargs,
        edits=[CutEdit(cut), pt.MaskEdit(masks)],
        example_inputs=inputs,
    )
    loaded = pt.load_model(path)
    assert loaded(*inputs).equal(model(*inputs))
    assert repr(loaded) == repr(model)


def test_the_halved_resnet_18_is_the_one_that_is_built_with_half_the_width() -> None:
    blocks, image = (2, 2, 2, 2), torch.randn(1, 3, 224, 224)
    model = ResNet(blocks=blocks, width=64).eval()
    groups = find_groups(model, image)
    profile = tuple(size // 2 for size in groups.full)
    small = extract(model, groups, profile)
    built = ResNet(blocks=blocks, width=32).eval()
    assert repr(small) == repr(built)
    assert {k: v.shape for k, v in small.state_dict().items()} == {k: v.shape for k, v in built.state_dict().items()}
    assert groups.num_params(groups.full) == 11_689_512
    assert sum(parameter.numel() for parameter in small.parameters()) == groups.num_params(profile) == 3_055_880
    built.load_state_dict(small.state_dict())
    assert built(image).equal(small(image))
