"""What products do to labels: linear layers, matrix products, einsum, attention, convolutions, embeddings.

Operands are aligned in one list of dimensions that holds those of the output and those summed over; elementwise rules
then apply (`Labels.join`), and MACs are the product of all sizes.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from paretorch.methods.width.tracing.labels import Layers, Operand, span
from paretorch.methods.width.tracing.trace import Call, Role, Trace


def contract(trace: Trace, operands: Sequence[Operand], contracted: int, sources: Sequence[Tensor | None]) -> Layers:
    """Layers of a product summed over one dimension, which is dropped; records MACs and who makes and reads what.

    sources: the tensor that each operand is, for those that may be weights.
    """
    layers = trace.labels.join(operands, (contracted,))
    trace.product([max(sizes) for sizes in zip(*(operand.shape for operand in operands), strict=True)], layers)
    for operand, source in zip(operands, sources, strict=True):
        if source is not None and operand.static:
            for layer in operand.layers:
                consumer = layer.shape[contracted] > 1
                trace.record.roles.append(Role(trace.module, id(source), layer, not consumer))
    return tuple(layer.squeeze(contracted) for layer in layers if layer.shape[contracted] == 1)


def permuted(operand: Operand, dims: Sequence[int | None]) -> Operand:
    """An operand with its dimensions in the given order; None is a new one of size 1."""
    order = [dim for dim in dims if dim is not None]
    shape = tuple(1 if dim is None else operand.shape[dim] for dim in dims)

    def aligned(layer: Tensor) -> Tensor:
        sizes = [1 if dim is None else layer.shape[dim] for dim in dims]
        return layer.permute(order).reshape(sizes)

    return Operand(tuple(map(aligned, operand.layers)), shape, operand.static)


def matrix_product(trace: Trace, left: Operand, right: Operand, sources: Sequence[Tensor | None]) -> Layers:
    """(..., m, k) @ (..., k, n) of operands of equal numbers of dimensions, two or more."""
    dims = len(left.shape)
    batch = list(range(dims - 2))
    aligned = [permuted(left, [*batch, dims - 2, dims - 1, None]), permuted(right, [*batch, None, dims - 2, dims - 1])]
    return contract(trace, aligned, dims - 1, sources)


def linear(trace: Trace, call: Call) -> None:
    """x @ weight.T + bias."""
    x, weight, bias = call.get(0, "input"), call.get(1, "weight"), call.get(2, "bias")
    left, right = trace.operand(x), trace.operand(weight)
    lead = [None] * (len(left.shape) - 1)
    aligned = [permuted(left, [*range(len(left.shape)), None]), permuted(right, [*lead, 1, 0])]
    layers = contract(trace, aligned, len(left.shape) - 1, (None, weight))
    trace.set(call.output, with_addend(trace, layers, call.output, bias))


def with_addend(trace: Trace, layers: Layers, output: Tensor, addend: Tensor | None) -> Layers:
    """Layers behind the addition of a bias that broadcasts as usual."""
    if addend is None:
        return layers
    return trace.labels.join([Operand(layers, tuple(output.shape)), trace.operand(addend, output.dim())])


def matmul(trace: Trace, call: Call) -> None:
    """torch.matmul, mm, bmm, mv, dot and the @ operator."""
    left, right = call.args[0], call.get(1, "other", call.kwargs.get("mat2"))
    if call.name == "rmatmul":
        left, right = right, left
    trace.set(call.output, _product(trace, left, right))


def _product(trace: Trace, left: Tensor, right: Tensor) -> Layers:
    dims = max(left.dim(), right.dim(), 2)
    first, second = trace.operand(left), trace.operand(right)
    if left.dim() == 1:
        first = permuted(first, [*[None] * (dims - 1), 0])
    if right.dim() == 1:
        second = permuted(second, [*[None] * (dims - 2), 0, None])
    first, second = (_led(operand, dims) for operand in (first, second))
    layers = matrix_product(trace, first, second, (left, right))
    if left.dim() == 1:
        layers = tuple(layer.squeeze(-2) for layer in layers)
    return tuple(layer.squeeze(-1) for layer in layers) if right.dim() == 1 else layers


def _led(operand: Operand, dims: int) -> Operand:
    return permuted(operand, [*[None] * (dims - len(operand.shape)), *range(len(operand.shape))])


def addmm(trace: Trace, call: Call) -> None:
    """addend + left @ right: addmm, baddbmm, addmv."""
    layers = _product(trace, call.args[1], call.args[2])
    trace.set(call.output, with_addend(trace, layers, call.output, call.args[0]))


def einsum(trace: Trace, call: Call) -> None:
    """Two operands in letters, none of them twice in one operand; everything else is not known."""
    equation = call.args[0]
    operands = call.args[1] if isinstance(call.args[1], list | tuple) else call.args[1:]
    terms = _letters(equation, operands) if isinstance(equation, str) and len(operands) == 2 else None
    if terms is None:
        trace.pin_all(list(operands), "only einsums of two operands without repeated letters are known")
        return
    left, right, output = terms
    summed = [letter for letter in dict.fromkeys(left + right) if letter not in output]
    space = output + "".join(summed)
    aligned = [
        permuted(trace.operand(tensor), [term.index(letter) if letter in term else None for letter in space])
        for tensor, term in zip(operands, (left, right), strict=True)
    ]
    contracted = range(len(output), len(space))
    layers = trace.labels.join(aligned, contracted)
    trace.product([max(sizes) for sizes in zip(*(each.shape for each in aligned), strict=True)], layers)
    for each, tensor in zip(aligned, operands, strict=True):
        if each.static:
            for layer in each.layers:
                consumer = any(dim in contracted for dim in span(layer))
                trace.record.roles.append(Role(trace.module, id(tensor), layer, not consumer))
    kept = (layer for layer in layers if all(layer.shape[dim] == 1 for dim in contracted))
    trace.set(call.output, tuple(layer.reshape(layer.shape[: len(output)]) for layer in kept))


def _letters(equation: str, operands: Sequence[Tensor]) -> tuple[str, str, str] | None:
    """Letters of both operands and of the output, dots written out; None where a letter stands twice in a term."""
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    left, right = inputs.split(",")
    spare = "".join(chr(code) for code in range(0x3B1, 0x3B1 + 24))  # letters that no equation has
    longest = 0
    terms = []
    for term, operand in zip((left, right), operands, strict=True):
        dots = operand.dim() - len(term.replace("...", "")) if "..." in term else 0
        longest = max(longest, dots)
        terms.append(term.replace("...", spare[24 - dots :] if dots else ""))
    dots_out = spare[24 - longest :] if longest else ""
    if arrow:
        output = output.replace("...", dots_out)
    else:
        once = sorted(letter for letter in set(left + right) - {"."} if (left + right).count(letter) == 1)
        output = dots_out + "".join(once)
    if any(len(set(term)) < len(term) for term in (*terms, output)):
        return None
    return terms[0], terms[1], output


def attention(trace: Trace, call: Call) -> None:
    """F.scaled_dot_product_attention: whole heads stay together; the head width is fixed, for it sets the scale."""
    query, key, value = (call.get(position, name) for position, name in enumerate(("query", "key", "value")))
    dims = max(query.dim(), key.dim(), value.dim())
    q, k, v = (trace.operand(tensor, dims) for tensor in (query, key, value))
    if call.kwargs.get("enable_gqa"):
        k, v = (_shared(each, q.shape[-3] // each.shape[-3]) for each in (k, v))
    batch = range(dims - 2)
    turned = permuted(k, [*batch, dims - 1, dims - 2])
    scores = trace.labels.collapsed(
        matrix_product(trace, q, turned, (None, None)), (dims - 1,), "attention normalises over it"
    )
    shape = (*(max(a, b) for a, b in zip(q.shape[:-1], (*k.shape[:-2], 1), strict=True)), k.shape[-2])
    mask: Any = call.get(3, "attn_mask")
    if mask is not None:
        scores = trace.labels.join([Operand(scores, shape), trace.operand(mask, dims)])
    trace.set(call.output, matrix_product(trace, Operand(scores, shape), v, (None, None)))


def _shared(operand: Operand, times: int) -> Operand:
    """Keys or values whose heads, third dimension from the end, serve `times` neighbouring queries each."""
    layers = tuple(layer.repeat_interleave(times, dim=-3) if layer.shape[-3] > 1 else layer for layer in operand.layers)
    shape = (*operand.shape[:-3], operand.shape[-3] * times, *operand.shape[-2:])
    return Operand(layers, shape, operand.static)


def embedding(trace: Trace, call: Call) -> None:
    """Rows of a table: F.embedding(numbers, weight)."""
    numbers, weight = call.get(0, "input"), call.get(1, "weight")
    trace.pin_all([numbers], "rows of a table are picked by it")
    layers = trace.labels.collapsed(trace.layers(weight), (0,), "rows are picked by their numbers")
    made = []
    for layer in layers:
        trace.record.roles.append(Role(trace.module, id(weight), layer, True))
        made.append(layer.reshape([1] * (call.output.dim() - 1) + [layer.shape[1]]))
    trace.set(call.output, tuple(made))
