"""Cost models of masks and of pruning in three patterns, in theory; float32 weights, 4 bytes each.

pruned     MACs and weights times the density of each layer; one bit per weight says which are kept
n:m        the same at density n/m; ceil(log2 m) bits say where each kept weight stands in its group
filters    a layer keeps the fraction k of its outputs and reads the fraction k' that the layer before it kept:
           k k' of its weights and MACs, in a chain of layers whose last one keeps all outputs
masks      1 byte per weight, and per step two products, each of which reads values and mask and writes values
"""

from collections.abc import Mapping, Sequence
from typing import Any

from paretorch.methods.card import HyperParameter
from paretorch.methods.cost_model import Effect, Effects, LayerShape, macs_factor, weights_factor

WEIGHT_BYTES = 4
EPOCHS = HyperParameter(name="epochs", default=0, low=0, high=10_000)
"""Epochs of the phase in which a method acts; methods of one phase share them, so they count once."""


def pruned_cost(layers: Sequence[LayerShape], _batch: int, settings: Mapping[str, Any]) -> Effects:
    """Of `settings["sparsity"]`, one number for every layer or a number by layer name."""
    densities = _densities(layers, settings["sparsity"])
    kept = weights_factor(layers, densities)
    return {
        "flops_forward": Effect(factor=macs_factor(layers, densities)),
        "param_bytes": Effect(factor=kept + 1 / (8 * WEIGHT_BYTES)),
    }


def nm_cost(_layers: Sequence[LayerShape], _batch: int, settings: Mapping[str, Any]) -> Effects:
    """Of `settings["n"]` and `settings["m"]`, in every layer."""
    density = settings["n"] / settings["m"]
    index_bits = (int(settings["m"]) - 1).bit_length()
    return {
        "flops_forward": Effect(factor=density),
        "param_bytes": Effect(factor=density * (1 + index_bits / (8 * WEIGHT_BYTES))),
    }


def filter_cost(layers: Sequence[LayerShape], _batch: int, settings: Mapping[str, Any]) -> Effects:
    """Of `settings["sparsity"]`, after the cut, for layers that feed one another in the order given."""
    kept = _densities(layers, settings["sparsity"])
    kept[layers[-1].name] = 1.0
    densities, inputs = {}, 1.0
    for layer in layers:
        densities[layer.name] = kept[layer.name] * inputs
        inputs = kept[layer.name]
    return {
        "flops_forward": Effect(factor=macs_factor(layers, densities)),
        "param_bytes": Effect(factor=weights_factor(layers, densities)),
    }


def masks_cost(layers: Sequence[LayerShape], _batch: int, settings: Mapping[str, Any]) -> Effects:
    """Per step, with every layer masked."""
    weights = sum(layer.num_weights for layer in layers)
    product_bytes = (2 * WEIGHT_BYTES + 1) * weights
    return {
        "param_bytes": Effect(added=weights),
        "bytes_moved": Effect(added=2 * product_bytes),
        "launches": Effect(added=2 * len(layers)),
        "epochs": Effect(added=settings["epochs"]),
    }


def _densities(layers: Sequence[LayerShape], sparsity: float | Mapping[str, float]) -> dict[str, float]:
    if isinstance(sparsity, Mapping):
        return {layer.name: 1 - sparsity.get(layer.name, 0.0) for layer in layers}
    return {layer.name: 1 - sparsity for layer in layers}
