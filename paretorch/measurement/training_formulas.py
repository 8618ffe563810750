"""MACs of what a forward pass of dense tensors does not contain: backward kernels, sparse products, integer kernels.

convolution, backward                 its forward pass, for the input's gradient and again for the weight's
fused attention, backward             batch heads L S (3 E + 2 E_v): the scores are computed again
fused recurrent layer, backward       its forward pass, for the data's gradients and again for the weights'
sparse @ dense (k, n)                 stored entries * n
sampled product (m, k) @ (k, n)       stored entries of the output * k
quantised linear layer                rows * numel(weight), integer operations
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from paretorch.measurement.operators import FORMULAS, PRODUCTS, convolution_macs


def _convolution_backward(args: tuple[Any, ...]) -> int:
    # from the shapes alone: torch's own formula counts the weight's gradient `groups` times
    output_gradient, inputs, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
    return sum(wanted[:2]) * convolution_macs(inputs, weight, output_gradient, transposed=transposed)


def _attention_backward(args: tuple[Any, ...]) -> int:
    query, key, value = args[1:4]
    return query.shape[:-1].numel() * key.shape[-2] * (3 * query.shape[-1] + 2 * value.shape[-1])


def _recurrent_cpu_backward(args: tuple[Any, ...]) -> int:
    return 2 * FORMULAS["mkldnn_rnn_layer"](args[0], args)[0]


def _recurrent_cuda_backward(args: tuple[Any, ...]) -> int:
    return (1 + args[-1][3]) * FORMULAS["_cudnn_rnn"](args[0], args)[0]  # the last argument says which are wanted


# name of the aten operator -> formula(args) -> MACs
BACKWARD_FORMULAS: dict[str, Callable[[tuple[Any, ...]], int]] = {
    "convolution_backward": _convolution_backward,
    "mkldnn_rnn_layer_backward": _recurrent_cpu_backward,
    "_cudnn_rnn_backward": _recurrent_cuda_backward,
    **dict.fromkeys((f"{name}_backward" for name in FORMULAS if "attention" in name), _attention_backward),
}

_SPARSE_PRODUCTS = {**PRODUCTS, "_sparse_addmm": 1, "sspaddmm": 1}
_COMPRESSED = frozenset({torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc})
_QUANTIZED_LINEAR = frozenset({"linear", "linear_relu", "linear_dynamic", "linear_relu_dynamic"})


def sparse_macs(name: str, args: tuple[Any, ...]) -> int | None:
    """MACs of an aten operator with a sparse operand; None when there is no formula (two sparse operands, say)."""
    if name == "sparse_sampled_addmm":
        stored = _stored(args[0])
        return None if stored is None else stored * args[1].shape[-1]
    if name not in _SPARSE_PRODUCTS:
        return None
    first = _SPARSE_PRODUCTS[name]
    left, right = args[first], args[first + 1]
    left_stored, right_stored = _stored(left), _stored(right)
    if left_stored is not None and right.layout == torch.strided:
        return left_stored * (right.shape[-1] if right.dim() > 1 else 1)
    if right_stored is not None and left.layout == torch.strided:
        return right_stored * left.shape[-2]
    return None


def _stored(tensor: Tensor) -> int | None:
    """Stored entries of a sparse tensor, zeros inside blocks included; None for other layouts."""
    if tensor.layout in _COMPRESSED:
        return tensor.values().numel()
    return tensor._values().numel() if tensor.layout == torch.sparse_coo else None


def integer_macs(namespace: str, name: str, args: tuple[Any, ...]) -> int | None:
    """MACs that an operator computes in integers; None when it does not, or when there is no formula."""
    if namespace == "aten" and name == "_int_mm":
        return FORMULAS[name](args[0], args)[0]
    if namespace == "quantized" and name in _QUANTIZED_LINEAR:
        weight, _bias = torch.ops.quantized.linear_unpack(args[1])
        return args[0].shape[:-1].numel() * weight.numel()
    return None
