"""What convolutions and functions of channels do to labels: norms, pooling, pixel shuffles, padding.

A convolution with groups keeps their number: unit j is the j-th channel of every group, on both sides. A depthwise one
loses a group with each channel. All channels of one group of a group norm are one unit.
"""

import math
import re

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from paretorch.methods.width.tracing.labels import Layers, Operand
from paretorch.methods.width.tracing.trace import Call, Role, Trace

NORMALISED = "a norm averages over it, so that a narrower one would compute something else"
LOCAL = "neighbouring entries of it are combined"


def channels(trace: Trace, tensor: Tensor, dim: int, reason: str = LOCAL) -> Tensor | None:
    """Labels (size,) along one dimension; other dimensions are made constant."""
    others = [each for each in range(tensor.dim()) if each != dim]
    layers = trace.labels.collapsed(trace.layers(tensor), others, reason)
    return layers[0].reshape(-1) if layers else None


def along(vector: Tensor | None, dim: int, dims: int) -> Layers:
    """A layer of a tensor with `dims` dimensions that varies along one of them."""
    return () if vector is None or len(vector) == 1 else (vector.view([-1 if d == dim else 1 for d in range(dims)]),)


def match(trace: Trace, left: Tensor | None, right: Tensor | None) -> Tensor | None:
    """Labels of two dimensions that are the same; pinned where one of them is of fixed size."""
    if left is None or right is None:
        for each in (left, right):
            if each is not None:
                trace.labels.pin(each, "it meets a tensor of fixed size")
        return None
    trace.labels.equal(left, right)
    return left


def convolution(trace: Trace, call: Call) -> None:
    """F.conv1d, conv2d, conv3d and their transposes."""
    x, weight, bias = call.get(0, "input"), call.get(1, "weight"), call.get(2, "bias")
    transposed = "transpose" in call.name
    groups: int = call.get(6, "groups", 1)
    dim = x.dim() - weight.dim() + 1  # 0 where there is no batch
    source = channels(trace, x, dim)
    first, second = (_side(trace, weight, side) for side in (0, 1))
    spatial = x if transposed else call.output
    sizes = [*spatial.shape[:dim], *spatial.shape[dim + 1 :], *weight.shape]
    lead = len(sizes) - weight.dim()
    macs = tuple(
        each.view([-1 if d == lead + side else 1 for d in range(len(sizes))])
        for side, each in enumerate((first, second))
        if each is not None
    )
    trace.product(sizes, macs)
    inner, outer = (first, second) if transposed else (second, first)
    depthwise = groups > 1 and groups == x.shape[dim]
    for layer, producer in ((inner, False), (outer, True)):
        if layer is not None:
            trace.record.roles.append(Role(trace.module, id(weight), layer, producer))
    if groups == 1:
        match(trace, source, inner)
        made = outer
    elif depthwise and transposed:
        match(trace, source, inner)
        if outer is not None:
            trace.labels.pin(outer, "every channel of a depthwise transposed convolution has all of them")
        made = None if source is None else source.repeat_interleave(weight.shape[1])
    elif depthwise:
        if outer is not None and source is not None:
            trace.labels.equal(outer.view(groups, -1), source.view(groups, 1))
            made = outer
        else:
            made = match(trace, source, outer)
    else:
        made = _grouped(trace, source, inner, outer, groups, transposed=transposed)
    output = along(made, dim, call.output.dim())
    if bias is not None:
        output = _with_parameters(trace, output, call.output, dim, [bias])
    trace.set(call.output, output)


def _side(trace: Trace, weight: Tensor, dim: int) -> Tensor | None:
    """Labels of one of the first two dimensions of a convolution's weight, whose kernel is never cut."""
    for layer in trace.layers(weight):
        if layer.shape[dim] > 1:
            kept = trace.labels.collapse(layer, range(2, weight.dim()), LOCAL)
            return None if kept is None else kept.reshape(-1)
    for layer in trace.layers(weight):
        if all(size == 1 for size in layer.shape[:2]):
            trace.labels.pin(layer, LOCAL)
    return None


