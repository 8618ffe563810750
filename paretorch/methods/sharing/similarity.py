"""How similar layers that share templates have become: the layer similarity matrix.

    S_ij = |<alpha_i, alpha_j>| / (|alpha_i| |alpha_j|)        in [0, 1]

S_ij = 1 says that the two layers have the same weights up to a factor, which a batch norm behind them absorbs, its sign
included: the network computes the same layer twice, as a recurrent one does.

Source: Savarese and Maire, ICLR 2019, section 4.2. The absolute value is recalled, not read there again; without it
the sign that a norm absorbs would count.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.sharing.layers import full_precision
from paretorch.methods.sharing.templates import shared_groups


@dataclass(frozen=True, kw_only=True)
class LayerSimilarity:
    """The matrix of one group: names of its layers in the order of the model, and S (L, L) in float64 on the CPU."""

    layers: tuple[str, ...]
    matrix: Tensor

    @property
    def mean(self) -> float:
        """The mean over pairs of different layers; 1 of a single one, which the others of its bank have left."""
        count = len(self.layers)
        return 1.0 if count == 1 else float((self.matrix.sum() - self.matrix.trace()) / (count * (count - 1)))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists for ledgers and records, entries to six decimals."""
        return {"layers": list(self.layers), "matrix": [[round(s, 6) for s in row] for row in self.matrix.tolist()]}


def similarity(rows: Tensor) -> Tensor:
    """S (L, L) of coefficients (L, k); differentiable, symmetric, 1 on the diagonal.

    A row of zeros is similar to nothing, itself included: its entries are 0.
    """
    with full_precision(rows.device):
        lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        present = lengths > 0
        units = rows / torch.where(present, lengths, 1)
        products = (units @ units.T).abs().clamp(max=1)
    diagonal = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    return torch.where(diagonal, present.to(rows.dtype), (products + products.T) / 2)


@torch.no_grad()
def layer_similarity(model: nn.Module) -> dict[str, LayerSimilarity]:
    """The matrix of every group of `share_`.

    Args:
        model: left as it is.

    Returns:
        Group -> matrix.

    Raises:
        InputError: if the model shares nothing.
    """
    groups = shared_groups(model)
    if not groups:
        raise InputError(f"{type(model).__name__} has no layers that share templates; call share_ first")
    return {
        name: LayerSimilarity(layers=tuple(group.layers), matrix=similarity(group.coefficients.cpu().double()))
        for name, group in groups.items()
    }
