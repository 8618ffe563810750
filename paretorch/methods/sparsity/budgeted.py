"""The card of budgeted iterative magnitude pruning (BIMP), whose operation is `pipelines/bimp.py`.

    T epochs in all = T0 of dense training + (T - T0) of retraining over n prune-retrain cycles

It is made of methods that have cards of their own: magnitude pruning, masks, batch-norm re-estimation and ALLR. Source:
Zimmer, Spiegel and Pokutta, "How I learned to stop worrying and love retraining", ICLR 2023.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.cost_model import Effect, Effects, LayerShape
from paretorch.methods.sparsity.costs import pruned_cost


def _cost(layers: Sequence[LayerShape], batch: int, settings: Mapping[str, Any]) -> Effects:
    """The finished model as after magnitude pruning; the epochs of retraining, beside those of its dense training."""
    retraining = Effect(added=settings["epochs"] - settings["dense_epochs"])
    return {**pruned_cost(layers, batch, settings), "epochs": retraining}


CARD = Card(
    id="bimp",
    title="Budgeted iterative magnitude pruning (BIMP)",
    summary="Splits one total budget over dense training, pruning and retraining.",
    year=2023,
    references=("Zimmer, Spiegel and Pokutta, ICLR 2023, arXiv 2111.00843",),
    reference_implementation="ZIB-IOL/BIMP",
    licence="none given",
    cells=(("parameters", "remove"), ("algorithm", "reorder")),
    phase=("dense_train", "prune", "retrain"),
    needs_total_duration=True,
    schedule_params=(("beginning of dense training", 0.0), ("end of the last cycle", 1.0)),
    hooks=("model_surgery", "grad_ready", "post_step"),
    composes_with=("magnitude", "masks", "bn-reestimate", "allr"),
    relieves=("inference size", "inference compute"),
    caveat="compare at equal total epochs; the share of dense training is a setting",
    cost="The finished model as after magnitude pruning; dense training is part of the given total of epochs.",
    cost_model=_cost,
    charges=("retraining epochs",),
    realised_by="A sparse kernel, or a format that does not store zeros; dense kernels gain nothing.",
    hyperparams=(
        HyperParameter(name="sparsity", low=0.0, high=1.0),
        HyperParameter(name="epochs", low=0, high=10_000),
        HyperParameter(name="dense_epochs", low=0, high=10_000),
    ),
    tuning_cost=1,
    excludes=("biases", "norms", "embeddings"),
    cost_scope="both",
    invariants=(
        "dense and retraining steps add up to the budget, and the last cycle takes the remainder",
        "the budget ratio of every cycle is its length over that of the dense training",
        "it is dense training with a linear schedule followed by iterative magnitude pruning, bit by bit",
    ),
    evidence=("gradual_pruning",),
)
