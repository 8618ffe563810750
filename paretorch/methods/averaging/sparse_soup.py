"""Sparse model soups: what is promised of the average of copies that were retrained under one mask, and what it costs.

    w = (1/m) sum_i w_i,    w_i * (1 - mask) = 0 for all i    =>    w * (1 - mask) = 0

A uniform average is as sparse as each copy, because all are zero at the same places; after every cycle the average is
pruned further, once, and handed to all copies, so that later masks are common too. Training is charged m times.

Source: Zimmer, Spiegel and Pokutta, ICLR 2024 (Sparse Model Soups), algorithm 1. Deviations: the mask is made once per
cycle and compared, where the authors' code prunes every copy anew and takes the mask of the last; and see `streaming`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.cost_model import Effect, Effects, LayerShape


def _cost(_layers: Sequence[LayerShape], _batch: int, settings: Mapping[str, Any]) -> Effects:
    """Of all copies and cycles; the passes renew the statistics of what is evaluated, and one copy needs none."""
    evaluated = settings["cycles"] * (settings["copies"] + 1) if settings["copies"] > 1 else 0
    return {
        "epochs": Effect(added=settings["copies"] * settings["epochs"]),
        "extra_forward": Effect(added=evaluated * settings["batches"]),
    }


CARD = Card(
    id="sms",
    title="Sparse model soups",
    summary="Averages copies that were retrained from one pruned model under its mask, differing in seed or setting.",
    year=2024,
    references=(
        "Zimmer, Spiegel and Pokutta, ICLR 2024, arXiv 2306.16788",
        "averaging of fine-tuned models: Wortsman et al., ICML 2022",
    ),
    reference_implementation="ZIB-IOL/SMS",
    licence="none given",
    cells=(("parameters", "retrofit"), ("algorithm", "reorder")),
    phase=("prune", "retrain"),
    after=("magnitude",),
    composes_with=("masks", "bn-reestimate", "llr", "allr"),
    worsens=("compute",),
    caveat="quality at the same inference cost; copies of a cycle may be trained side by side, which saves only time",
    cost="the retraining epochs of every copy; forward passes for batch-norm statistics of copies and averages",
    cost_model=_cost,
    charges=("retraining epochs", "extra models", "calibration passes"),
    realised_by="a quality that one longer retraining does not reach at the same total cost; compare at equal epochs",
    hyperparams=(
        HyperParameter(name="copies", default=3, low=1, high=20, scale="integer"),
        HyperParameter(name="epochs", low=0, high=10_000),
        HyperParameter(name="cycles", default=1, low=1, high=20, scale="integer"),
        HyperParameter(name="batches", default=20, low=0, high=10_000, scale="integer"),
    ),
    tuning_cost=1,
    quality_risk="low",
    invariants=(
        "the average of copies with one mask has exactly that mask",
        "copies with differing masks are refused by the name of the copy",
        "one copy is iterative magnitude pruning, bitwise",
    ),
    evidence=("sparse_soups",),
)
