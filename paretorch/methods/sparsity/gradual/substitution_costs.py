"""What it costs in a training step to give the forward pass other weights; float32, 4 bytes per weight.

Counted are operations on whole weights, per layer and step, by the bytes that they read and write per weight:

    substitution    copy aside 8, put back 8
    masks           integer product 4 + 1 + 4
    soft            clamp 8, difference 12;  gradient: |w| 8, comparison 5, masking 9, sign 8, product 12, sum 4
    DST             |w| 8, comparison 5, count 1, restart 2, masking 9;  gradient: fifteen, see `threshold_gradients_`
    soft masks      beta s 8, sigmoid 8, c 8, s > 0 5, count 1, product 12;  gradient of s: product 12, pull 8,
                    slope 8, 8 and 12, product 12, sum 4;  of w: product 12;  Nesterov step of s: 8, 12, 12, 12

The selection of a mask is not counted: how often it reads the weights depends on their values (about three times).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from paretorch.methods.cost_model import Effect, Effects, LayerShape
from paretorch.methods.sparsity.costs import WEIGHT_BYTES

SUBSTITUTION = (8, 8)
MASKING = (9,)
SOFT = (8, 12, 8, 5, 9, 8, 12, 4)
DST = (8, 5, 1, 2, 9, 8, 8, 8, 8, 8, 8, 5, 9, 12, 12, 4, 5, 12, 9, 12)
CONTINUOUS = (8, 8, 8, 5, 1, 12, 12, 8, 8, 8, 12, 12, 4, 12, 8, 12, 12, 12)


def masked_cost(layers: Sequence[LayerShape], _batch: int, _settings: Mapping[str, Any]) -> Effects:
    """Of DPF and DNW, between two renewals of the mask."""
    return _effects(layers, (*SUBSTITUTION, *MASKING), held_bytes=WEIGHT_BYTES + 1)


def soft_threshold_cost(layers: Sequence[LayerShape], _batch: int, _settings: Mapping[str, Any]) -> Effects:
    """Of STR; one threshold per layer."""
    return _effects(layers, (*SUBSTITUTION, *SOFT), held_bytes=WEIGHT_BYTES, thresholds=len(layers))


def dst_cost(layers: Sequence[LayerShape], _batch: int, _settings: Mapping[str, Any]) -> Effects:
    """Of DST; one threshold per output channel."""
    return _effects(
        layers, (*SUBSTITUTION, *DST), held_bytes=WEIGHT_BYTES, thresholds=sum(layer.weight[0] for layer in layers)
    )


def continuous_cost(layers: Sequence[LayerShape], _batch: int, _settings: Mapping[str, Any]) -> Effects:
    """Of continuous sparsification: beside the copy, s, its momentum and its gate; the gradient of s comes and goes."""
    return _effects(layers, (*SUBSTITUTION, *CONTINUOUS), held_bytes=4 * WEIGHT_BYTES)


def _effects(
    layers: Sequence[LayerShape], operations: Sequence[int], *, held_bytes: int, thresholds: int = 0
) -> Effects:
    weights = sum(layer.num_weights for layer in layers)
    return {
        "param_bytes": Effect(added=held_bytes * weights + WEIGHT_BYTES * thresholds),
        "bytes_moved": Effect(added=sum(operations) * weights),
        "launches": Effect(added=len(operations) * len(layers)),
    }
