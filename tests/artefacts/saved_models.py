"""Models that the tests of artefacts save."""

from typing import Any

import torch
from torch import Tensor, nn

from paretorch.artefacts.cut_edit import CutEdit
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.methods.sparsity.masks import Masks
from paretorch.training.models.cnn import SmallCNN
from paretorch.training.models.mlp import mlp

IMAGES = torch.linspace(-1, 1, 2 * 28 * 28).reshape(2, 1, 28, 28)
CUTS = (
    CutEdit(producer="conv1", consumer="conv2", keep=(0, 2, 3), norms=("norm1",)),
    CutEdit(producer="conv2", consumer="hidden", keep=(1, 4, 5, 7), norms=("norm2",)),
)
MLP = {"sizes": (4, 6, 6, 3)}


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
