"""What every known torch function does to labels, by its plain name (without underscores at its ends).

Elementwise functions, reductions and functions that move elements are here; products and functions of channels have
files of their own. A function that is not in `RULES` pins what it reads.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from paretorch.methods.width.tracing import rules_channels, rules_products
from paretorch.methods.width.tracing.labels import Layers
from paretorch.methods.width.tracing.moving import concatenated, moved, reshaped
from paretorch.methods.width.tracing.shapes import words
from paretorch.methods.width.tracing.trace import Call, Trace
from paretorch.methods.width.tracing.without_data import tensors_in

ELEMENTWISE = words(
    "relu relu6 leaky_relu elu selu celu gelu silu mish sigmoid logsigmoid log_sigmoid hardsigmoid hardswish"
    " hardtanh tanh tanhshrink softplus softsign softshrink hardshrink threshold rrelu exp exp2 expm1 log log1p"
    " log2 log10 sqrt rsqrt abs absolute neg negative positive pos sign sgn sin cos tan asin acos atan sinh"
    " cosh asinh acosh atanh erf erfc sinc reciprocal square pow rpow ipow floor ceil round trunc frac clamp"
    " clamp_min clamp_max clip nan_to_num dropout alpha_dropout feature_dropout dropout1d dropout2d dropout3d"
    " feature_alpha_dropout detach clone contiguous to type type_as float double half bfloat16 int long bool"
    " data real requires_grad zero fill masked_fill where add sub subtract mul multiply div divide true_divide"
    " truediv floor_divide floordiv mod remainder fmod radd rsub rmul rtruediv rfloordiv rmod rdiv iadd isub"
    " imul itruediv idiv maximum minimum fmax fmin addcmul addcdiv lerp atan2 hypot copysign eq ne lt le gt ge"
    " greater less greater_equal less_equal not_equal logical_and logical_or logical_not logical_xor"
    " bitwise_and bitwise_or bitwise_xor bitwise_not and or xor rand ror rxor iand ior ixor invert isnan isinf"
    " isfinite zeros_like ones_like empty_like full_like rand_like randn_like copy special_expit special_erf"
    ""
)
REDUCTIONS = words(
    "sum mean max min amax amin prod var std median logsumexp norm vector_norm linalg_vector_norm argmax"
    " argmin any all nansum nanmean count_nonzero var_mean std_mean aminmax"
)
ALONG = words("softmax log_softmax softmin gumbel_softmax cumsum cumprod cummax cummin logcumsumexp sort argsort topk")
RESHAPES = words("view reshape flatten unflatten squeeze unsqueeze view_as reshape_as ravel")
WITH_SIZES = frozenset(("view", "reshape", "unflatten"))
MOVES = words(
    "permute transpose swapaxes swapdims movedim moveaxis t T mT H mH adjoint getitem select narrow chunk"
    " split split_with_sizes tensor_split unbind iter expand flip fliplr flipud tile repeat diagonal"
    " index_select"
)
POOLING = words(
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d"
    " adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d lp_pool1d lp_pool2d"
    " interpolate upsample upsample_nearest upsample_bilinear max_pool2d_with_indices"
)
NEW = words("new_zeros new_ones new_empty new_full new_tensor normal uniform bernoulli one_hot finfo")


def elementwise(trace: Trace, call: Call) -> None:
    """Every tensor among the arguments broadcasts to the result."""
    if not isinstance(call.output, Tensor):
        return
    dims = call.output.dim()
    inputs = list(tensors_in(call.args)) + list(tensors_in(call.kwargs))
    if len(inputs) == 1 and inputs[0].dim() == dims:
        trace.set(call.output, trace.layers(inputs[0]), static=trace.is_static(inputs[0]))
        return
    trace.set(call.output, trace.labels.join([trace.operand(tensor, dims) for tensor in inputs]))


def _dims(call: Call, position: int, dims: int) -> list[int]:
    """The dimensions that a function works along; all where none is named."""
    given = call.get(position, "dim", call.kwargs.get("axis"))
    if given is None or isinstance(given, torch.dtype | bool):
        return list(range(dims))
    return [each % dims for each in ([given] if isinstance(given, int) else given)] or list(range(dims))


def reduction(trace: Trace, call: Call) -> None:
    """Sums, means, extrema and norms: the axes that are reduced must not be cut."""
    inputs = list(tensors_in(call.args)) + list(tensors_in(call.kwargs))
    if len(inputs) > 1:  # max and min of two tensors
        elementwise(trace, call)
        return
    x = inputs[0]
    position = 2 if call.name in ("norm", "vector_norm", "linalg_vector_norm", "logsumexp") else 1
    dims = _dims(call, 1 if call.name == "logsumexp" else position, x.dim())
    layers = trace.labels.collapsed(trace.layers(x), dims, f"{call.name!r} is taken over it")
    for output in tensors_in(call.output):
        keeps = output.dim() == x.dim()
        trace.set(output, layers if keeps else tuple(_dropped(layer, dims) for layer in layers))


def _dropped(layer: Tensor, dims: Sequence[int]) -> Tensor:
    return layer.reshape([size for dim, size in enumerate(layer.shape) if dim not in dims])


def along_one(trace: Trace, call: Call) -> None:
    """Softmax, cumulative sums, sorting: all entries of one axis meet."""
    x = call.args[0] if call.args else next(tensors_in(call.kwargs))
    position = 2 if call.name == "topk" else 1
    given = call.get(position, "dim")
    dims = [given % x.dim()] if isinstance(given, int) else _dims(call, 99, x.dim())
    layers = trace.labels.collapsed(trace.layers(x), dims, f"{call.name!r} is taken over it")
    for output in tensors_in(call.output):
        trace.set(output, layers)


def normalize(trace: Trace, call: Call) -> None:
    """F.normalize: divides by a norm."""
    x, dim = call.args[0], call.get(2, "dim", 1)
    dims = [each % x.dim() for each in ([dim] if isinstance(dim, int) else dim)]
    trace.set(call.output, trace.labels.collapsed(trace.layers(x), dims, "it is normalised over it"))


def reshape(trace: Trace, call: Call) -> None:
    """Rearranges dimensions; sizes that are named are recorded."""
    x, output = call.args[0], call.output
    layers, split = reshaped(trace.labels, trace.layers(x), x.shape, output.shape)
    trace.record.splits.extend(split)
    if call.name in WITH_SIZES:
        for layer in layers:
            trace.literal(layer, range(output.dim()), call.name)
    trace.set(output, layers)


def move(trace: Trace, call: Call) -> None:
    """Functions that are applied to the labels themselves."""
    x = call.args[0]
    layers = trace.layers(x)
    if not layers:
        return
    if any(trace.layers(other) or other.dim() for other in list(tensors_in(call.args[1:]))):
        trace.pin_all([x], "its entries are picked by numbers in a tensor")
        return
    if call.name == "getitem":
        layers = trace.labels.collapsed(
            layers, _stepped(call.args[1], x.dim()), "every so many entries of it are picked"
        )
    outputs = list(tensors_in(call.output))
    function = _FUNCTIONS[call.name]
    made = moved(
        trace.labels, layers, x.shape, lambda layer: function(layer, *call.args[1:], **call.kwargs), len(outputs)
    )
    for output, carried in zip(outputs, made, strict=True):
        trace.set(output, carried)
        if call.name not in ("getitem", "narrow", "split", "split_with_sizes", "repeat", "expand"):
            continue
        for layer in carried:
            changed = [
                dim
                for dim, size in enumerate(layer.shape)
                if size > 1 and not any(size in each.shape for each in layers)
            ]
            trace.literal(layer, changed, call.name)
    if call.name in ("chunk", "tensor_split") or (call.name == "split" and isinstance(call.get(1, "split_size"), int)):
        _alike(trace, made)


def _stepped(index: Any, dims: int) -> list[int]:
    """Dimensions along which an index takes entries at a distance, which a cut would shift."""
    parts = [part for part in (index if isinstance(index, tuple) else (index,)) if part is not None]
    if Ellipsis in (part for part in parts if not isinstance(part, Tensor)):
        place = next(i for i, part in enumerate(parts) if part is Ellipsis)
        parts[place : place + 1] = [slice(None)] * (dims - len(parts) + 1)
    return [dim for dim, part in enumerate(parts) if isinstance(part, slice) and part.step not in (None, 1)]


def roll(trace: Trace, call: Call) -> None:
    """Entries that leave at one end come back at the other: an axis that is rolled must not be cut."""
    x, given = call.args[0], call.get(2, "dims", ())
    dims = [each % x.dim() for each in ([given] if isinstance(given, int) else given)] or range(x.dim())
    trace.set(call.output, trace.labels.collapsed(trace.layers(x), dims, "it is rolled"), static=trace.is_static(x))


def triangle(trace: Trace, call: Call) -> None:
    """tril and triu: which entries are zero depends on their places in the last two dimensions."""
    x = call.args[0]
    dims = (x.dim() - 2, x.dim() - 1)
    layers = trace.labels.collapsed(trace.layers(x), dims, "a triangle of it is set to zero")
    trace.set(call.output, layers, static=trace.is_static(x))


def _alike(trace: Trace, parts: Sequence[Layers]) -> None:
    """Pieces of equal size must be cut alike, for they are counted and not named."""
    for part in parts[1:]:
        for first, other in zip(parts[0], part, strict=True):
            if first.shape == other.shape:
                trace.labels.equal(first, other)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "T": lambda layer: layer.permute(*range(layer.dim() - 1, -1, -1)),
    "H": lambda layer: layer.mT,
    "mT": lambda layer: layer.mT,
    "mH": lambda layer: layer.mT,
    "getitem": lambda layer, index: layer[index],
    "iter": lambda layer: layer.unbind(0),
    **{name: getattr(torch.Tensor, name) for name in MOVES if name not in ("T", "H", "mT", "mH", "getitem", "iter")},
}


def repeat_interleave(trace: Trace, call: Call) -> None:
    """Every entry several times in a row; a number for each would be data."""
    x, times = call.args[0], call.get(1, "repeats")
    dim = call.get(2, "dim")
    if not isinstance(times, int) or dim is None:
        trace.pin_all([x], "it is repeated by numbers in a tensor or flattened")
        return
    dim %= x.dim()
    layers = tuple(layer.repeat_interleave(times, dim) if layer.shape[dim] > 1 else layer for layer in trace.layers(x))
    trace.set(call.output, layers)


def expand_as(trace: Trace, call: Call) -> None:
    """Broadcasts to the sizes of another tensor."""
    trace.set(call.output, trace.operand(call.args[0], call.output.dim()).layers)


def cat(trace: Trace, call: Call) -> None:
    """Concatenation; an empty tensor, as of a fresh cache of keys, adds nothing."""
    tensors = [each for each in call.get(0, "tensors") if each.numel()]
    dim = call.get(1, "dim", call.kwargs.get("axis", 0)) % call.output.dim()
    trace.set(
        call.output, concatenated(trace.labels, [(trace.layers(each), tuple(each.shape)) for each in tensors], dim)
    )


def stack(trace: Trace, call: Call) -> None:
    """Concatenation along a new dimension."""
    tensors = list(call.get(0, "tensors"))
    dim = call.get(1, "dim", 0) % call.output.dim()
    inputs = []
    for each in tensors:
        layers = tuple(layer.unsqueeze(dim) for layer in trace.layers(each))
        inputs.append((layers, (*each.shape[:dim], 1, *each.shape[dim:])))
    trace.set(call.output, concatenated(trace.labels, inputs, dim))


def glu(trace: Trace, call: Call) -> None:
    """The first half times the sigmoid of the second half."""
    x, dim = call.args[0], call.get(1, "dim", -1)
    parts = moved(trace.labels, trace.layers(x), x.shape, lambda layer: layer.chunk(2, dim), 2)
    _alike(trace, parts)
    trace.set(call.output, parts[0])


def setitem(trace: Trace, call: Call) -> None:
    """Writes into a part of a tensor."""
    trace.pin_all(list(tensors_in(call.args)), "a part of the tensor is overwritten")


def new(_trace: Trace, _call: Call) -> None:
    """A new tensor of fixed size."""


def packed_attention(trace: Trace, call: Call) -> None:
    """nn.MultiheadAttention keeps queries, keys and values in one weight, and the number of heads in several places."""
    trace.pin_all(
        list(tensors_in(call.args)) + list(tensors_in(call.kwargs)),
        "nn.MultiheadAttention fixes its heads and its width; write attention with one linear layer each and "
        "F.scaled_dot_product_attention to cut heads",
    )


RULES: dict[str, Callable[[Trace, Call], None]] = {
    **dict.fromkeys(ELEMENTWISE, elementwise),
    **dict.fromkeys(REDUCTIONS, reduction),
    **dict.fromkeys(ALONG, along_one),
    **dict.fromkeys(RESHAPES, reshape),
    **dict.fromkeys(MOVES, move),
    **dict.fromkeys(POOLING, rules_channels.local),
    **dict.fromkeys(NEW, new),
    **dict.fromkeys(("matmul", "rmatmul", "mm", "bmm", "mv", "dot"), rules_products.matmul),
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), rules_products.addmm),
    **{f"conv{turned}{n}d": rules_channels.convolution for turned in ("", "_transpose") for n in (1, 2, 3)},
    "linear": rules_products.linear,
    "roll": roll,
    "tril": triangle,
    "triu": triangle,
    "einsum": rules_products.einsum,
    "scaled_dot_product_attention": rules_products.attention,
    "embedding": rules_products.embedding,
    "batch_norm": rules_channels.batch_norm,
    "instance_norm": rules_channels.batch_norm,
    "group_norm": rules_channels.group_norm,
    "layer_norm": rules_channels.layer_norm,
    "rms_norm": rules_channels.rms_norm,
    "prelu": rules_channels.prelu,
    "pad": rules_channels.pad,
    "pixel_shuffle": rules_channels.pixel_shuffle,
    "pixel_unshuffle": rules_channels.pixel_shuffle,
    "channel_shuffle": rules_channels.channel_shuffle,
    "unfold": rules_channels.unfold,
    "normalize": normalize,
    "repeat_interleave": repeat_interleave,
    "expand_as": expand_as,
    "cat": cat,
    "concat": cat,
    "concatenate": cat,
    "stack": stack,
    "glu": glu,
    "setitem": setitem,
    "multi_head_attention_forward": packed_attention,
}
