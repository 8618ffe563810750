"""Labels of elements: which entries of which tensors stand or fall together, as integer arrays and equalities of them.

Every entry of every dimension of a parameter has a label of its own. A tensor made from parameters carries layers:
int64 arrays with as many dimensions as the tensor, of size 1 where the label does not vary. An activation has one
layer along its channels; split into heads, the layer spans two dimensions; a weight has one layer per dimension.
Functions make labels equal (`equal`, `collapse`, `join`) or fixed (`pin`); components of equal labels are the units.

All that happens here is written down and resolved once at the end, because a union at a time would be slow.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Layers = tuple[Tensor, ...]
FIXED_LABEL = 0


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor as a rule sees it: its layers and sizes, aligned to a common list of dimensions.

    static: computed from parameters and constants alone, so that entries of it can be set to zero for good.
    """

    layers: Layers
    shape: tuple[int, ...]
    static: bool = False


def span(layer: Tensor) -> tuple[int, ...]:
    """The dimensions along which a layer varies."""
    return tuple(dim for dim, size in enumerate(layer.shape) if size > 1)


def compressed(layer: Tensor) -> Tensor:
    """The layer with size 1 along dimensions where all entries are the same."""
    repeated = [dim for dim, stride in enumerate(layer.stride()) if stride == 0]
    for dim in repeated:
        layer = layer.narrow(dim, 0, 1)
    varying = span(layer)
    if len(varying) == 1 and layer.numel() > 1 and bool(layer.flatten()[0] != layer.flatten()[-1]):
        return layer
    for dim in varying:
        first = layer.narrow(dim, 0, 1)
        if bool((layer == first).all()):
            layer = first
    return layer


class Labels:
    """Hands out labels and writes down what is equal and what is fixed."""

    def __init__(self) -> None:
        self.count = 1  # label 0 is FIXED_LABEL
        self.pairs: list[tuple[Tensor, Tensor]] = []
        self.pins: list[tuple[Tensor, str]] = []
        self.where = ""  # appended to reasons: the function and the module that run
        self._seen: set[tuple[object, ...]] = set()

    def fresh(self, size: int) -> Tensor:
        """New labels (size,)."""
        self.count += size
        return torch.arange(self.count - size, self.count)

    def equal(self, left: Tensor, right: Tensor) -> None:
        """Entry by entry, with broadcasting."""
        if left.shape != right.shape:
            left, right = torch.broadcast_tensors(left, right)
        key = (left.data_ptr(), left.stride(), right.data_ptr(), right.stride(), left.shape)
        if key[:2] == key[2:4] or key in self._seen:
            return
        self._seen.add(key)
        self.pairs.append((left, right))

    def pin(self, layer: Tensor, reason: str) -> None:
        """Entries of this layer are never cut."""
        self.pins.append((layer, f"{reason} ({self.where})" if self.where else reason))

    def collapse(self, layer: Tensor, dims: Collection[int], reason: str) -> Tensor | None:
        """Make a layer constant along `dims`: what remains of it; None, and pinned, if it spans nothing else."""
        first = layer
        for dim in dims:
            if first.shape[dim] > 1:
                first = first.narrow(dim, 0, 1)
        if first is layer:
            return layer
        if not span(first):
            self.pin(layer, reason)
            return None
        self.equal(layer, first)
        return first

    def collapsed(self, layers: Layers, dims: Collection[int], reason: str) -> Layers:
        """`collapse` for every layer."""
        return tuple(kept for layer in layers if (kept := self.collapse(layer, dims, reason)) is not None)

    def join(self, operands: Sequence[Operand], contracted: Collection[int] = ()) -> Layers:
        """Layers of an elementwise function of aligned operands, before `contracted` dimensions are summed over.

        Layers of different operands that meet are made equal. A layer that meets a dimension of fixed size, or is
        summed over, remains along its other dimensions (a head whose entries meet is one unit) or is pinned. A sum over
        a product with a static tensor is safe: the entries of removed units can be set to zero there.
        """
        work = [list(operand.layers) for operand in operands]
        safe = any(operand.static for operand in operands) or len(operands) == 1
        changed = True
        while changed:
            changed = False
            for mine, layers in enumerate(work):
                for position, layer in enumerate(layers):
                    loose, reason = self._loose(layer, mine, operands, work, contracted, safe)
                    if loose:
                        kept = self.collapse(layer, loose, reason)
                        layers[position : position + 1] = [] if kept is None else [kept]
                        changed = True
                        break
        merged: list[Tensor] = []
        for layer in (layer for layers in work for layer in layers):
            for position, other in enumerate(merged):
                if any(a > 1 and b > 1 for a, b in zip(layer.shape, other.shape, strict=True)):
                    self.equal(other, layer)
                    merged[position] = torch.broadcast_tensors(other, layer)[0]
                    break
            else:
                merged.append(layer)
        return tuple(merged)

    def _loose(
        self,
        layer: Tensor,
        mine: int,
        operands: Sequence[Operand],
        work: list[list[Tensor]],
        contracted: Collection[int],
        safe: bool,
    ) -> tuple[list[int], str]:
        """Dimensions of a layer that cannot be cut in this function, and why."""
        dims = span(layer)
        summed = [dim for dim in dims if dim in contracted]
        if summed and (len(dims) > len(summed) or not safe):
            return summed, "two activations are multiplied and summed over it"
        loose = [
            dim
            for dim in dims
            for other, operand in enumerate(operands)
            if other != mine and operand.shape[dim] > 1 and all(each.shape[dim] == 1 for each in work[other])
        ]
        # Entries of a head that meet a tensor shared by all heads are one unit: heads are told apart, entries are not.
        for other, layers in enumerate(work):
            for shared in map(span, layers if other != mine else ()):
                if set(shared) < set(dims) and dims[0] not in shared:
                    loose += shared
        return loose, "it meets a tensor of fixed size"
