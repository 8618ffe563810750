"""Dynamic pruning with feedback: gradients at the pruned weights move the dense ones, so that pruned ones can return.

    v = w * m,    w := w - lr grad L(v)      (with momentum and decay, which act on all of w)
    m = the K_j smallest |w| of all layers together pruned,    K_j = round(N s(j / M)),   s(x) = S (1 - (1 - x)^3)

j counts the prunings of gradual magnitude pruning, M in all; the mask is renewed at each of them and, at the sparsity
reached, every 16 steps. The final model is w * m with m of the final w.

Sources: Lin, Stich, Barba, Dmitriev and Jaggi, "Dynamic model pruning with feedback", ICLR 2020; the selection over all
layers together and the two times of renewal, the code of Zimmer, Spiegel and Pokutta 2023. Renewing the mask once more
at the end is ours: it makes the count exact however long the run was. Saves nothing while it trains.
"""

from typing import Any

from torch import nn

from paretorch.errors import InputError
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.method import Run
from paretorch.methods.sparsity.gradual.masked_forward import MaskedForward
from paretorch.methods.sparsity.gradual.schedule import Interval, PruningTimes, cubic_sparsity
from paretorch.methods.sparsity.gradual.substitution_costs import masked_cost
from paretorch.methods.sparsity.prunable import Patterns
from paretorch.methods.sparsity.selection import target_count


class DPF(MaskedForward):
    """The forward pass sees the largest weights, ever fewer of them along a cubic curve; all weights are trained.

    Args:
        sparsity: fraction of the prunable weights that are zero in the end, in [0, 1).
        interval: time between two rises of the sparsity; one epoch by default.
        refresh_steps: the mask is also renewed every so many steps.
        include, exclude: name patterns of prunable parameters.

    Attributes:
        in_force: the present mask; None before the first step.

    Raises:
        InputError: for a sparsity out of range, or no whole number of steps.
    """

    name = "dpf"

    def __init__(
        self,
        *,
        sparsity: float,
        interval: Interval | None = None,
        refresh_steps: int = 16,
        include: Patterns = None,
        exclude: Patterns = None,
    ) -> None:
        super().__init__(sparsity=sparsity, include=include, exclude=exclude)
        if type(refresh_steps) is not int or refresh_steps < 1:
            raise InputError(f"refresh_steps is a whole number of steps, at least 1; got {refresh_steps!r}")
        self.interval, self.refresh_steps = interval or Interval(), refresh_steps

    def check(self, model: nn.Module, *, num_steps: int, steps_per_epoch: int) -> None:
        """Refuse what `start` would refuse.

        Raises:
            InputError: also if the run has room for fewer than two rises of the sparsity.
        """
        super().check(model, num_steps=num_steps, steps_per_epoch=steps_per_epoch)
        PruningTimes(num_steps=num_steps, interval=self.interval.num_steps(steps_per_epoch))

    def start(self, run: Run) -> None:
        super().start(run)
        self._times = PruningTimes(num_steps=run.num_steps, interval=self.interval.num_steps(run.steps_per_epoch))

    def is_due(self, run: Run) -> bool:
        return run.step % self.refresh_steps == 0 or self._times.number_at(run.step) is not None

    def num_pruned_at(self, run: Run) -> int:
        reached = min(run.step // self._times.interval, self._times.count)
        return target_count(
            self.num_weights(run.model), cubic_sparsity(reached / self._times.count, final=self.sparsity)
        )

    def details(self) -> dict[str, Any]:
        """How often the sparsity rises, and when the mask is renewed besides."""
        return {"rises": self._times.count, "refresh_steps": self.refresh_steps}


CARD = Card(
    id="dpf",
    title="Dynamic pruning with feedback",
    summary="Applies the gradient at the pruned weights to the dense ones, so that pruned weights can return.",
    year=2020,
    references=(
        "Lin, Stich, Barba, Dmitriev and Jaggi, ICLR 2020",
        "as compared with: Zimmer, Spiegel and Pokutta, ICLR 2023",
    ),
    cells=(("parameters", "remove"), ("derived data", "replace")),
    phase=("dense_train",),
    needs_total_duration=True,
    schedule_params=(("first pruning", 0.0), ("end of pruning", 1.0)),
    stateful=True,
    hooks=("forward", "grad_ready", "eval_swap"),
    composes_with=("bn-reestimate",),
    relieves=("inference size", "inference compute"),
    worsens=("memory capacity", "memory bandwidth"),
    caveat="training is dense and does a little more than without it; one selection over all weights every few steps",
    cost="a copy of the weights and one byte per weight; per step, weights and mask are read and written a few times; "
    "per renewal of the mask one selection, which reads the weights about three times more",
    cost_model=masked_cost,
    realised_by="A sparse kernel, or a format that does not store zeros; dense kernels gain nothing.",
    hyperparams=(
        HyperParameter(name="sparsity", low=0.0, high=1.0),
        HyperParameter(name="refresh_steps", default=16, low=1, high=10_000, scale="integer"),
    ),
    tuning_cost=1,
    excludes=("biases", "norms", "embeddings"),
    invariants=(
        "exactly round(sparsity * N) weights are zero in the end",
        "the gradient at the pruned weights moves the dense ones, and a pruned weight that has grown returns",
        "a mask prunes the smallest weights of all layers and stands until it is renewed",
    ),
    evidence=("gradual_pruning",),
)
