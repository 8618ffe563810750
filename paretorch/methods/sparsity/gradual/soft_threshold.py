"""Soft threshold reparametrisation (STR): per layer a learned threshold, below which weights are zero.

    v = sign(w) relu(|w| - sigma(s_l))
    dL/dw   =   g 1[|w| > sigma(s_l)]
    dL/ds_l = - sigma'(s_l)  sum g sign(w) 1[|w| > sigma(s_l)]          g = dL/dv

One s per layer, trained with the weights by the same optimizer. How sparse the model becomes is not prescribed: s
begins far below zero, weight decay draws it towards zero, that is, the threshold up, and the loss draws it down again.
Under decay alone s after steps of rates lr_t is s_0 prod(1 - lr_t decay), about s_0 exp(-decay sum lr_t); momentum mu
multiplies the exponent by 1 / (1 - mu).

The final weights are v, that is, they keep the shrinkage.

Source: Kusupati et al., "Soft threshold weight reparameterization for learnable sparsity", ICML 2020. The defaults for
s_0 and the decay are ours.
"""

import math
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from paretorch.errors import InputError
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.method import Run
from paretorch.methods.sparsity.gradual.learned_thresholds import LearnedThresholds
from paretorch.methods.sparsity.gradual.substitution_costs import soft_threshold_cost
from paretorch.methods.sparsity.gradual.thresholds import Thresholds, check_decay
from paretorch.methods.sparsity.prunable import Patterns
from paretorch.methods.sparsity.zeroing import zero_pruned_


def soft_threshold_(weight: Tensor, threshold: Tensor) -> None:
    """Turn w into sign(w) relu(|w| - threshold), in place; zeros are +0.0.

    Args:
        weight: any shape.
        threshold: 0-d, not negative, of the same dtype.
    """
    weight.sub_(weight.clamp(-threshold, threshold))


def soft_threshold_gradients_(gradient: Tensor, weight: Tensor, threshold: Tensor) -> Tensor:
    """Turn dL/dv into dL/dw, in place.

    Args:
        gradient: dL/dv, any shape.
        weight: w, of the same shape.
        threshold: 0-d.

    Returns:
        dL/dthreshold, 0-d.
    """
    zero_pruned_(gradient, weight.abs() > threshold)
    return -(gradient * weight.sign()).sum()


class SoftThreshold(LearnedThresholds):
    """Weights are seen through a soft threshold per layer, which is learned.

    Args:
        sparsity: fraction of the prunable weights that shall be zero in the end, in [0, 1). It does not steer the
            method: what is missing at the end, the pipeline prunes.
        initial: s at the start; the threshold is then 1 / (1 + exp(-initial)).
        threshold_decay: weight decay of s, which raises the thresholds; not negative.
        include, exclude: name patterns of prunable parameters.

    Attributes:
        thresholds: s by the name of the weight, 0-d each; after `start`.

    Raises:
        InputError: for a number out of range.
    """

    name = "soft-threshold"

    def __init__(
        self,
        *,
        sparsity: float,
        initial: float = -5.0,
        threshold_decay: float = 5e-3,
        include: Patterns = None,
        exclude: Patterns = None,
    ) -> None:
        super().__init__(sparsity=sparsity, include=include, exclude=exclude)
        if not math.isfinite(initial) or not 0 <= threshold_decay < math.inf:
            raise InputError(
                f"initial must be finite, and threshold_decay finite and not negative; got {initial} and "
                f"{threshold_decay}"
            )
        self.initial, self.threshold_decay = initial, threshold_decay

    def check_optimizer(self, optimizer: Optimizer) -> None:
        """Refuse an optimizer without weight decay, unless the thresholds shall have none.

        Raises:
            InputError: naming it.
        """
        check_decay(optimizer, self.threshold_decay)

    def start(self, run: Run) -> None:
        super().start(run)
        self.thresholds = Thresholds({name: weight.new_tensor(self.initial) for name, weight in self._weights()})
        self.thresholds.add_to(run.optimizer, weight_decay=self.threshold_decay)

    def write(self, name: str, weight: Tensor) -> None:
        soft_threshold_(weight, self.thresholds[name].sigmoid())

    def chain(self, name: str, weight: Tensor, gradient: Tensor) -> None:
        s = self.thresholds[name]
        threshold = s.detach().sigmoid()
        s.grad = threshold * (1 - threshold) * soft_threshold_gradients_(gradient, weight, threshold)

    def details(self) -> dict[str, Any]:
        """The threshold of every layer."""
        return {"thresholds": {name: float(s.detach().sigmoid()) for name, s in self.thresholds.items()}}


CARD = Card(
    id="soft-threshold",
    title="Soft threshold reparametrisation",
    summary="Learns a threshold per layer below which weights are zero, and by which the others shrink.",
    year=2020,
    references=("Kusupati et al., ICML 2020",),
    cells=(("parameters", "remove"), ("parameters", "restrict")),
    phase=("dense_train",),
    stateful=True,
    hooks=("forward", "grad_ready", "eval_swap"),
    composes_with=("bn-reestimate",),
    relieves=("inference size", "inference compute"),
    worsens=("memory capacity", "memory bandwidth", "tuning cost"),
    caveat="the sparsity is not prescribed: it results from the decay of the thresholds and the length of the run",
    cost="a copy of the weights; per step, weights and their gradients are read and written several times",
    cost_model=soft_threshold_cost,
    realised_by="A sparse kernel, or a format that does not store zeros; dense kernels gain nothing.",
    hyperparams=(
        HyperParameter(name="initial", default=-5.0, low=-1e5, high=5.0),
        HyperParameter(name="threshold_decay", default=5e-3, low=1e-7, high=1.0, scale="log"),
    ),
    tuning_cost=2,
    excludes=("biases", "norms", "embeddings"),
    quality_risk="high",
    invariants=(
        "weights and their gradients are those of sign(w) relu(|w| - sigmoid(s)) by automatic differentiation",
        "the final weights keep the shrinkage",
        "a threshold without gradient moves by its decay alone, as s_0 prod(1 - lr_t decay)",
        "model and optimizer are left plain, without thresholds",
    ),
    evidence=("gradual_pruning",),
)
