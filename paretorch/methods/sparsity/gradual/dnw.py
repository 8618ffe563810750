"""Discovering neural wirings: the forward pass sees the largest weights of all layers, chosen anew in every step.

    v = w 1[|w| > tau],    tau = the K-th smallest |w| of all layers together,    K = round(S N)
    w := w - lr grad L(v)      straight through: also the weights that are not seen move (momentum and decay too)

The sparsity is S from the first step on, and what is seen changes with the weights. Ties at tau are broken by position,
so that exactly K weights are not seen.

Sources: Wortsman, Farhadi and Rastegari, "Discovering neural wirings", NeurIPS 2019; with one tau over all layers, as
in the code of Zimmer, Spiegel and Pokutta 2023, which takes floor(S N). Choosing anew at intervals only is ours: a
selection over all weights in every step is most of the method's cost.
"""

from paretorch.errors import InputError
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.method import Run
from paretorch.methods.sparsity.gradual.masked_forward import MaskedForward
from paretorch.methods.sparsity.gradual.substitution_costs import masked_cost
from paretorch.methods.sparsity.prunable import Patterns


class DNW(MaskedForward):
    """The forward pass sees the largest weights; all weights are trained.

    Args:
        sparsity: fraction of the prunable weights that are not seen, and that are zero in the end, in [0, 1).
        refresh_steps: steps between two selections; 1 is the published method.
        include, exclude: name patterns of prunable parameters.

    Attributes:
        in_force: the present selection; None before the first step.

    Raises:
        InputError: for a sparsity out of range, or no whole number of steps.
    """

    name = "dnw"

    def __init__(
        self, *, sparsity: float, refresh_steps: int = 1, include: Patterns = None, exclude: Patterns = None
    ) -> None:
        super().__init__(sparsity=sparsity, include=include, exclude=exclude)
        if type(refresh_steps) is not int or refresh_steps < 1:
            raise InputError(f"refresh_steps is a whole number of steps, at least 1; got {refresh_steps!r}")
        self.refresh_steps = refresh_steps

    def is_due(self, run: Run) -> bool:
        return run.step % self.refresh_steps == 0

    def num_pruned_at(self, run: Run) -> int:
        return self.num_pruned(run.model)


CARD = Card(
    id="dnw",
    title="Discovering neural wirings",
    summary="Shows the forward pass the largest weights only, chosen anew in every step, and trains all of them.",
    year=2019,
    references=(
        "Wortsman, Farhadi and Rastegari, NeurIPS 2019",
        "with one threshold over all layers: Zimmer, Spiegel and Pokutta, ICLR 2023",
    ),
    cells=(("parameters", "remove"), ("derived data", "replace")),
    phase=("dense_train",),
    stateful=True,
    hooks=("forward", "grad_ready", "eval_swap"),
    composes_with=("bn-reestimate",),
    relieves=("inference size", "inference compute"),
    worsens=("memory capacity", "memory bandwidth"),
    caveat="a selection over all weights in every step costs throughput; with refresh_steps it is done less often",
    cost="a copy of the weights and one byte per weight; per step, weights and mask are read and written a few times, "
    "and a selection reads the weights about three times more",
    cost_model=masked_cost,
    realised_by="A sparse kernel, or a format that does not store zeros; dense kernels gain nothing.",
    hyperparams=(
        HyperParameter(name="sparsity", low=0.0, high=1.0),
        HyperParameter(name="refresh_steps", default=1, low=1, high=10_000, scale="integer"),
    ),
    tuning_cost=1,
    excludes=("biases", "norms", "embeddings"),
    invariants=(
        "exactly round(sparsity * N) weights are zero in every forward pass and in the end",
        "no weight that is seen is smaller than one that is not",
        "weights that are not seen move by their gradient, straight through",
    ),
    evidence=("gradual_pruning",),
)
