"""Gradual magnitude pruning: while the model trains, ever more of its smallest weights are set to zero.

    after steps j D, j = 1 .. m:   K_j = round(N s(j / m)) smallest |w| pruned,   s(x) = S (1 - (1 - x)^3)

Between two prunings the masks hold: gradients and weights of pruned entries are zero, and so is their momentum from the
pruning on. The allocations over layers are those of magnitude pruning.

By default masks only grow. With `allow_recovering` each pruning ranks all weights again, the pruned ones by the value
they had when they were pruned, and those that are back among the largest go on from it.

Sources: Zhu and Gupta 2017, section 3; the times of pruning and `allow_recovering`, the code of Zimmer, Spiegel and
Pokutta 2023. Deviation: there, weight decay goes on shrinking the values that wait behind the masks; here they wait as
they were. Saves nothing while it trains: dense kernels multiply by zero, and masks are applied twice per step.
"""

import warnings
from typing import Any

import torch
from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.method import Run
from paretorch.methods.sparsity.costs import pruned_cost
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.gradual.schedule import Interval, PruningTimes, cubic_sparsity
from paretorch.methods.sparsity.magnitude import ALLOCATIONS, magnitude_masks
from paretorch.methods.sparsity.masks import Masks
from paretorch.methods.sparsity.prunable import Patterns


class GMP(GradualMethod):
    """Prunes the smallest weights at equal intervals, along a cubic curve from 0 to `sparsity`.

    Hooks: before_forward (prune, where it is time), before_update (gradients, before clipping), after_update (weights),
    finish (check). Touches weights, gradients and optimizer state of pruned entries; never shapes, data or loss.

    Args:
        sparsity: fraction of the prunable weights that are zero in the end, in [0, 1).
        interval: time between prunings; one epoch by default.
        allocation: how the zeros are spread over layers, by name, as in `magnitude_masks`.
        allow_recovering: rank pruned weights again; False keeps them pruned.
        include, exclude: name patterns of prunable parameters.

    Attributes:
        prunings: what was done: "step" (finished steps), "pruned" and "sparsity" of each.

    Raises:
        InputError: for a sparsity out of range or an unknown allocation.
    """

    name = "gmp"
    allows_early_clipping = True

    def __init__(
        self,
        *,
        sparsity: float,
        interval: Interval | None = None,
        allocation: str = "global",
        allow_recovering: bool = False,
        include: Patterns = None,
        exclude: Patterns = None,
    ) -> None:
        super().__init__(sparsity=sparsity, include=include, exclude=exclude)
        if allocation not in ALLOCATIONS:
            raise InputError(f"unknown allocation {allocation!r}; expected one of {', '.join(ALLOCATIONS)}")
        self.interval, self.allocation = interval or Interval(), allocation
        self.allow_recovering = allow_recovering
        self.prunings: list[dict[str, Any]] = []
        self._waiting: dict[str, Tensor] = {}

    def check(self, model: torch.nn.Module, *, num_steps: int, steps_per_epoch: int) -> None:
        """Refuse what `start` would refuse.

        Raises:
            InputError: also if the run has room for fewer than two prunings, or the allocation cannot reach the target.
        """
        super().check(model, num_steps=num_steps, steps_per_epoch=steps_per_epoch)
        PruningTimes(num_steps=num_steps, interval=self.interval.num_steps(steps_per_epoch))
        self._selected(model, self.sparsity, previous=None, seed=0)

    def start(self, run: Run) -> None:
        super().start(run)
        self._times = PruningTimes(num_steps=run.num_steps, interval=self.interval.num_steps(run.steps_per_epoch))
        self.prunings, self._waiting = [], {}
        self._enforced = MaskEnforcement(Masks.dense(run.model, self.parameters(run.model)))
        self._enforced.start(run)

    def before_forward(self, run: Run) -> None:
        number = self._times.number_at(run.step)
        if number is not None and number > len(self.prunings):
            self._prune(run, number)
        self._enforced.before_forward(run)

    def before_update(self, run: Run) -> None:
        self._enforced.before_update(run)

    def after_update(self, run: Run) -> None:
        self._enforced.after_update(run)

    def present_sparsity(self, run: Run) -> float:
        return self._enforced.masks.sparsity

    def finish(self, run: Run) -> None:
        """Prove the zeros; there is nothing to take away."""
        if len(self.prunings) < self._times.count:
            warnings.warn(
                f"training ended after {len(self.prunings)} of {self._times.count} prunings: the model's sparsity is "
                f"{self._enforced.masks.sparsity:.4g} and not {self.sparsity}",
                stacklevel=2,
            )
        self._enforced.finish(run)
        self.leave(run.model, self._enforced.masks)

    def details(self) -> dict[str, Any]:
        """The prunings, one after the other."""
        return {"prunings": [dict(one) for one in self.prunings]}

    def state_dict(self) -> dict[str, Any]:
        return {"masks": self._enforced.state_dict(), "prunings": self.details()["prunings"], "waiting": self._waiting}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        self._enforced.load_state_dict(run, state["masks"])
        self.prunings = state["prunings"]
        self._waiting = {name: value.to(run.device) for name, value in state["waiting"].items()}

    @torch.no_grad()
    def _prune(self, run: Run, number: int) -> None:
        sparsity = cubic_sparsity(number / self._times.count, final=self.sparsity)
        if self.allow_recovering:
            self._put_back(run.model)
            self._waiting = {name: p.detach().clone() for name, p in self.parameters(run.model).items()}
        previous = None if self.allow_recovering else self._enforced.masks
        masks = self._selected(run.model, sparsity, previous=previous, seed=run.seed)
        self._enforced.update(run, masks)
        self.prunings.append({"step": run.step, "pruned": masks.num_pruned, "sparsity": masks.sparsity})

    def _put_back(self, model: torch.nn.Module) -> None:
        """Give pruned entries the values they had when they were pruned."""
        for name, parameter in self.parameters(model).items():
            if name in self._waiting:
                kept = self._enforced.masks[name].to(parameter.device)
                parameter.copy_(torch.where(kept, parameter, self._waiting[name]))

    def _selected(self, model: torch.nn.Module, sparsity: float, *, previous: Masks | None, seed: int) -> Masks:
        return magnitude_masks(
            model,
            sparsity=sparsity,
            allocation=self.allocation,
            include=self.include,
            exclude=self.exclude,
            previous=previous,
            seed=seed,
        )


