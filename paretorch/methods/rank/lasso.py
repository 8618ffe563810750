"""A penalty that orders the ranks of factored layers and drives the last ones to zero: hierarchical group lasso.

    strength * sum_i sum_b ( |U_i[:, b:]|_F + |V_i[:, b:]|_F )        i: factored layers, b: ranks from 0

A tail norm includes every later rank, so that early ranks are never cheaper than late ones. The importance of rank b is
the product of its two tail norms; it falls with b, so that the ranks above a threshold are a prefix.

Source: Maestro, Horvath et al., ICML 2024, section 3. Deviations from its code: a small number stands inside every
square root, whose gradient at 0 would be infinite; and ranks below the threshold are cut out of weights and optimizer
state, so that neither the penalty nor weight decay is charged on what is gone.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.method import Method, Run
from paretorch.methods.rank.factored import Factored, factored_layers
from paretorch.methods.rank.groups import axes_of_ranks
from paretorch.methods.width.cutting import plan_cut

SMALL = 1e-12  # inside the square root; tail norms are exact to 1e-6


def tail_norms(ranks: Tensor, *, small: float = 0.0) -> Tensor:
    """|ranks[b:]|_F for every b: (r,).

    Args:
        ranks: (r, ...), one rank per row.
        small: added under the square root, so that its gradient is finite where a tail is zero.
    """
    squares = ranks.flatten(1).square().sum(1)
    return (squares.flip(0).cumsum(0).flip(0) + small).sqrt()


def hierarchical_lasso(layers: Mapping[str, Factored]) -> Tensor:
    """The sum of all tail norms of both factors of all layers, 0-d, differentiable."""
    parts = [
        tail_norms(ranks, small=SMALL).sum()
        for layer in layers.values()
        for ranks in (layer.up.weight.transpose(0, 1), layer.down.weight)
    ]
    return torch.stack(parts).sum()


def rank_importance(layer: Factored) -> Tensor:
    """Importance (r,) of the ranks of a layer, float64, falling: the product of the tail norms of the two factors."""
    up, down = layer.up.weight.detach().double(), layer.down.weight.detach().double()
    return tail_norms(up.transpose(0, 1)) * tail_norms(down)


class RankLasso(Method):
    """The penalty in the trainer's own step, and after every epoch the loss of the ranks that it emptied.

    Args:
        strength: of the penalty; positive.
        threshold: ranks less important than this are cut after every epoch, down to one; 0 cuts none.

    Raises:
        InputError: for a strength that is not positive or a negative threshold; at the start, if nothing is factored.
    """

    name = "rank-lasso"

    def __init__(self, *, strength: float, threshold: float = 1e-5) -> None:
        if not strength > 0 or not threshold >= 0:
            raise InputError(f"strength must be positive and threshold not negative; got {strength} and {threshold}")
        self.strength, self.threshold = strength, threshold

    def start(self, run: Run) -> None:
        """Find the factored layers."""
        self.layers = factored_layers(run.model)
        if not self.layers:
            raise InputError("no layer of the model is factored; call factorise_ before training")

    def penalty(self, run: Run) -> Tensor:
        """strength times the sum of all tail norms."""
        return self.strength * hierarchical_lasso(self.layers)

    def epoch_end(self, run: Run) -> None:
        """Cut what has become unimportant."""
        left = {name: important_ranks(layer, self.threshold) for name, layer in self.layers.items()}
        shrink_(run, self.layers, left)
        run.log(ranks=float(sum(left.values())))

    def state_dict(self) -> dict[str, Any]:
        """The ranks that are left."""
        return {"ranks": {name: layer.rank for name, layer in self.layers.items()}}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        """Cut the model to the ranks that were left; its weights are loaded afterwards."""
        shrink_(run, self.layers, state["ranks"])


def important_ranks(layer: Factored, threshold: float) -> int:
    """How many ranks are at least as important as `threshold`, and at least 1: a layer of rank 0 would be no layer."""
    return max(1, int((rank_importance(layer) >= threshold).sum()))


def shrink_(run: Run, layers: Mapping[str, Factored], ranks: Mapping[str, int]) -> None:
    """Keep the first ranks of every layer, in the model and in the state of its optimizers.

    Raises:
        InputError: for ranks of other layers, or below 1, or above a layer's.
    """
    groups = axes_of_ranks(layers)
    profile = groups.profile({f"{name}.down": rank for name, rank in ranks.items()})
    cut = plan_cut(groups, groups.prefix(profile))
    parts = cut.parameters(run.model)
    state = {
        name: part.slice_state(optimizer.state[part.old])
        for name, part in parts.items()
        for optimizer in run.optimizers.values()
        if part.old in optimizer.state
    }
    run.replace_parameters({name: part.new for name, part in parts.items()}, state)
    cut.resize_(run.model)
