"""Our cuts against those of Torch-Pruning's dependency graph, group by group and all together, on every architecture.

Where the two differ, DIFFERENCES says how and why, and the tests demand that they still differ in that way. Our cut
equals the uncut model whose removed units nobody reads, wherever Torch-Pruning stands.
"""

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from paretorch.methods.width.cutting import plan_cut
from paretorch.methods.width.extract import masked
from paretorch.methods.width.groups import WidthGroups
from paretorch.methods.width.tracing import find_groups
from tests.architectures import ARCHITECTURES

torch_pruning = pytest.importorskip("torch_pruning", reason="needs the peers extra")
pytestmark = pytest.mark.slow

TOLERANCE = 1e-5  # float32, relative to the largest output


@dataclass(frozen=True)
class Difference:
    """How Torch-Pruning's cut differs from ours: in "shapes", in "outputs", or it is "refused"; and why."""

    how: str
    why: str


SIZES = Difference(
    "outputs",
    "it leaves `heads` and `num_groups` to its user, so that the channels that are left form other heads or groups; "
    "equal once they are set by hand",
)
PADDED = Difference(
    "outputs",
    "shortcut A puts zero channels before and behind the narrow ones; it takes the entries behind the sum as if there "
    "were none before",
)
TIED = Difference(
    "shapes",
    "it parts the output layer from the embedding, and keeps the normalized_shape of RMS norms it does not know",
)
SHARED = Difference(
    "refused",
    "it does not follow keys and values through repeat_interleave to their queries, and would remove whole layers",
)
NORMED = ("conv_in", "down.0.conv1", "shrink.0", "down.1.conv1", "down.1.shortcut", "middle.conv1", "up.0.conv1")
DIFFERENCES: dict[str, dict[str, Difference]] = {
    "cifar-resnet-a": {"conv1": PADDED},
    "group-norm-cnn": dict.fromkeys(("conv1", "conv2", "conv3"), SIZES),
    "vit": dict.fromkeys(("blocks.0.attention.qkv", "blocks.1.attention.qkv"), SIZES),
    "gpt": dict.fromkeys(("blocks.0.attention.qkv", "blocks.1.attention.qkv"), SIZES),
    "unet": dict.fromkeys((*NORMED, "grow.0", "up.1.conv1", "up.1.shortcut"), SIZES),
    "llama": {"tokens": TIED} | dict.fromkeys(("blocks.0.attention.query", "blocks.1.attention.query"), SHARED),
}


def prepared(name: str) -> tuple[nn.Module, tuple[Tensor, ...], WidthGroups]:
    """A model in evaluation mode in which every unit matters, inputs, and its groups."""
    architecture = ARCHITECTURES[name]
    model, inputs = architecture.build().eval().requires_grad_(True), architecture.inputs()
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.dim() > 1:  # so large that attention is not the plain mean
                tensor.normal_(std=2.0 / tensor[0].numel() ** 0.5)
            elif tensor.is_floating_point():  # biases, norms and running statistics
                tensor.uniform_(0.5, 1.5)
    return model, inputs, find_groups(model, inputs)


