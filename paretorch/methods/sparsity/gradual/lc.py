"""Learning-compression (LC): weight decay acts on the smallest weights only, so that they go to zero by themselves.

    Q = N - round(S N)                         the number of weights that are kept in the end
    the decay lambda of the optimizer acts on every entry but the Q of largest |w| over all parameters, in every step
    at the end: the round(S N) smallest prunable weights become zero

The decay is applied once, here: while the optimizer steps, its own is 0, and ours takes its place after clipping and
before momentum. SGD and Adam: g := g + lambda w; AdamW: w := (1 - lr lambda) w; both on the decayed entries alone, and
there with the arithmetic of torch, bit for bit.

Source: Carreira-Perpinan and Idelbayev, CVPR 2018, in the form of Zimmer, Spiegel and Pokutta, ICLR 2023 (their code),
where the ranking is over all parameters of the optimizer, biases and normalisation included, although Q counts prunable
weights alone. They subtract lambda w from the gradients of the Q and let the optimizer add it again: the same for SGD
without clipping, to rounding. An earlier version of the paper multiplied lambda by 1.1 every T/30 epochs; the later one
does not, nor do we. Deviations: their Q is rounded down, ours is what the final pruning keeps, one more at most; equal
weights are ranked by position; every parameter group has its own lambda.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.utils.hooks import RemovableHandle

from paretorch.errors import InputError, RunError
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.method import Run
from paretorch.methods.sparsity.costs import pruned_cost
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.gradual.trained import moved_parameters, refuse_sharding
from paretorch.methods.sparsity.prunable import Patterns
from paretorch.methods.sparsity.selection import select


class LC(GradualMethod):
    """Keeps weight decay from the Q largest entries, and prunes at the end.

    Hooks: before_update; the optimizer's own step; finish. The optimizer is SGD, Adam or AdamW with weight decay.
    Clipping sees the gradients of the loss alone, as in ordinary training, so that it does not matter when it comes.

    Args:
        sparsity, include, exclude: as in `GradualMethod`.

    Attributes:
        num_kept: Q; after `start`.
    """

    name = "lc"
    allows_early_clipping = True
    num_kept: int
    _step: "DecayOfSmallest"

    def __init__(self, *, sparsity: float, include: Patterns = None, exclude: Patterns = None) -> None:
        super().__init__(sparsity=sparsity, include=include, exclude=exclude)
        self._handles: list[RemovableHandle] = []

    def check_optimizer(self, optimizer: Optimizer) -> None:
        """Refuse an optimizer whose weight decay cannot be taken over, or that has none.

        Raises:
            InputError: naming the optimizer.
        """
        kind = type(optimizer).__name__
        if not isinstance(optimizer, SGD | Adam) or any(group["maximize"] for group in optimizer.param_groups):
            raise InputError(
                f"{self.name!r} takes over the weight decay of SGD, Adam and AdamW, without maximize; got {kind}. "
                "Choose one of them, or another method"
            )
        if not any(group["weight_decay"] != 0 for group in optimizer.param_groups):
            raise InputError(
                f"{self.name!r} acts by weight decay alone, and the {kind} of this run has none; set weight_decay of "
                "the optimizer, 5e-4 for example"
            )

    def start(self, run: Run) -> None:
        """Count Q, and put the decay of the main optimizer into our hands.

        Raises:
            InputError: for a sharded model, and as `check` and `check_optimizer`.
        """
        refuse_sharding(self.name, run.model)
        super().start(run)
        self.num_kept = self.num_weights(run.model) - self.num_pruned(run.model)
        self._release()
        step = DecayOfSmallest(self.num_kept)
        self._step, self._handles = (
            step,
            [
                run.optimizer.register_step_pre_hook(step.before),
                run.optimizer.register_step_post_hook(step.after),
            ],
        )
        run.handles.extend(self._handles)

    def before_update(self, run: Run) -> None:
        self._step.parameters = moved_parameters(run)

    def finish(self, run: Run) -> None:
        self._release()
        self.leave(run.model, self.smallest(run.model))

    def _release(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


class DecayOfSmallest:
    """The hooks around the optimizer's step: its own decay is 0 meanwhile, ours acts on the entries that are not kept.

    Args:
        num_kept: entries that do not decay.

    Attributes:
        parameters: what the coming step moves; set before every step and gone after it.
    """

    def __init__(self, num_kept: int) -> None:
        self.num_kept = num_kept
        self.parameters: dict[str, nn.Parameter] | None = None
        self._decays: list[float] = []

    def before(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        if self.parameters is None:
            raise RunError(
                "'lc' decays weights before the optimizer's step, and saw no gradients of this one: before_update was "
                "not called, or the loop runs the backward pass inside the step (a closure, as Lightning's automatic "
                "optimization does). Train with paretorch's Trainer, or with HostRun in a loop of your own"
            )
        largest = largest_weights(self.parameters, self.num_kept)
        kept = {id(parameter): largest[name] for name, parameter in self.parameters.items()}
        self._decays = [group["weight_decay"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if id(parameter) in kept and group["weight_decay"] != 0:
                    decay_(parameter, kept[id(parameter)], group)
            group["weight_decay"] = 0.0
        self.parameters = None

    def after(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        for group, decay in zip(optimizer.param_groups, self._decays, strict=True):
            group["weight_decay"] = decay


@torch.no_grad()
def decay_(parameter: nn.Parameter, kept: Tensor, group: dict[str, Any]) -> None:
    """Decay the entries that are not `kept`, as the optimizer of this group would: in the gradient, or in the weight.

    Args:
        parameter: with a gradient.
        kept: bool, the parameter's shape; these entries stay as they are.
        group: the parameter group: "weight_decay", and with decoupled decay "lr".
    """
    decay = group["weight_decay"]
    if group.get("decoupled_weight_decay", False):
        parameter.copy_(torch.where(kept, parameter, parameter * (1 - group["lr"] * decay)))
        return
    assert parameter.grad is not None
    parameter.grad.copy_(torch.where(kept, parameter.grad, parameter.grad.add(parameter, alpha=decay)))


def largest_weights(parameters: dict[str, nn.Parameter], count: int) -> dict[str, Tensor]:
    """Bool masks, True for the `count` entries of largest |w| over all parameters together.

    Raises:
        InputError: for NaN or infinite weights.
    """
    total = sum(parameter.numel() for parameter in parameters.values())
    weights = {name: parameter.detach() for name, parameter in parameters.items()}
    return select(weights, max(0, total - count), absolute=True)


CARD = Card(
    id="lc",
    title="Learning-compression (LC)",
    summary="Takes weight decay away from the largest weights, so that only the small ones shrink, and prunes at last.",
    year=2018,
    references=(
        "Carreira-Perpinan and Idelbayev, Learning-compression algorithms for neural net pruning, CVPR 2018",
        "form and baseline: Zimmer, Spiegel and Pokutta, ICLR 2023, arXiv 2111.00843",
    ),
    cells=(("parameters", "remove"), ("objective", "restrict")),
    phase=("dense_train",),
    hooks=("pre_step", "model_surgery"),
    composes_with=("bn-reestimate",),
    relieves=("inference size", "inference compute"),
    worsens=("optimizer step",),
    caveat="weights become small, not zero, until the end: training itself is dense",
    cost="every step ranks |w| over all parameters: about three readings; final zeros as pruned",
    cost_model=pruned_cost,
    realised_by="a sparse kernel, or a format that does not store zeros; dense kernels gain nothing",
    hyperparams=(HyperParameter(name="sparsity", low=0.0, high=1.0),),
    tuning_cost=1,
    excludes=("biases", "norms", "embeddings"),
    cost_scope="inference",
    invariants=(
        "weight decay acts on every entry but the Q largest over all parameters, and on them not at all",
        "clipping sees the gradients of the loss alone",
        "exactly round(sparsity * N) weights are zero in the end",
    ),
    evidence=("gradual_pruning",),
)
