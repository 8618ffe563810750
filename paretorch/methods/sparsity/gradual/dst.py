"""Dynamic sparse training (DST): a learned threshold for every output channel, and a penalty that raises them.

    v = w H(|w| - t),    loss + alpha sum exp(-t)             one t for every row of a weight, at the start 0
    dL/dw = g (H(x) + |w| h(x)),    dL/dt = - sum over the row of g w h(x) - alpha exp(-t),     x = |w| - t

    h(x) = 2 - 4|x| for |x| <= 0.4,    0.4 for 0.4 < |x| <= 1,    0 beyond        in the place of H'

A layer that would keep at most 1 % of its weights starts again with thresholds of 0. How sparse the model becomes is
not prescribed, it results from alpha and the length of the run. The final weights are v.

Sources: Liu, Xu, Shi, Cheung and So, "Dynamic sparse training: find efficient sparse network from scratch with
trainable masked layers", ICLR 2020; the code of Zimmer, Spiegel and Pokutta 2023, which adds half the weight decay
times the squared weights to the loss although the optimizer decays them too, and the thresholds with them. Here decay
acts once, on the weights, by the optimizer; thresholds have none. The default of alpha is ours.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.method import Run
from paretorch.methods.sparsity.gradual.learned_thresholds import LearnedThresholds
from paretorch.methods.sparsity.gradual.substitution_costs import dst_cost
from paretorch.methods.sparsity.gradual.thresholds import Thresholds
from paretorch.methods.sparsity.prunable import TRANSPOSED, Patterns, find_prunable
from paretorch.methods.sparsity.zeroing import zero_pruned_

FEWEST = 0.01  # share of a layer's weights; one that keeps no more starts again


def surrogate(x: Tensor) -> Tensor:
    """h(x), what takes the place of the derivative of the step function; any shape."""
    size = x.abs()
    return (2 - 4 * size).clamp(min=0.4) * (size <= 1)


def by_channel(thresholds: Tensor, weight: Tensor) -> Tensor:
    """Thresholds (channels,) in a shape that goes with a weight (channels, ...)."""
    return thresholds.view(-1, *[1] * (weight.dim() - 1))


def threshold_(weight: Tensor, thresholds: Tensor) -> None:
    """Turn w into w H(|w| - t), in place, and t into 0 where at most 1 % of the weights would be left.

    Args:
        weight: (channels, ...).
        thresholds: (channels,); written to.
    """
    kept = weight.abs() > by_channel(thresholds, weight)
    restarts = kept.count_nonzero() <= FEWEST * kept.numel()
    thresholds.copy_(torch.where(restarts, torch.zeros_like(thresholds), thresholds))
    zero_pruned_(weight, kept.logical_or_(restarts))


def threshold_gradients_(gradient: Tensor, weight: Tensor, thresholds: Tensor) -> Tensor:
    """Turn dL/dv into dL/dw, in place.

    Args:
        gradient: dL/dv, (channels, ...).
        weight: w, of the same shape.
        thresholds: (channels,).

    Returns:
        dL/dt without the penalty, (channels,).
    """
    size = weight.abs()
    x = size - by_channel(thresholds, weight)
    slope = surrogate(x)
    found = -(gradient * weight * slope).flatten(1).sum(1)
    gradient.mul_((x > 0) + size * slope)
    return found


class DST(LearnedThresholds):
    """Weights below the learned threshold of their output channel are not seen.

    Args:
        sparsity: fraction of the prunable weights that shall be zero in the end, in [0, 1). It does not steer the
            method: what is missing at the end, the pipeline prunes.
        penalty: alpha, which raises the thresholds; not negative.
        include, exclude: name patterns of prunable parameters.

    Attributes:
        thresholds: t by the name of the weight, (channels,) each; after `start`.

    Raises:
        InputError: for a number out of range.
    """

    name = "dst"

    def __init__(
        self, *, sparsity: float, penalty: float = 1e-4, include: Patterns = None, exclude: Patterns = None
    ) -> None:
        super().__init__(sparsity=sparsity, include=include, exclude=exclude)
        if not 0 <= penalty < math.inf:
            raise InputError(f"the penalty on low thresholds must be finite and not negative; got {penalty}")
        self.alpha = penalty

    def check(self, model: nn.Module, *, num_steps: int, steps_per_epoch: int) -> None:
        """Refuse what `start` would refuse.

        Raises:
            InputError: also for transposed convolutions, whose output channels are not the rows of their weights.
        """
        super().check(model, num_steps=num_steps, steps_per_epoch=steps_per_epoch)
        found = find_prunable(model, include=self.include, exclude=self.exclude)
        if transposed := [item.name for item in found if isinstance(item.module, TRANSPOSED)]:
            raise InputError(
                f"DST has a threshold for every row of a weight, and {', '.join(transposed)} of transposed "
                "convolutions have their output channels elsewhere; pass them as exclude"
            )

    def start(self, run: Run) -> None:
        super().start(run)
        self.thresholds = Thresholds({name: weight.new_zeros(len(weight)) for name, weight in self._weights()})
        self.thresholds.add_to(run.optimizer, weight_decay=0.0)

    def write(self, name: str, weight: Tensor) -> None:
        threshold_(weight, self.thresholds[name].detach())

    def chain(self, name: str, weight: Tensor, gradient: Tensor) -> None:
        t = self.thresholds[name]
        t.grad = threshold_gradients_(gradient, weight, t.detach())

    @torch.no_grad()
    def before_update(self, run: Run) -> None:
        super().before_update(run)
        if self._inside:
            return
        for t in self.thresholds.values():  # also of a layer that the loss did not reach
            pull = -self.alpha * torch.exp(-t)
            t.grad = pull if t.grad is None else t.grad.add_(pull)

    def details(self) -> dict[str, Any]:
        """The mean threshold of every layer."""
        return {"thresholds": {name: float(t.detach().mean()) for name, t in self.thresholds.items()}}


CARD = Card(
    id="dst",
    title="Dynamic sparse training",
    summary="Learns a threshold per output channel below which weights are zero, under a penalty that raises it.",
    year=2020,
    references=(
        "Liu, Xu, Shi, Cheung and So, ICLR 2020",
        "as compared with: Zimmer, Spiegel and Pokutta, ICLR 2023",
    ),
    cells=(("parameters", "remove"), ("objective", "retrofit")),
    phase=("dense_train",),
    stateful=True,
    hooks=("forward", "loss", "grad_ready", "eval_swap"),
    composes_with=("bn-reestimate",),
    relieves=("inference size", "inference compute"),
    worsens=("memory capacity", "memory bandwidth", "tuning cost"),
    caveat="the sparsity is not prescribed: it results from the penalty and the length of the run",
    cost="a copy of the weights and a threshold per channel; per step, weights and their gradients are read and "
    "written many times",
    cost_model=dst_cost,
    realised_by="A sparse kernel, or a format that does not store zeros; dense kernels gain nothing.",
    hyperparams=(HyperParameter(name="penalty", default=1e-4, low=1e-9, high=1.0, scale="log"),),
    tuning_cost=1,
    excludes=("biases", "norms", "embeddings"),
    quality_risk="high",
    invariants=(
        "the step function is differentiated as 2 - 4|x| up to 0.4, as 0.4 up to 1 and as 0 beyond",
        "weights and their gradients are those of the reparametrised network by automatic differentiation",
        "a layer that would keep 1 % or less starts again with thresholds of 0",
        "model and optimizer are left plain, without thresholds",
    ),
    evidence=("gradual_pruning",),
)
