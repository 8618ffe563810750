"""Equal labels become units, and units on the same axes become groups.

Components of the equalities are found in one pass. A component that holds a fixed entry is pinned. The others are
sorted by how many entries they have on every axis: classes are refined axis by axis, exactly. Each class of two or more
units that some layer makes and some layer reads is a group.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretorch.methods.width.groups import FIXED, Count, Pinned, WidthGroup
from paretorch.methods.width.tracing.labels import FIXED_LABEL, Labels
from paretorch.methods.width.tracing.trace import Record, Role

Integers = NDArray[np.int64]
UNEXPLAINED = "it is concatenated or padded with entries of fixed size"


@dataclass(frozen=True)
class TensorAxis:
    """One dimension of a parameter or buffer, and the labels of its entries."""

    tensor: str
    dim: int
    labels: Tensor


@dataclass(frozen=True)
class Units:
    """groups, and for every label its group (FIXED if it is pinned) and its unit in that group. reasons: per label, an
    index into `why`; -1 where there is none."""

    groups: tuple[WidthGroup, ...]
    group: Integers
    unit: Integers
    component: Integers
    reasons: Integers
    why: tuple[str, ...]

    def count(self, layer: Tensor) -> Count | None:
        """Entries of a layer as a function of the profile; None if units of a group differ in their entries."""
        flat = layer.reshape(-1).numpy()
        groups = self.group[flat]
        if (groups == groups[0]).all():  # most layers; the general way below takes several times as long
            if groups[0] == FIXED:
                return Count(len(flat))
            entries = np.bincount(self.unit[flat], minlength=self.groups[groups[0]].size)
            return Count(0, {int(groups[0]): int(entries[0])}) if (entries == entries[0]).all() else None
        constant, per_unit = int((groups == FIXED).sum()), {}
        for group in np.unique(groups[groups != FIXED]).tolist():
            entries = np.bincount(self.unit[flat[groups == group]], minlength=self.groups[group].size)
            if entries.min() != entries.max():
                return None
            per_unit[group] = int(entries[0])
        return Count(constant, per_unit)


def resolve(labels: Labels, record: Record, axes: Sequence[TensorAxis], pins: Sequence[tuple[Tensor, str]]) -> Units:
    """Units and groups of everything that was written down, and of further `pins` (layers and reasons)."""
    component, with_fixed = _components(labels)
    count = int(component.max()) + 1
    every = [*labels.pins, *pins]
    why = [reason for _, reason in every] + [UNEXPLAINED]
    reasons = np.full(count, len(why), dtype=np.int64)
    if every:
        flat = [layer.reshape(-1).numpy() for layer, _ in every]
        numbers = np.repeat(np.arange(len(every)), [len(each) for each in flat])
        np.minimum.at(reasons, component[np.concatenate(flat)], numbers)
    for each in with_fixed:
        np.minimum.at(reasons, component[each], len(every))
    reasons[component[FIXED_LABEL]] = min(reasons[component[FIXED_LABEL]], len(every))
    reasons[reasons == len(why)] = -1
    classes = _classes(component, count, axes)
    classes[reasons >= 0] = -1
    groups, group_of, unit_of = _groups(component, classes, record.roles, reasons, why)
    return Units(groups, group_of[component], unit_of[component], component, reasons[component], tuple(why))


def _components(labels: Labels) -> tuple[Integers, list[Integers]]:
    """The component of every label, and the labels that meet the fixed one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    left = _flat([pair[0] for pair in labels.pairs])
    right = _flat([pair[1] for pair in labels.pairs])
    fixed = (left == FIXED_LABEL) | (right == FIXED_LABEL)
    with_fixed = [left[fixed], right[fixed]]
    left, right = left[~fixed], right[~fixed]
    matrix = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(labels.count, labels.count))
    return connected_components(matrix, directed=False)[1].astype(np.int64), with_fixed


def _flat(layers: Sequence[Tensor]) -> Integers:
    return torch.cat([layer.reshape(-1) for layer in layers]).numpy() if layers else np.zeros(0, dtype=np.int64)


def _classes(component: Integers, count: int, axes: Sequence[TensorAxis]) -> Integers:
    """Components with the same numbers of entries on the same axes have the same class; 0 is on no axis."""
    classes = np.zeros(count, dtype=np.int64)
    last, seen = 0, set()
    for axis in axes:
        components = component[axis.labels.numpy()]
        if (same := components.tobytes()) in seen:  # as those of a norm's weight, bias and statistics: nothing is new
            continue
        seen.add(same)
        found, entries = np.unique(components, return_counts=True)
        _, refined = np.unique(classes[found] * (entries.max() + 1) + entries, return_inverse=True)
        classes[found] = last + 1 + refined
        last += int(refined.max()) + 1
    return classes


def _groups(
    component: Integers, classes: Integers, roles: Sequence[Role], reasons: Integers, why: list[str]
) -> tuple[tuple[WidthGroup, ...], Integers, Integers]:
    """Groups in the order of their first producers; group and unit of every component."""
    producers: dict[int, list[str]] = {}
    consumers: dict[int, list[str]] = {}
    units: dict[int, Integers] = {}
    for role in roles:
        found = component[role.layer.reshape(-1).numpy()]
        found = found[classes[found] > 0]
        kinds = np.unique(classes[found]).tolist()
        for kind in kinds:
            modules = (producers if role.producer else consumers).setdefault(kind, [])
            if role.module not in modules:
                modules.append(role.module)
            if role.producer and kind not in units:
                members, first = np.unique(found[classes[found] == kind], return_index=True)
                units[kind] = members[np.argsort(first)]
    group_of, unit_of = np.full(len(classes), FIXED, dtype=np.int64), np.zeros(len(classes), dtype=np.int64)
    groups: list[WidthGroup] = []
    taken: set[str] = set()
    for kind, members in units.items():
        if kind not in consumers or len(members) < 2:
            why.append("no layer reads it" if kind not in consumers else "all of its entries are one unit")
            reasons[members] = len(why) - 1
            continue
        name = _unique(producers[kind][0], taken)
        group_of[members], unit_of[members] = len(groups), np.arange(len(members))
        groups.append(WidthGroup(name, len(members), tuple(producers[kind]), tuple(consumers[kind])))
    return tuple(groups), group_of, unit_of


def _unique(name: str, taken: set[str]) -> str:
    """`name`, with a number where another group has it already."""
    number, unique = 1, name or "model"
    while unique in taken:
        number += 1
        unique = f"{name or 'model'}#{number}"
    taken.add(unique)
    return unique


def pinned_axes(units: Units, roles: Sequence[Role]) -> tuple[Pinned, ...]:
    """What layers make and what cannot be cut, each once, under the name of the first layer that makes it."""
    told: set[int] = set()
    pinned = []
    for role in roles:
        if not role.producer:
            continue
        flat = role.layer.reshape(-1).numpy()
        flat = flat[units.group[flat] == FIXED]
        new = [label for label in flat.tolist() if units.component[label] not in told] if len(flat) else []
        if not new:
            continue
        told.update(units.component[flat].tolist())
        reasons = units.reasons[new]
        reasons = reasons[reasons >= 0]
        reason = units.why[int(reasons.min())] if len(reasons) else "nothing that is cut reads it"
        pinned.append(Pinned(role.module or "model", len(flat), reason))
    return tuple(pinned)