def _grouped(
    trace: Trace, source: Tensor | None, inner: Tensor | None, outer: Tensor | None, groups: int, *, transposed: bool
) -> Tensor | None:
    if source is not None:
        rows = source.view(groups, -1)
        trace.labels.equal(rows, rows[:1])
    if transposed:  # weight (in, out / groups)
        match(trace, source, inner)
        return None if outer is None else outer.repeat(groups)
    if source is None or inner is None:
        match(trace, source, inner)
    else:
        trace.labels.equal(source.view(groups, -1), inner.view(1, -1))
    if outer is not None:
        rows = outer.view(groups, -1)
        trace.labels.equal(rows, rows[:1])
    return outer


def _with_parameters(trace: Trace, layers: Layers, x: Tensor, dim: int, parameters: list[Tensor | None]) -> Layers:
    """Layers behind an elementwise function of x and of parameters with one entry per channel."""
    operands = [Operand(layers, tuple(x.shape))]
    for parameter in parameters:
        if parameter is not None and parameter.numel() > 1:
            shape = [1] * x.dim()
            shape[dim] = parameter.numel()
            own = tuple(layer.reshape(shape) for layer in trace.layers(parameter))
            operands.append(Operand(own, tuple(shape), True))
    return trace.labels.join(operands)


def batch_norm(trace: Trace, call: Call) -> None:
    """Batch and instance norm: one mean, variance, scale and shift for every channel."""
    x = call.args[0]
    parameters = [call.get(1 + i, key) for i, key in enumerate(("running_mean", "running_var", "weight", "bias"))]
    layers = _with_parameters(trace, trace.layers(x), x, 1, parameters)
    if trace.stack and isinstance(trace.stack[-1][1], _NormBase):
        for layer in layers:
            if layer.numel() == layer.shape[1] == getattr(trace.stack[-1][1], "num_features", None):
                trace.record.attributes.append((trace.module, "num_features", layer.reshape(-1)))
    trace.set(call.output, layers)


def group_norm(trace: Trace, call: Call) -> None:
    """All channels of a group are one unit; the number of groups follows."""
    x, groups = call.args[0], call.get(1, "num_groups")
    source = channels(trace, x, 1, NORMALISED)
    if source is not None:
        if groups == 1:
            trace.labels.pin(source, NORMALISED)
            source = None
        else:
            rows = source.view(groups, -1)
            trace.labels.equal(rows, rows[:, :1])
            _number(trace, "num_groups", rows[:, 0], nn.GroupNorm)
    layers = along(source, 1, x.dim())
    trace.set(call.output, _with_parameters(trace, layers, x, 1, [call.get(2, "weight"), call.get(3, "bias")]))


def _number(trace: Trace, attribute: str, layer: Tensor, kind: type[nn.Module]) -> None:
    """A number in a module that follows the labels of `layer`: an attribute of a known module, else a literal."""
    if trace.stack and isinstance(trace.stack[-1][1], kind):
        trace.record.attributes.append((trace.module, attribute, layer))
    else:
        trace.literal(layer, (0,), attribute)


def layer_norm(trace: Trace, call: Call) -> None:
    """Entries of the normalised axes are fixed."""
    x = call.args[0]
    shape = call.get(1, "normalized_shape")
    dims = range(x.dim() - len(shape), x.dim())
    layers = trace.labels.collapsed(trace.layers(x), dims, NORMALISED)
    operands = [Operand(layers, tuple(x.shape))]
    parameters = [call.get(2, "weight"), call.get(3, "bias") if call.name == "layer_norm" else None]
    operands += [trace.operand(each, x.dim()) for each in parameters if each is not None]
    trace.set(call.output, trace.labels.join(operands))