def halves(groups: WidthGroups, *chosen: int) -> list[Tensor]:
    """Units that stay if the chosen groups keep the first half of their units."""
    widths = [max(1, size // 2) if number in chosen else size for number, size in enumerate(groups.full)]
    return list(groups.prefix(widths))


def cut_by_us(model: nn.Module, groups: WidthGroups, keep: Sequence[Tensor]) -> nn.Module:
    ours = copy.deepcopy(model)
    plan_cut(groups, keep).apply_(ours)
    return ours


def cut_by_peer(
    model: nn.Module, inputs: tuple[Tensor, ...], groups: WidthGroups, keep: Sequence[Tensor]
) -> nn.Module | None:
    """For each group that is cut, the same entries of its first producer, and what Torch-Pruning cuts with them.

    None if it refuses, because a whole layer would go.
    """
    theirs = copy.deepcopy(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # parameters that belong to no layer it knows
        graph = torch_pruning.DependencyGraph().build_dependency(theirs, inputs)
    for number, (units, size) in enumerate(zip(keep, groups.full, strict=True)):
        if len(units) < size:
            root, removed = _root(theirs, groups, number, keep)
            group = graph.get_pruning_group(root, graph.get_pruner_of_module(root).prune_out_channels, removed)
            if not graph.check_pruning_group(group):
                return None
            group.prune()
    return theirs


def _root(model: nn.Module, groups: WidthGroups, number: int, keep: Sequence[Tensor]) -> tuple[nn.Module, list[int]]:
    """The first layer that makes the units of a group, and its output entries that go."""
    layer = model.get_submodule(groups.groups[number].producers[0])
    dim = 1 if isinstance(layer, nn.ConvTranspose2d | nn.Embedding) else 0
    name = f"{groups.groups[number].producers[0]}.weight"
    axis = next(axis for axis in groups.axes if axis.tensor == name and axis.dim == dim)
    stays = torch.zeros(len(axis.group), dtype=torch.bool)
    stays[axis.kept(keep)] = True
    return layer, (~stays).nonzero().flatten().tolist()


def set_by_hand(model: nn.Module, groups: WidthGroups, keep: Sequence[Tensor]) -> None:
    """The numbers in modules that the widths decide, such as `heads`."""
    for module, sizes in plan_cut(groups, keep).sizes.items():
        for attribute, (_, after) in sizes.items():
            if isinstance(getattr(model.get_submodule(module), attribute), int):
                setattr(model.get_submodule(module), attribute, after)


def distance(first: nn.Module, second: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Largest difference of the outputs relative to the largest output."""
    with torch.no_grad():
        found, expected = first(*inputs), second(*inputs)
    return float((found - expected).abs().max() / expected.abs().max())


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def how_they_differ(ours: nn.Module, theirs: nn.Module | None, inputs: tuple[Tensor, ...]) -> str | None:
    """None where shapes and outputs are equal."""
    if theirs is None:
        return "refused"
    if shapes(ours) != shapes(theirs):
        return "shapes"
    return None if distance(ours, theirs, inputs) < TOLERANCE else "outputs"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_group_is_cut_as_torch_pruning_cuts_it_or_the_difference_is_named(name: str) -> None:
    model, inputs, groups = prepared(name)
    named = DIFFERENCES.get(name, {})
    found = {}
    for number, group in enumerate(groups.groups):
        keep = halves(groups, number)
        ours = cut_by_us(model, groups, keep)
        assert distance(ours, masked(model, groups, keep), inputs) < TOLERANCE, group.name
        assert distance(ours, model, inputs) > 1e-3, f"the units of {group.name} do nothing"
        theirs = cut_by_peer(model, inputs, groups, keep)
        found[group.name] = how_they_differ(ours, theirs, inputs)
        if named.get(group.name) is SIZES:
            assert theirs is not None
            set_by_hand(theirs, groups, keep)
            assert how_they_differ(ours, theirs, inputs) is None, group.name
    assert found == {group.name: None for group in groups.groups} | {group: each.how for group, each in named.items()}


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if {*DIFFERENCES.get(name, {}).values()} <= {SIZES}])
def test_all_groups_cut_at_once_are_what_torch_pruning_cuts_one_after_the_other(name: str) -> None:
    model, inputs, groups = prepared(name)
    keep = halves(groups, *range(len(groups.groups)))
    ours, theirs = cut_by_us(model, groups, keep), cut_by_peer(model, inputs, groups, keep)
    assert theirs is not None
    set_by_hand(theirs, groups, keep)
    assert sum(parameter.numel() for parameter in theirs.parameters()) == groups.num_params(map(len, keep))
    assert how_they_differ(ours, theirs, inputs) is None
