"""Width groups of small models written down by hand, independent of the tracer."""

from itertools import pairwise

import torch
from torch import nn

from paretorch.methods.width.groups import FIXED, Axis, Count, Size, Term, WidthGroup, WidthGroups


def perceptron(*sizes: int) -> nn.Sequential:
    """Linear layers of `sizes` with ReLU between them: modules "0", "2", "4", ..."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def perceptron_groups(*sizes: int) -> WidthGroups:
    """The groups of `perceptron`: each hidden layer is one; inputs and outputs are fixed."""
    hidden, last = sizes[1:-1], len(sizes) - 2
    axes, terms, macs, attributes = [], [], [], []
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        before, after = layer - 1, layer if layer < last else FIXED
        axes += [axis(f"{2 * layer}.weight", 0, outputs, after), axis(f"{2 * layer}.bias", 0, outputs, after)]
        axes.append(axis(f"{2 * layer}.weight", 1, inputs, before))
        out, seen = count(outputs, after), count(inputs, before)
        terms += [Term(1, (out, seen)), Term(1, (out,))]
        macs.append(Term(1, (out, seen)))
        attributes += [Size(str(2 * layer), "out_features", out), Size(str(2 * layer), "in_features", seen)]
    groups = [
        WidthGroup(name=str(2 * i), size=n, producers=(str(2 * i),), consumers=(str(2 * i + 2),))
        for i, n in enumerate(hidden)
    ]
    cut = [a for a in axes if bool((a.group != FIXED).any())]
    return WidthGroups(tuple(groups), tuple(cut), tuple(attributes), params=tuple(terms), macs=tuple(macs))


def axis(tensor: str, dim: int, size: int, group: int) -> Axis:
    unit = torch.arange(size) if group != FIXED else torch.zeros(size, dtype=torch.int64)
    return Axis(tensor, dim, torch.full((size,), group), unit)


def count(size: int, group: int) -> Count:
    return Count(size) if group == FIXED else Count(0, {group: 1})
