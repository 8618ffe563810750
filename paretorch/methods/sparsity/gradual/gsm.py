"""Global sparse momentum (GSM): in every step only the Q most important gradients act; the rest decays towards zero.

    Q = N - round(S N)                         the number of weights that are kept in the end
    g_i := g_i if |w_i g_i| is among the Q largest of all parameters, else 0      before clipping
    decay and momentum act on every entry
    at the end: the round(S N) smallest prunable weights become zero

|w g| is the first-order estimate of how much the loss changes when w becomes zero. What is not among the Q gets no
gradient, so that weight decay shrinks it, and the final pruning removes what has become small.

Source: Ding et al., NeurIPS 2019, in the form of Zimmer, Spiegel and Pokutta, ICLR 2023 (their code), where the
ranking is over all parameters of the optimizer, biases and normalisation included, although Q counts prunable weights
alone. Deviations: their Q is rounded down, ours is what the final pruning keeps, one more at most; equal products are
ranked by position; N counts the layers of `prunable_parameters`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.method import Run
from paretorch.methods.sparsity.costs import pruned_cost
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.gradual.trained import (
    gradients_are_finite,
    moved_parameters,
    refuse_early_clipping,
    refuse_sharding,
)
from paretorch.methods.sparsity.selection import select
from paretorch.methods.sparsity.zeroing import zero_pruned_


def largest_products(parameters: Mapping[str, nn.Parameter], count: int) -> dict[str, Tensor]:
    """Bool masks, True for the `count` entries of largest |w g| over all parameters together.

    Args:
        parameters: name -> parameter with a gradient.
        count: if there are no more entries than that, all are True.

    Raises:
        InputError: for NaN or infinite weights or gradients.
    """
    products = {
        name: _wide(parameter) * _wide(parameter.grad)
        for name, parameter in parameters.items()
        if parameter.grad is not None
    }
    total = sum(product.numel() for product in products.values())
    return select(products, max(0, total - count), absolute=True)


class GSM(GradualMethod):
    """Zeroes all gradients but the Q of largest |w g| before every update, and prunes at the end.

    Hooks: before_update, before clipping; finish. Works with any optimizer; without weight decay nothing shrinks, and
    the method is a slow way of one-shot pruning. Refused in loops that clip before `before_update`.

    Args:
        sparsity, include, exclude: as in `GradualMethod`.

    Attributes:
        num_kept: Q; after `start`.
    """

    name = "gsm"
    num_kept: int

    def start(self, run: Run) -> None:
        """Count Q.

        Raises:
            InputError: in a loop that clips too early, for a sharded model, and as `check`.
        """
        refuse_early_clipping(self.name, run)
        refuse_sharding(self.name, run.model)
        super().start(run)
        self.num_kept = self.num_weights(run.model) - self.num_pruned(run.model)

    def before_update(self, run: Run) -> None:
        parameters = moved_parameters(run)
        if not gradients_are_finite(parameters):
            return
        for name, mask in largest_products(parameters, self.num_kept).items():
            gradient = parameters[name].grad
            assert gradient is not None
            zero_pruned_(gradient, mask)

    def finish(self, run: Run) -> None:
        self.leave(run.model, self.smallest(run.model))


def _wide(tensor: Tensor) -> Tensor:
    """In float32, or float64 if it is that: in half precision most products would be the same."""
    return tensor.detach().to(torch.float64 if tensor.dtype == torch.float64 else torch.float32)


CARD = Card(
    id="gsm",
    title="Global sparse momentum (GSM)",
    summary="Lets only the most important gradients of each step act, so that weight decay shrinks all other weights.",
    year=2019,
    references=(
        "Ding et al., Global sparse momentum SGD for pruning very deep neural networks, NeurIPS 2019",
        "form and baseline: Zimmer, Spiegel and Pokutta, ICLR 2023, arXiv 2111.00843",
    ),
    cells=(("parameters", "remove"), ("derived data", "remove")),
    phase=("dense_train",),
    hooks=("grad_ready", "model_surgery"),
    composes_with=("bn-reestimate",),
    relieves=("inference size", "inference compute"),
    worsens=("optimizer step",),
    caveat="weights become small, not zero, until the end: training itself is dense",
    cost="every step ranks |w g| over all parameters: one product and about three readings; final zeros as pruned",
    cost_model=pruned_cost,
    realised_by="a sparse kernel, or a format that does not store zeros; dense kernels gain nothing",
    hyperparams=(HyperParameter(name="sparsity", low=0.0, high=1.0),),
    tuning_cost=1,
    excludes=("biases", "norms", "embeddings"),
    cost_scope="inference",
    invariants=(
        "only the Q gradients of largest |w g| over all parameters act",
        "every other entry moves by decay and momentum alone",
        "exactly round(sparsity * N) weights are zero in the end",
    ),
    evidence=("gradual_pruning",),
)
