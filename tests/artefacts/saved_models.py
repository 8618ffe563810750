"""Models that the tests of artefacts save."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.artefacts.cut_edit import CutEdit
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.methods.sparsity.masks import Masks
from paretorch.methods.width.cutting import narrowed, plan_cut
from paretorch.methods.width.groups import Size, WidthGroup, WidthGroups
from paretorch.training.models.cnn import SmallCNN
from paretorch.training.models.mlp import mlp
from tests.methods.width.cut_models import along, each, per
from tests.methods.width.handmade import perceptron_groups

IMAGES = torch.linspace(-1, 1, 2 * 28 * 28).reshape(2, 1, 28, 28)
MLP = {"sizes": (4, 6, 6, 3)}


def cnn_groups() -> WidthGroups:
    """Both convolutions of `SmallCNN(width=4)`."""
    axes = [along("conv1.weight", 0, each(4)), along("conv2.weight", 1, each(4)), along("conv2.weight", 0, each(8), 1)]
    for g, (norm, width) in enumerate((("norm1", 4), ("norm2", 8))):
        tensors = ("weight", "bias", "running_mean", "running_var")
        axes += [along(f"{norm}.{tensor}", 0, each(width), g) for tensor in tensors]
    axes.append(along("hidden.weight", 1, each(8, 49), 1))
    sizes = [Size("conv1", "out_channels", per(1)), Size("norm1", "num_features", per(1))]
    sizes += [Size("conv2", "in_channels", per(1)), Size("conv2", "out_channels", per(1, 1))]
    sizes += [Size("norm2", "num_features", per(1, 1)), Size("hidden", "in_features", per(49, 1))]
    groups = (WidthGroup("conv1", 4, ("conv1",), ("conv2",)), WidthGroup("conv2", 8, ("conv2",), ("hidden",)))
    return WidthGroups(groups, tuple(axes), tuple(sizes))


def two_cuts() -> tuple[CutEdit, CutEdit]:
    """Of the channels of `SmallCNN(width=4)`: first those of conv1, then those of conv2 in what is left."""
    groups, first = cnn_groups(), (torch.tensor([0, 2, 3]), torch.arange(8))
    second = (torch.arange(3), torch.tensor([1, 4, 5, 7]))
    return CutEdit(plan_cut(groups, first)), CutEdit(plan_cut(narrowed(groups, first), second))


def mlp_cut(sizes: Sequence[int], *keep: Sequence[int]) -> CutEdit:
    """The units of the hidden layers of `mlp(sizes)` that stay; its linear layers are the modules 1, 3, 5, ..."""
    groups = perceptron_groups(*sizes)

    def moved(name: str) -> str:
        layer, dot, attribute = name.partition(".")
        return f"{int(layer) + 1}{dot}{attribute}"

    axes = tuple(replace(axis, tensor=moved(axis.tensor)) for axis in groups.axes)
    attributes = tuple(replace(size, module=moved(size.module)) for size in groups.sizes)
    return CutEdit(plan_cut(replace(groups, axes=axes, sizes=attributes), [torch.tensor(units) for units in keep]))


CUTS = two_cuts()


class Tied(nn.Module):
    """Tied weights, an empty tensor, a constant buffer, dropout and a dictionary of outputs."""

    def __init__(self, *, scale: float = 2.0, tie: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        if tie:
            self.head.weight = self.embedding.weight
        self.drop = nn.Dropout(0.5)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        self.register_buffer("nothing", torch.empty(0, 3))

    def forward(self, tokens: Tensor) -> dict[str, Any]:
        hidden = self.drop(self.embedding(tokens)) * self.scale
        return {"logits": self.head(hidden), "hidden": (hidden, None)}


def trained_cnn() -> nn.Module:
    model = SmallCNN(width=4)
    model(IMAGES * 3).square().sum().backward()  # moves the running statistics
    return model


def same_state(a: nn.Module, b: nn.Module) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return list(one) == list(two) and all(one[k].dtype == two[k].dtype and one[k].equal(two[k]) for k in one)


def pruned_mlp() -> tuple[nn.Module, Masks]:
    model = mlp(**MLP)
    masks = magnitude_masks(model, sparsity=0.7)
    masks.apply_(model)
    return model, masks
