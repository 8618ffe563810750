"""A penalty that orders the ranks of factored layers and drives the last ones to zero: hierarchical group lasso.

    strength * sum_i sum_b ( |U_i[:, b:]|_F + |V_i[:, b:]|_F )        i: factored layers, b: ranks from 0

A tail norm includes every later rank, so that early ranks are never cheaper than late ones. The importance of rank b is
the product of its two tail norms; it falls with b, so that the ranks above a threshold are a prefix.

Maestro trains such layers at one rank of one layer per step: `ElasticTraining` on `rank_groups` before this penalty.

Source: Maestro, Horvath et al., ICML 2024, section 3. Deviations from its code: a small number stands inside every
square root, whose gradient at 0 would be infinite; and ranks below the threshold are cut out of weights and optimizer
state, so that neither the penalty nor weight decay is charged on what is gone.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.cost_model import Effect, Effects, LayerShape, macs_factor, weights_factor
from paretorch.methods.method import Method, Run
from paretorch.methods.rank.factored import Factored, factored_layers
from paretorch.methods.rank.groups import axes_of_ranks
from paretorch.methods.width.cutting import plan_cut
from paretorch.methods.width.elastic import ElasticTraining
from paretorch.methods.width.live import cut_live_

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
    """The penalty in every step, and after every epoch the loss of the ranks that it emptied.

    Args:
        strength: of the penalty; positive.
        threshold: ranks less important than this are cut after every epoch, down to one; 0 cuts none.
        elastic: a method before this one that trains the factored model at many ranks, as Maestro does, with
            `rank_groups` as its groups. None: the trainer's own step, at all ranks.

    Raises:
        InputError: for a strength that is not positive or a negative threshold; at the start, if nothing is factored,
            or the elastic method comes later or does not know the ranks.
    """

    name = "rank-lasso"

    def __init__(self, *, strength: float, threshold: float = 1e-5, elastic: ElasticTraining | None = None) -> None:
        if not strength > 0 or not threshold >= 0:
            raise InputError(f"strength must be positive and threshold not negative; got {strength} and {threshold}")
        self.strength, self.threshold, self.elastic = strength, threshold, elastic

    def start(self, run: Run) -> None:
        """Find the factored layers."""
        self.layers = factored_layers(run.model)
        if not self.layers:
            raise InputError("no layer of the model is factored; call factorise_ before training")
        if self.elastic is not None:
            known = self.elastic.groups.names if hasattr(self.elastic, "groups") else ()
            if unknown := [name for name in self.layers if f"{name}.down" not in known]:
                raise InputError(
                    f"the ranks of {unknown} are no width groups of {self.elastic.name!r}; give it rank_groups(model, "
                    "inputs), and put it before the penalty among the methods"
                )

    def penalty(self, run: Run) -> Tensor:
        """strength times the sum of all tail norms."""
        return self.strength * hierarchical_lasso(self.layers)

    def epoch_end(self, run: Run) -> None:
        """Cut what has become unimportant."""
        ranks = {name: important_ranks(layer, self.threshold) for name, layer in self.layers.items()}
        self._shrink(run, ranks)
        run.log(ranks=float(sum(ranks.values())))

    def state_dict(self) -> dict[str, Any]:
        """The ranks that are left."""
        return {"ranks": {name: layer.rank for name, layer in self.layers.items()}}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        """Cut the model to the ranks that were left; its weights are loaded afterwards."""
        if self.elastic is None:  # else its own state has brought the cuts back
            self._shrink(run, state["ranks"])

    def _shrink(self, run: Run, ranks: Mapping[str, int]) -> None:
        """Keep the first ranks of every layer, in the model and in the state of its optimizers."""
        groups = axes_of_ranks(self.layers) if self.elastic is None else self.elastic.groups
        profile = groups.profile({f"{name}.down": rank for name, rank in ranks.items()})
        if profile == groups.full:
            return
        if self.elastic is None:
            cut_live_(run, plan_cut(groups, groups.prefix(profile)))
        else:
            self.elastic.narrow(run, groups.prefix(profile))


def important_ranks(layer: Factored, threshold: float) -> int:
    """How many ranks are at least as important as `threshold`, and at least 1: a layer of rank 0 would be no layer."""
    return max(1, int((rank_importance(layer) >= threshold).sum()))


def _cost(layers: Sequence[LayerShape], _batch: int, settings: Mapping[str, Any]) -> Effects:
    """r (n + m) weights in the place of n m, r the same share of every layer's full rank; one operation more."""
    shares = {}
    for layer in layers:
        outputs, inputs = layer.weight[0], prod(layer.weight[1:])
        rank = max(1, round(settings["rank_share"] * min(outputs, inputs)))
        shares[layer.name] = rank * (outputs + inputs) / (outputs * inputs)
    products, weights = macs_factor(layers, shares), weights_factor(layers, shares)
    return {
        "flops_forward": Effect(factor=products),
        "flops_backward": Effect(factor=products),
        "param_bytes": Effect(factor=weights),
        "launches": Effect(added=len(layers)),
    }


CARD = Card(
    id="maestro",
    title="Maestro",
    summary="Trains layers as products of two, orders their ranks by a penalty, and cuts the last ranks meanwhile.",
    year=2024,
    references=("Horvath, Laskaridis, Rajput and Wang, ICML 2024, arXiv 2308.14929",),
    reference_implementation="SamuelHorvath/Maestro-LoD",
    status="experimental",
    cells=(("parameters", "restrict"), ("objective", "retrofit")),
    phase=("dense_train",),
    stochastic=True,
    stateful=True,
    hooks=("model_surgery", "loss", "epoch"),
    composes_with=("ordered-dropout", "profile-search"),
    relieves=("inference size", "inference compute", "compute"),
    worsens=("launch overhead",),
    caveat="at full rank the factors cost more than the layer; the saving begins below n m / (n + m) ranks",
    cost="r (n + m) weights and products per position in the place of n m",
    cost_model=_cost,
    realised_by="ranks cut out of weights and optimizer state; layers that are not small",
    hyperparams=(
        HyperParameter(name="strength", default=1e-6, low=1e-8, high=0.1, scale="log"),
        HyperParameter(name="threshold", default=1e-5, low=1e-9, high=1.0, scale="log"),
        HyperParameter(name="rank_share", default=1.0, low=0.0, high=1.0),
    ),
    tuning_cost=1,
    cost_scope="both",
    invariants=(
        "at full rank factoring does not change what the model computes",
        "cut to k ranks, a layer just factored is the best approximation of rank k",
        "the importance of ranks falls, so that the important ones are a prefix",
        "no layer is left without a rank",
    ),
)