def rms_norm(trace: Trace, call: Call) -> None:
    """As a layer norm, but an nn.RMSNorm with a weight over one axis can keep its divisor when that axis is cut."""
    x, weight = call.args[0], call.get(2, "weight")
    layers = trace.layers(x)
    alone = [layer for layer in layers if layer.shape[-1] == layer.numel() > 1]
    known = trace.stack and type(trace.stack[-1][1]) is nn.RMSNorm and weight is not None and weight.dim() == 1
    if not (alone and known):
        layer_norm(trace, call)
        return
    trace.record.norms.append((trace.module, alone[0]))
    trace.record.attributes.append((trace.module, "normalized_shape", alone[0].reshape(-1)))
    trace.set(call.output, trace.labels.join([trace.operand(x), trace.operand(weight, x.dim())]))


def prelu(trace: Trace, call: Call) -> None:
    """One slope for all channels, or one for each."""
    x, weight = call.args[0], call.get(1, "weight")
    dim = 1 if x.dim() > 1 else 0
    trace.set(call.output, _with_parameters(trace, trace.layers(x), x, dim, [weight]))


def local(trace: Trace, call: Call) -> None:
    """Pooling and resizing: the last dimensions are combined, channels pass."""
    x = call.get(0, "input")
    found = re.search(r"([123])d", call.name)
    first = x.dim() - int(found[1]) if found else 2
    layers = trace.labels.collapsed(trace.layers(x), range(first, x.dim()), LOCAL)
    for output in call.output if isinstance(call.output, tuple) else (call.output,):
        trace.set(output, layers)


def pad(trace: Trace, call: Call) -> None:
    """Entries that are added to an axis are fixed; an axis from which some are taken away is pinned."""
    x, widths = call.get(0, "input"), list(call.get(1, "pad"))
    mode = call.get(2, "mode", "constant")
    made = []
    for layer in trace.layers(x):
        padded: Tensor | None = layer
        for position in range(len(widths) // 2):
            dim, before, after = x.dim() - 1 - position, widths[2 * position], widths[2 * position + 1]
            if padded is None or padded.shape[dim] == 1 or before == after == 0:
                continue
            if min(before, after) < 0 or mode != "constant":
                padded = trace.labels.collapse(padded, (dim,), LOCAL)
                continue
            if padded.numel() > padded.shape[dim]:
                padded = trace.labels.collapse(padded, (dim,), "it is padded")
                continue
            shape = list(padded.shape)
            parts = []
            for width in (before, after):
                shape[dim] = width
                parts.append(torch.zeros(shape, dtype=torch.int64))
            padded = torch.cat((parts[0], padded, parts[1]), dim)
        if padded is not None:
            made.append(padded)
    trace.set(call.output, tuple(made))


def pixel_shuffle(trace: Trace, call: Call) -> None:
    """Blocks of r * r neighbouring channels become one channel, or come from one."""
    x = call.args[0]
    factor: int = call.get(1, "upscale_factor", call.kwargs.get("downscale_factor"))
    dim = x.dim() - 3
    source = channels(trace, x, dim)
    if source is not None:
        if call.name == "pixel_shuffle":
            rows = source.view(-1, factor**2)
            trace.labels.equal(rows, rows[:, :1])
            source = rows[:, 0]
        else:
            source = source.repeat_interleave(factor**2)
    trace.set(call.output, along(source, dim, x.dim()))


def channel_shuffle(trace: Trace, call: Call) -> None:
    """Groups are kept: entry j of every group is one unit."""
    x, groups = call.args[0], call.get(1, "groups")
    source = channels(trace, x, 1)
    if source is not None:
        rows = source.view(groups, -1)
        trace.labels.equal(rows, rows[:1])
        source = rows.T.reshape(-1)
    trace.set(call.output, along(source, 1, x.dim()))


def unfold(trace: Trace, call: Call) -> None:
    """F.unfold: every channel gives as many neighbouring entries as the kernel has."""
    x, kernel = call.get(0, "input"), call.get(1, "kernel_size")
    source = channels(trace, x, 1)
    entries = kernel**2 if isinstance(kernel, int) else math.prod(kernel)
    trace.set(call.output, along(None if source is None else source.repeat_interleave(entries), 1, 3))
