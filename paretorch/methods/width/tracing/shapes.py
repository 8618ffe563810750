"""Results of frequent functions on the meta device, from shapes alone.

Torch's own meta kernels for norms, activations and attention are written in Python and take a millisecond and more;
here the result is an empty tensor of the known shape. Every function returns None where anything is unusual or does not
fit, and the kernel itself then answers or raises.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Arguments = tuple[Any, ...]
Keywords = Mapping[str, Any]


def words(text: str) -> tuple[str, ...]:
    """Names in a string."""
    return tuple(text.split())


def get(args: Arguments, kwargs: Keywords, position: int, name: str, default: Any = None) -> Any:
    """An argument given by position or by name."""
    return args[position] if position < len(args) else kwargs.get(name, default)


def new(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """An empty tensor on the meta device."""
    return torch.empty(shape, dtype=like.dtype, device="meta")


def like(x: Tensor) -> Tensor:
    """An empty tensor of the same shape, dense and with its dimensions laid out in the same order."""
    if x.is_contiguous():
        return new(x, tuple(x.shape))
    strides = x.stride()
    order = sorted(range(x.dim()), key=lambda dim: (-strides[dim], dim))
    back = [order.index(dim) for dim in range(x.dim())]
    return new(x, tuple(x.shape[dim] for dim in order)).permute(back)


def _one(args: Arguments, kwargs: Keywords) -> Tensor | None:
    """A function of one tensor that keeps shape and type."""
    x = args[0] if args else kwargs.get("input")
    if not isinstance(x, Tensor) or not x.is_floating_point() or "out" in kwargs or "dtype" in kwargs:
        return None
    return x if kwargs.get("inplace") else like(x)


def _two(args: Arguments, kwargs: Keywords) -> Tensor | None:
    """Arithmetic of two tensors of one floating type, or of one and a number."""
    if len(args) != 2 or kwargs:
        return None
    left, right = args
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        if left.dtype != right.dtype or not left.is_floating_point():
            return None
        if left.shape == right.shape:
            return like(left) if left.stride() == right.stride() else None
        full, other = (left, right) if left.numel() > right.numel() else (right, left)
        if full.dim() < other.dim():
            return None
        sizes = zip(full.shape[full.dim() - other.dim() :], other.shape, strict=True)
        return like(full) if all(small in (1, size) for size, small in sizes) else None
    x, number = (left, right) if isinstance(left, Tensor) else (right, left)
    return like(x) if x.is_floating_point() and isinstance(number, int | float) else None


def _linear(args: Arguments, kwargs: Keywords) -> Tensor | None:
    x, weight, bias = (get(args, kwargs, i, name) for i, name in enumerate(("input", "weight", "bias")))
    fits = weight.dim() == 2 and x.shape[-1:] == weight.shape[1:] and x.dtype == weight.dtype
    if not fits or (bias is not None and bias.shape != weight.shape[:1]):
        return None
    return new(x, (*x.shape[:-1], weight.shape[0]))


def _matmul(args: Arguments, kwargs: Keywords) -> Tensor | None:
    if len(args) != 2 or kwargs:
        return None
    left, right = args
    if min(left.dim(), right.dim()) < 2 or left.shape[-1] != right.shape[-2] or left.dtype != right.dtype:
        return None
    return new(left, (*torch.broadcast_shapes(left.shape[:-2], right.shape[:-2]), left.shape[-2], right.shape[-1]))


def _convolution(args: Arguments, kwargs: Keywords) -> Tensor | None:
    x, weight, bias = (get(args, kwargs, i, name) for i, name in enumerate(("input", "weight", "bias")))
    rest = words("stride padding dilation groups")
    given = [get(args, kwargs, i, name, int(name != "padding")) for i, name in enumerate(rest, 3)]
    spatial = weight.dim() - 2
    if isinstance(given[1], str) or x.dim() != weight.dim() or x.dtype != weight.dtype:
        return None
    stride, padding, dilation = (each * spatial if len(each) == 1 else each for each in map(_tuple, given[:3]))
    groups = given[3]
    if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        return None
    if bias is not None and bias.shape != weight.shape[:1]:
        return None
    if any(each.dim() == 4 and not each.is_contiguous() for each in (x, weight)):
        return None
    sides = [
        (size + 2 * p - d * (kernel - 1) - 1) // s + 1
        for size, kernel, s, p, d in zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    ]
    return new(x, (x.shape[0], weight.shape[0], *sides)) if min(sides, default=1) > 0 else None


def _tuple(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def _batch_norm(args: Arguments, kwargs: Keywords) -> Tensor | None:
    x = args[0]
    parameters = [get(args, kwargs, i, name) for i, name in enumerate(words("running_mean running_var weight bias"), 1)]
    fits = all(each is None or each.shape == x.shape[1:2] for each in parameters)
    return like(x) if fits and x.dim() > 1 and not get(args, kwargs, 5, "training", False) else None


def _group_norm(args: Arguments, kwargs: Keywords) -> Tensor | None:
    x, groups = args[0], get(args, kwargs, 1, "num_groups")
    parameters = [get(args, kwargs, 2, "weight"), get(args, kwargs, 3, "bias")]
    fits = all(each is None or each.shape == x.shape[1:2] for each in parameters) and x.dim() > 1
    return new(x, tuple(x.shape)) if fits and x.shape[1] % groups == 0 else None


def _trailing_norm(args: Arguments, kwargs: Keywords) -> Tensor | None:
    """Layer and RMS norms."""
    x, shape = args[0], tuple(get(args, kwargs, 1, "normalized_shape"))
    parameters = [get(args, kwargs, 2, "weight"), get(args, kwargs, 3, "bias")]
    tensors = [each for each in parameters if isinstance(each, Tensor)]
    fits = tuple(x.shape[-len(shape) :]) == shape and all(tuple(each.shape) == shape for each in tensors)
    return new(x, tuple(x.shape)) if fits and all(each.dtype == x.dtype for each in tensors) else None


def _attention(args: Arguments, kwargs: Keywords) -> Tensor | None:
    """Four dimensions; laid out as the fused kernels do, so that heads lie beside each other for each token."""
    query, key, value = (get(args, kwargs, i, name) for i, name in enumerate(("query", "key", "value")))
    if any(each.dim() != 4 for each in (query, key, value)) or get(args, kwargs, 3, "attn_mask") is not None:
        return None
    alike = query.shape[:2] == key.shape[:2] == value.shape[:2] and query.shape[3] == key.shape[3]
    if not alike or key.shape[2] != value.shape[2] or not query.dtype == key.dtype == value.dtype:
        return None
    batch, heads, length, _ = query.shape
    return new(query, (batch, length, heads, value.shape[3])).transpose(1, 2)


def _repeat_interleave(args: Arguments, kwargs: Keywords) -> Tensor | None:
    x, times, dim = args[0], get(args, kwargs, 1, "repeats"), get(args, kwargs, 2, "dim")
    if not isinstance(times, int) or not isinstance(dim, int):
        return None
    shape = list(x.shape)
    shape[dim] *= times
    return new(x, tuple(shape))


def _embedding(args: Arguments, kwargs: Keywords) -> Tensor | None:
    numbers, weight = get(args, kwargs, 0, "input"), get(args, kwargs, 1, "weight")
    return new(weight, (*numbers.shape, weight.shape[1])) if weight.dim() == 2 else None


def _stack(args: Arguments, kwargs: Keywords) -> Tensor | None:
    tensors, dim = get(args, kwargs, 0, "tensors"), get(args, kwargs, 1, "dim", 0)
    first = tensors[0]
    if any(each.shape != first.shape or each.dtype != first.dtype for each in tensors[1:]):
        return None
    shape = list(first.shape)
    shape.insert(dim % (len(shape) + 1), len(tensors))
    return new(first, tuple(shape))


KNOWN: dict[str, Callable[[Arguments, Keywords], Tensor | None]] = {
    **dict.fromkeys(
        words(
            "relu relu6 leaky_relu elu selu gelu silu mish sigmoid hardswish hardsigmoid hardtanh tanh softplus exp"
            " sqrt rsqrt neg sin cos abs"
        ),
        _one,
    ),
    **dict.fromkeys(words("add sub mul div __add__ __sub__ __mul__ __truediv__ __radd__ __rmul__"), _two),
    **dict.fromkeys(words("layer_norm rms_norm"), _trailing_norm),
    **dict.fromkeys(words("conv1d conv2d conv3d"), _convolution),
    **dict.fromkeys(words("matmul __matmul__"), _matmul),
    "linear": _linear,
    "batch_norm": _batch_norm,
    "group_norm": _group_norm,
    "scaled_dot_product_attention": _attention,
    "repeat_interleave": _repeat_interleave,
    "embedding": _embedding,
    "stack": _stack,
}
