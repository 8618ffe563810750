"""Layers of labels through functions that only move elements: reshape, cat, stack, indexing and the like.

A function that moves elements is applied to the labels themselves, expanded without copies to the size of the tensor.
Reshapes work block by block: dimensions are paired so that the products of their sizes agree, and only the blocks along
which a layer varies are rearranged.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from paretorch.methods.width.tracing.labels import Labels, Layers, compressed, span


def blocks(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Smallest runs of dimensions, sizes of 1 left out, whose products of sizes agree."""
    left = [dim for dim, size in enumerate(before) if size != 1]
    right = [dim for dim, size in enumerate(after) if size != 1]
    i = j = 0
    while i < len(left) and j < len(right):
        ins, outs = [left[i]], [right[j]]
        p, q = before[left[i]], after[right[j]]
        i, j = i + 1, j + 1
        while p != q:
            if p < q:
                ins.append(left[i])
                p, i = p * before[left[i]], i + 1
            else:
                outs.append(right[j])
                q, j = q * after[right[j]], j + 1
        yield ins, outs


def reshaped(
    labels: Labels, layers: Layers, before: Sequence[int], after: Sequence[int]
) -> tuple[Layers, list[Tensor]]:
    """Layers behind a reshape, and those that it split over several dimensions.

    Two layers whose dimensions are merged into one are pinned: entries left would be a product of widths.
    """
    pairs = list(blocks(before, after))
    spans = [set(span(layer)) for layer in layers]
    made: list[Tensor] = []
    split: list[Tensor] = []
    for mine, layer in enumerate(layers):
        source, target, divided = [1] * len(before), [1] * len(after), []
        merged = False
        for ins, outs in pairs:
            if not spans[mine].intersection(ins):
                continue
            merged |= any(other != mine and spans[other].intersection(ins) for other in range(len(layers)))
            for dim in ins:
                source[dim] = before[dim]
            for dim in outs:
                target[dim] = after[dim]
            divided += outs if len(outs) > 1 else []
        if merged:
            labels.pin(layer, "a reshape merges it with another axis that could be cut")
            continue
        new = layer.expand(source).reshape(target)
        if divided:
            new = compressed(new)
            if sum(new.shape[dim] > 1 for dim in divided) > 1:
                split.append(new)
        made.append(new)
    return tuple(made), split


def moved(
    labels: Labels, layers: Layers, shape: Sequence[int], move: Callable[[Tensor], Any], outputs: int
) -> list[Layers]:
    """Layers of each of `outputs` results of `move`, a function of one tensor of `shape`.

    A layer that no output carries on (one entry was picked by its number) is pinned.
    """
    made: list[list[Tensor]] = [[] for _ in range(outputs)]
    for layer in layers:
        result = move(layer.expand(*shape))
        parts = [result] if isinstance(result, Tensor) else list(result)
        parts = [compressed(part) for part in parts]
        if not all(span(part) for part in parts):
            labels.pin(layer, "entries of it are picked by their numbers")
            continue
        for position, part in enumerate(parts):
            made[position].append(part)
    return [tuple(each) for each in made]


Input = tuple[Layers, tuple[int, ...]]


def concatenated(labels: Labels, inputs: Sequence[Input], dim: int) -> Layers:
    """Layers of torch.cat; entries of an input without labels along `dim` are fixed."""
    made = []
    for family in _families(inputs, dim):
        present = [layer for layer in family if layer is not None]
        across = {d for layer in present for d in span(layer)} - {dim}
        if across and len(present) < len(family):
            for layer in present:
                labels.pin(layer, "it is concatenated with a tensor of fixed size")
        elif all(layer.shape[dim] == 1 for layer in present):
            for layer in present[1:]:
                labels.equal(present[0], layer)
            made.append(present[0])
        else:
            made.append(_joined(labels, family, inputs, dim, alike=bool(across)))
    return tuple(made)


def _families(inputs: Sequence[Input], dim: int) -> list[list[Tensor | None]]:
    """Layers that meet: one of each input or None."""
    found: list[list[Tensor | None]] = []
    for position, (layers, _) in enumerate(inputs):
        for layer in layers:
            mine = set(span(layer)) - {dim} or {dim}
            for family in found:
                others = {d for each in family if each is not None for d in span(each)} - {dim} or {dim}
                if family[position] is None and mine & others:
                    family[position] = layer
                    break
            else:
                alone: list[Tensor | None] = [None] * len(inputs)
                alone[position] = layer
                found.append(alone)
    return found


def _joined(
    labels: Labels, family: Sequence[Tensor | None], inputs: Sequence[Input], dim: int, *, alike: bool
) -> Tensor:
    """One layer after the other along `dim`; `alike` if they also span other axes, which must then be cut alike."""
    sizes = [max(each) for each in zip(*(layer.shape for layer in family if layer is not None), strict=True)]
    parts = []
    for layer, (_, shape) in zip(family, inputs, strict=True):
        sizes[dim] = shape[dim]
        fixed = torch.zeros([1] * len(sizes), dtype=torch.int64)
        parts.append((fixed if layer is None else layer).expand(sizes))
    if alike:
        for part in parts[1:]:
            labels.equal(parts[0].narrow(dim, 0, 1), part.narrow(dim, 0, 1))
    return compressed(torch.cat(parts, dim))
