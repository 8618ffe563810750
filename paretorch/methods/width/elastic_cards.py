"""The cards of training at many widths: ordered dropout and the sandwich, and what a step of each costs on average.

For a chain of layers whose hidden widths have K equal levels P = {p : p = j / K >= min_ratio}, a layer that is cut on s
of its two axes, in a network of L hidden layers, has the mean cost

    uniform      E[p^s]                independent    E[p]^s            single layer    1 - (1 - E[p]) s / L

relative to the full width: first and last layer have s = 1, the others 2. A sandwich of n profiles adds up the full
one, the narrowest and n - 2 uniform ones. The backward pass has two products per layer, the first layer one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.cost_model import Effect, Effects, LayerShape

_LEVELS = HyperParameter(name="levels", default=8, low=1, high=1000, scale="integer")
_FULL_PASS = HyperParameter(name="full_pass", default="off", scale="choice", choices=("off", "on"))


def _levels(settings: Mapping[str, Any]) -> list[float]:
    levels = int(settings["levels"])
    return [j / levels for j in range(1, levels + 1) if j / levels >= settings["min_ratio"]]


def _mean(levels: Sequence[float], power: int) -> float:
    return float(sum(level**power for level in levels) / len(levels))


def _effects(layers: Sequence[LayerShape], share: Callable[[int], float]) -> Effects:
    """Forward and backward factors, if a layer that is cut on s axes costs `share(s)` of what it did."""
    last = len(layers) - 1
    shares = [share((number > 0) + (number < last)) for number in range(len(layers))]
    forward = [layer.macs for layer in layers]
    backward = [layer.macs * (1 if number == 0 else 2) for number, layer in enumerate(layers)]
    factors = [
        sum(s * w for s, w in zip(shares, weights, strict=True)) / sum(weights) for weights in (forward, backward)
    ]
    return {"flops_forward": Effect(factor=factors[0]), "flops_backward": Effect(factor=factors[1])}


def _dropout_cost(layers: Sequence[LayerShape], _batch: int, settings: Mapping[str, Any]) -> Effects:
    levels, hidden = _levels(settings), max(1, len(layers) - 1)
    mean = _mean(levels, 1)
    shares: dict[str, Callable[[int], float]] = {
        "uniform": lambda s: _mean(levels, s),
        "independent": lambda s: mean**s,
        "single layer": lambda s: 1 - (1 - mean) * s / hidden,
    }
    sampled, whole = shares[settings["sampler"]], float(settings["full_pass"] == "on")
    return _effects(layers, lambda s: sampled(s) + whole)


def _sandwich_cost(layers: Sequence[LayerShape], _batch: int, settings: Mapping[str, Any]) -> Effects:
    levels, between = _levels(settings), settings["samples"] - 2
    effects = _effects(layers, lambda s: 1 + levels[0] ** s + between * _mean(levels, s))
    return {**effects, "extra_forward": Effect(added=settings["batches"])}


ORDERED_DROPOUT = Card(
    id="ordered-dropout",
    title="Ordered dropout (FjORD)",
    summary="Trains nested widths: in every step a prefix of the units of one layer, or of all.",
    year=2021,
    references=(
        "Horvath, Laskaridis, Almeida, Leontiadis, Venieris and Lane, NeurIPS 2021, arXiv 2102.13451",
        "one layer per step, for ranks: Horvath, Laskaridis, Rajput and Wang, ICML 2024",
    ),
    reference_implementation="SamsungLabs/ordered_dropout",
    cells=(("architecture", "remove"), ("architecture", "retrofit")),
    phase=("dense_train",),
    stochastic=True,
    stateful=True,
    hooks=("forward", "loss", "backward"),
    conflicts=("universally-slimmable",),
    composes_with=("bn-reestimate",),
    relieves=("compute", "inference size", "inference compute"),
    worsens=("steps to target",),
    caveat="compute falls as far as narrow profiles are sampled, next to nothing with one of many layers per step; "
    "batch-norm statistics are re-estimated for each profile, not kept per width, and recurrent layers stay whole",
    cost="a step at one sampled profile instead of the full width; with a full pass, that one on top",
    cost_model=_dropout_cost,
    realised_by="cutting out a profile for inference; in training, products of smaller matrices",
    hyperparams=(
        HyperParameter(
            name="sampler",
            default="single layer",
            scale="choice",
            choices=("single layer", "uniform", "independent"),
        ),
        _LEVELS,
        HyperParameter(name="min_ratio", default=0.125, low=0.0, high=1.0),
        _FULL_PASS,
    ),
    tuning_cost=2,
    cost_scope="training",
    invariants=(
        "at a profile the model computes what it computes when nobody reads the removed units",
        "gradients of removed units are exactly zero",
        "one cycle of the default sampler holds every pair of group and width once",
        "parameters, sizes and running statistics are as before after a pass at another profile than the full one",
    ),
    evidence=("elastic_width",),
)

UNIVERSALLY_SLIMMABLE = Card(
    id="universally-slimmable",
    title="Universally slimmable networks",
    summary="Trains any width by the sandwich rule and in-place distillation.",
    year=2019,
    references=("Yu and Huang, ICCV 2019, arXiv 1903.05134",),
    reference_implementation="JiahuiYu/slimmable_networks",
    cells=(("architecture", "restrict"), ("objective", "retrofit")),
    phase=("dense_train",),
    stochastic=True,
    stateful=True,
    hooks=("forward", "loss", "backward"),
    conflicts=("ordered-dropout",),
    composes_with=("bn-reestimate",),
    relieves=("inference compute", "inference latency", "tuning cost"),
    worsens=("compute",),
    caveat="one family of widths that are equal in all layers; profiles that differ by layer were not trained",
    cost="several passes per step, the widest and the narrowest among them, and calibration of every width in use",
    cost_model=_sandwich_cost,
    charges=("extra forward passes", "calibration passes"),
    realised_by="cutting out a profile for inference",
    hyperparams=(
        HyperParameter(name="samples", default=4, low=2, high=100, scale="integer"),
        _LEVELS,
        HyperParameter(name="min_ratio", default=0.25, low=0.0, high=1.0),
        HyperParameter(name="batches", default=5, low=1, high=10_000, scale="integer"),
    ),
    tuning_cost=2,
    cost_scope="training",
    invariants=(
        "every step trains the widest and the narrowest profile",
        "only the widest profile learns from labels, the others from its softmax",
    ),
    evidence=("elastic_width",),
)

CARDS = (ORDERED_DROPOUT, UNIVERSALLY_SLIMMABLE)