CARD = Card(
    id="gmp",
    title="Gradual magnitude pruning",
    summary="Raises the sparsity along a cubic curve while the model trains.",
    year=2017,
    references=(
        "Zhu and Gupta, arXiv 1710.01878, 2017, section 3",
        "as compared with: Zimmer, Spiegel and Pokutta, ICLR 2023",
    ),
    cells=(("parameters", "remove"), ("algorithm", "reorder")),
    phase=("dense_train",),
    needs_total_duration=True,
    schedule_params=(("first pruning", 0.0), ("last pruning", 1.0)),
    stateful=True,
    hooks=("model_surgery", "grad_ready", "post_step"),
    composes_with=("bn-reestimate",),
    relieves=("inference size", "inference compute"),
    caveat="the interval between prunings is a setting of the run; the last one lies one interval before its end",
    cost="of the finished model: multiplications and stored weights in proportion to the density; training pays for "
    "the masks in every step and for one selection per pruning",
    cost_model=pruned_cost,
    realised_by="A sparse kernel, or a format that does not store zeros; dense kernels gain nothing.",
    hyperparams=(
        HyperParameter(name="sparsity", low=0.0, high=1.0),
        HyperParameter(name="allocation", default="global", scale="choice", choices=ALLOCATIONS),
    ),
    tuning_cost=1,
    excludes=("biases", "norms", "embeddings"),
    cost_scope="inference",
    invariants=(
        "after pruning j of m exactly round(sparsity * (1 - (1 - j/m)^3) * N) weights are zero",
        "masks only grow, unless weights may recover",
        "pruned weights and their momentum are zero after every step",
    ),
    evidence=("gradual_pruning",),
)
