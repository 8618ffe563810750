"""RigL: training with a fixed number of weights, of which a few are exchanged for others every so many steps.

    start          random masks; every layer has its share of the weights, and keeps it
    every step     gradients of absent weights are zero, before clipping; absent weights are +0.0
    t = interval, 2 interval, ... < t_end = end * T:
                   no update; k weights of each layer are dropped and k grown (`topology.py`), by the gradients of all
                   weights, absent ones included, at this step

What grows starts at zero with zero optimizer state. A step of exchange moves nothing else: no weight, momentum or
decay, of biases and normalisation neither.

Saves nothing by itself: dense kernels multiply by the zeros, and the gradients of absent weights are computed in every
step. Source: Evci, Gale, Menick, Castro and Elsen, ICML 2020, Algorithm 1; interval and alpha default to those of the
authors' code; that the first exchange comes after `interval` steps, and the default of `end`, are ours. The sparsities
of layers are exact counts by `allocation.py`; the authors' "uniform" leaves the first layer dense, ours does so if you
exclude it.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.cost_model import Effects, LayerShape
from paretorch.methods.method import Run
from paretorch.methods.sparsity.costs import pruned_cost
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.gradual.topology import (
    ALLOCATIONS,
    absent_counts,
    drop_fraction,
    exchange,
    random_masks,
)
from paretorch.methods.sparsity.gradual.trained import gradients_are_finite, refuse_early_clipping, refuse_sharding
from paretorch.methods.sparsity.masks import Masks
from paretorch.methods.sparsity.prunable import Patterns
from paretorch.methods.sparsity.selection import target_count


class RigL(GradualMethod):
    """Trains a random sparse model, exchanging its smallest weights for absent ones of large gradient.

    Hooks: start (masks), before_update (the exchange, or masked gradients), after_update (zeros), finish. Refused in
    loops that clip before `before_update`: they would clip by the norm of all gradients.

    Args:
        sparsity, include, exclude: as in `GradualMethod`.
        allocation: "erk", or "uniform": the same sparsity in every layer.
        interval: steps from one exchange to the next, at least 1.
        end: fraction of the phase after which nothing is exchanged, in (0, 1].
        alpha: fraction of the weights exchanged at first, in (0, 1]; it falls to 0 along a cosine.

    Attributes:
        exchanges: how many exchanges there were.

    Raises:
        InputError: for a number out of range, or an unknown allocation.
    """

    name = "rigl"

    def __init__(
        self,
        *,
        sparsity: float,
        allocation: Literal["erk", "uniform"] = "erk",
        interval: int = 100,
        end: float = 0.75,
        alpha: float = 0.3,
        include: Patterns = None,
        exclude: Patterns = None,
    ) -> None:
        super().__init__(sparsity=sparsity, include=include, exclude=exclude)
        if allocation not in ALLOCATIONS:
            raise InputError(f"unknown allocation {allocation!r}; expected one of {', '.join(ALLOCATIONS)}")
        if type(interval) is not int or interval < 1:
            raise InputError(f"interval is the number of steps between two exchanges, at least 1; got {interval!r}")
        if not 0 < end <= 1:
            raise InputError(f"end is the fraction of the phase with exchanges, in (0, 1]; got {end!r}")
        if not 0 < alpha <= 1:
            raise InputError(f"alpha is the fraction of weights exchanged at first, in (0, 1]; got {alpha!r}")
        self.allocation, self.interval, self.end, self.alpha = allocation, interval, end, alpha
        self.exchanges = 0

    def check(self, model: nn.Module, *, num_steps: int, steps_per_epoch: int) -> None:
        """As in the base, and refuse a layer that would have no weight, and weights that are not finite."""
        super().check(model, num_steps=num_steps, steps_per_epoch=steps_per_epoch)
        shapes = {name: parameter.shape for name, parameter in self.parameters(model).items()}
        absent_counts(shapes, self.num_pruned(model), allocation=self.allocation)

    def start(self, run: Run) -> None:
        """Remove random weights, the same in every process.

        Raises:
            InputError: in a loop that clips too early, for a sharded model, for NaN weights, and as `check`.
        """
        refuse_early_clipping(self.name, run)
        refuse_sharding(self.name, run.model)
        super().start(run)
        masks = random_masks(
            self.parameters(run.model), self.num_pruned(run.model), allocation=self.allocation, seed=run.seed
        )
        self._enforced = MaskEnforcement(Masks(masks, copy=False))
        self._enforced.start(run)
        self._due, self.exchanges = self.interval, 0

    def before_update(self, run: Run) -> None:
        if self._due <= run.step < self.last(run.num_steps) and self._exchange(run):
            for parameter in run.model.parameters():
                parameter.grad = None  # torch's optimizers leave alone what has no gradient
        else:
            self._enforced.before_update(run)

    def after_update(self, run: Run) -> None:
        self._enforced.after_update(run)

    def last(self, num_steps: int) -> int:
        """t_end, the step from which on nothing is exchanged, of a phase of so many steps."""
        return round(self.end * num_steps)

    def finish(self, run: Run) -> None:
        """Prove the zeros; a phase that was too short for any exchange is a warning."""
        if self.exchanges == 0 and self.sparsity > 0:
            warnings.warn(
                f"'rigl' exchanged no weight in {run.num_steps} steps, so these are its random masks; take an interval "
                f"below {self.last(run.num_steps)} steps, it is {self.interval}",
                stacklevel=2,
            )
        self._enforced.finish(run)
        self.leave(run.model, self._enforced.masks)

    def present_sparsity(self, run: Run) -> float:
        """That of the masks, at all times the wanted one; weights that just grew are zero and counted as there."""
        return self._enforced.masks.sparsity

    def details(self) -> dict[str, Any]:
        return {"exchanges": self.exchanges}

    def state_dict(self) -> dict[str, Any]:
        return {"enforced": self._enforced.state_dict(), "due": self._due, "exchanges": self.exchanges}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        self._enforced.load_state_dict(run, state["enforced"])
        self._due, self.exchanges = state["due"], state["exchanges"]

    def _exchange(self, run: Run) -> bool:
        """Exchange weights by the gradients of this step; False if they overflowed and the next step must do."""
        parameters = self.parameters(run.model)
        if not gradients_are_finite(parameters):
            return False
        fraction = drop_fraction(run.step, last=self.last(run.num_steps), alpha=self.alpha)
        self._enforced.update(run, Masks(exchange(parameters, self._enforced.masks, fraction), copy=False))
        self._due = (run.step // self.interval + 1) * self.interval
        self.exchanges += 1
        return True


def _allocated_cost(layers: Sequence[LayerShape], batch: int, settings: Mapping[str, Any]) -> Effects:
    """Of the trained model: every layer at the sparsity that the allocation gives it."""
    sizes = {layer.name: layer.num_weights for layer in layers}
    shapes = {layer.name: torch.Size(layer.weight) for layer in layers}
    num_pruned = target_count(sum(sizes.values()), settings["sparsity"])
    counts = absent_counts(shapes, num_pruned, allocation=settings["allocation"])
    return pruned_cost(layers, batch, {"sparsity": {name: count / sizes[name] for name, count in counts.items()}})


CARD = Card(
    id="rigl",
    title="RigL",
    summary="Trains with a fixed number of weights: the smallest are dropped and those of largest gradient are grown.",
    year=2020,
    references=("Evci, Gale, Menick, Castro and Elsen, Rigging the lottery, ICML 2020, Algorithm 1",),
    reference_implementation="google-research/rigl",
    licence="Apache-2.0",
    cells=(("parameters", "remove"), ("parameters", "reorder")),
    phase=("dense_train",),
    needs_total_duration=True,
    schedule_params=(("first exchange", 0.0), ("last exchange", 0.75)),
    stochastic=True,
    stateful=True,
    hooks=("model_surgery", "grad_ready", "post_step"),
    composes_with=("bn-reestimate",),
    relieves=("inference size", "inference compute"),
    worsens=("memory capacity", "memory bandwidth"),
    caveat="training is sparse on paper only: our kernels are dense, and dense gradients are computed in every step",
    cost="as masks: 1 byte per weight and two products per step; each exchange ranks weights and gradients of all "
    "layers and takes the place of an update",
    cost_model=_allocated_cost,
    realised_by="a sparse kernel, or a format that does not store zeros; dense kernels gain nothing",
    hyperparams=(
        HyperParameter(name="sparsity", low=0.0, high=1.0),
        HyperParameter(name="allocation", default="erk", scale="choice", choices=ALLOCATIONS),
        HyperParameter(name="interval", default=100, low=1, high=100_000, scale="integer"),
        HyperParameter(name="end", default=0.75, low=0.0, high=1.0),
        HyperParameter(name="alpha", default=0.3, low=0.0, high=1.0),
    ),
    tuning_cost=2,
    excludes=("biases", "norms", "embeddings"),
    cost_scope="inference",
    invariants=(
        "every layer has the same number of weights at every step",
        "the k smallest weights of a layer go, and of what is then absent the k of largest gradient come",
        "what grows starts at zero with zero optimizer state",
        "a step of exchange moves no weight",
    ),
    evidence=("gradual_pruning",),
)
