"""Continuous sparsification: a soft mask per weight is learned while its temperature falls, until it is binary.

    forward pass  c w sigma(beta s),  beta from 1 to beta_T geometrically;   in the end  c w under the hard mask of s

Deterministic, unlike hard-concrete gates: nothing is drawn, and the limit of large beta is the problem with binary
masks itself. This is the pruning mode, one training from scratch whose weights are kept. The gradient of s vanishes
for gates that are decided, so beta must rise slowly.

Sources: Savarese, Silva and Maire, "Winning the lottery with continuous sparsification", NeurIPS 2020, arXiv
1912.04427, and the authors' code. Deviations: beta rises with every step instead of every epoch; the sparsity is pulled
to and met exactly (`strength=0, ending="threshold"` is the published method, whose sparsity follows from s_0); c is
folded into the weights; what is reported is the density of the hard mask, where the code counts soft gates that are 0.
"""

import warnings

from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.method import Run
from paretorch.methods.sparsity.continuous.logits import UNDECIDED
from paretorch.methods.sparsity.continuous.soft_masks import SoftMasks
from paretorch.methods.sparsity.gradual.substitution_costs import continuous_cost

TOO_MANY = 0.2  # fraction of undecided gates from which the hard masks are another network than the soft ones


class ContinuousSparsification(SoftMasks):
    """Weights are seen through soft masks, which are learned and become hard; arguments as `SoftMasks`.

    `final_beta=1, ending="threshold"` is the ablation without annealing: a fixed temperature, and a threshold at the
    end.
    """

    name = "continuous-sparsification"

    def finish(self, run: Run) -> None:
        """Leave c w under the hard masks, and drop s and its optimizer.

        Warns:
            UserWarning: if more than a fifth of the gates are undecided.
        """
        self.harden(run)
        if (undecided := self.logits.undecided(self.final_beta)) > TOO_MANY:
            warnings.warn(
                f"{undecided * 100:.3g} % of the mask logits ended with |final_beta s| < {UNDECIDED:g}, neither open "
                "nor shut: hard masks leave another network than the one that was trained, and its quality may fall "
                "far. Raise mask_lr, train longer, or raise final_beta; without a pull (strength=0), begin farther "
                "from 0 (initial); then fine-tune",
                stacklevel=2,
            )


CARD = Card(
    id="continuous-sparsification",
    title="Continuous sparsification",
    summary="Learns a soft mask per weight whose temperature falls until it is binary.",
    year=2020,
    references=(
        "Savarese, Silva and Maire, NeurIPS 2020, arXiv 1912.04427",
        "signed pull to a density: CSQ, arXiv 2212.02770",
    ),
    reference_implementation="lolemacs/continuous-sparsification",
    cells=(("parameters", "remove"), ("parameters", "restrict"), ("objective", "retrofit")),
    phase=("dense_train",),
    needs_total_duration=True,
    schedule_params=(("end of annealing", 1.0),),
    stateful=True,
    hooks=("forward", "loss", "grad_ready", "post_step", "eval_swap"),
    composes_with=("masks", "bn-reestimate"),
    relieves=("inference size", "inference compute"),
    worsens=("memory capacity", "optimizer step", "memory bandwidth", "tuning cost"),
    caveat="gates that are undecided at the end make the hard network another one than was trained; training "
    "computes the dense model throughout",
    cost="16 bytes more per weight (mask logit, its momentum, gate, a copy of the weight); per step, weights, "
    "gradients and logits are read and written some twenty times",
    cost_model=continuous_cost,
    realised_by="A sparse kernel, or a format that does not store zeros; dense kernels gain nothing.",
    hyperparams=(
        HyperParameter(name="sparsity", low=0.0, high=1.0),
        HyperParameter(name="initial", default=-0.1, low=-1.0, high=1.0),
        HyperParameter(name="final_beta", default=200.0, low=1.0, high=10_000.0, scale="log"),
        HyperParameter(name="strength", default=1.0, low=0.0, high=100.0),
        HyperParameter(name="penalty", default=0.0, low=0.0, high=100.0),
        HyperParameter(name="mask_lr", default=0.1, low=1e-3, high=100.0, scale="log"),
    ),
    tuning_cost=2,
    excludes=("biases", "norms", "embeddings"),
    quality_risk="high",
    evidence=("continuous_sparsification", "sparsification_step"),
    invariants=(
        "with c the first forward pass is that of the network without masks",
        "weights, mask logits and their gradients are those of c w sigmoid(beta s) by automatic differentiation",
        "beta is 1 at the first step and beta_T at the last, and grows by the same factor between",
        "where min |beta s| is large, soft and hard masks give the same network",
        "exactly round(sparsity * N) weights are zero in the end, unless the threshold decides",
        "model and optimizers are left plain, with c in the weights and without logits",
    ),
)
