"""A measured latency table of layers at the widths of a grid, and the latency it predicts for a profile.

    latency(w) = scale * sum over layers of T_kind(l)(in_l(w), out_l(w), groups_l(w))
    T(in, out, groups) = least seconds measured at any size that is nowhere smaller
    scale = latency of the whole model / the same sum, both at the full profile

The seconds of a size are the minimum of many runs on one thread: on a shared machine the median of short operations can
be twice that or, with more threads, hundreds of times. The running minimum over larger sizes makes the table monotone
and defined between the widths of the grid. The scale stands for what no layer shows (activations, additions, dispatch,
caches). It is exact at the full profile alone: measure the models you choose from end to end.

Sources: tables of measured layers, He et al., "AMC", ECCV 2018, and Shen et al., "HALP", NeurIPS 2022 (section 3). Both
store what they measured as it is; minimum, monotone table and scale are ours.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from paretorch.errors import InputError
from paretorch.methods.width.allocation.costs import Array, Cost, Lookup, Part
from paretorch.methods.width.groups import Count, Profile, WidthGroups
from paretorch.methods.width.latency_cells import Cell

Dims = tuple[int, int, int]  # input channels, output channels, groups


@dataclass(frozen=True)
class TimedLayer:
    """A layer of the model: its module name, what of its call no width changes, and its sizes at a profile."""

    name: str
    kind: str
    inputs: Count
    outputs: Count
    groups: Count

    @property
    def scope(self) -> tuple[int, ...]:
        """The width groups that its sizes depend on."""
        return tuple(sorted({group for count in (self.inputs, self.outputs, self.groups) for group in count.per_unit}))

    def dims(self, profile: Sequence[int] | Mapping[int, int]) -> Dims:
        """Its sizes at a profile, or at the widths of its scope by group number."""
        widths: Any = profile  # Count only looks widths up by group number
        return self.inputs.at(widths), self.outputs.at(widths), self.groups.at(widths)


@dataclass(frozen=True, eq=False)
class LatencyTable:
    """What was measured on one machine.

    Attributes:
        machine: processor, instructions, torch, threads, precision.
        names, full: width groups of the model, and its full profile.
        layers: every call of a timed layer in one forward pass.
        cells: kind of layer -> sizes -> what was measured.
        model: of the whole uncut model.
        left_out: modules with parameters that are of no timed type; their time is in the scale.
    """

    machine: Mapping[str, str | int]
    names: tuple[str, ...]
    full: Profile
    layers: tuple[TimedLayer, ...]
    cells: Mapping[str, Mapping[Dims, Cell]]
    model: Cell
    left_out: tuple[str, ...] = ()

    @cached_property
    def _arrays(self) -> dict[str, tuple[Array, Array]]:
        return {
            kind: (np.array(list(cells)), np.array([cell.min_s for cell in cells.values()]))
            for kind, cells in self.cells.items()
        }

    def seconds(self, layer: TimedLayer, dims: Dims) -> float:
        """Unscaled seconds of one call of a layer.

        Raises:
            InputError: if nothing as large was measured.
        """
        sizes, seconds = self._arrays[layer.kind]
        as_large = (sizes >= np.array(dims)).all(axis=1)
        if not as_large.any():
            raise InputError(
                f"the latency table holds no size of {layer.name!r} as large as {dims} (inputs, outputs, groups); "
                f"the largest is {tuple(sizes.max(axis=0).tolist())}. Measure it with the widths you need"
            )
        return float(seconds[as_large].min())

    @cached_property
    def layers_s(self) -> float:
        """The sum over layers at the full profile, unscaled."""
        return sum(self.seconds(layer, layer.dims(self.full)) for layer in self.layers)

    @property
    def scale(self) -> float:
        """The factor that makes the prediction exact at the full profile."""
        return self.model.min_s / self.layers_s

    @property
    def residual(self) -> float:
        """The part of the uncut model's latency that its layers, timed alone, do not explain; negative if too much."""
        return 1 - self.layers_s / self.model.min_s

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why the table is not certified; empty if it is."""
        named = [("the whole model", self.model)]
        named += [(f"{kind} at {dims}", cell) for kind, cells in self.cells.items() for dims, cell in cells.items()]
        return tuple(f"{name}: {cell.warning}" for name, cell in named if cell.warning)

    @property
    def certified(self) -> bool:
        """Whether every cell was measured on a machine quiet enough."""
        return not self.warnings

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "machine": dict(self.machine),
            "names": list(self.names),
            "full": list(self.full),
            "layers": [
                {"name": layer.name, "kind": layer.kind}
                | {side: _count_to_json(getattr(layer, side)) for side in ("inputs", "outputs", "groups")}
                for layer in self.layers
            ],
            "cells": {
                kind: [{"dims": list(dims), **vars(cell)} for dims, cell in cells.items()]
                for kind, cells in self.cells.items()
            },
            "model": vars(self.model),
            "left_out": list(self.left_out),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "LatencyTable":
        """The inverse of `to_json`.

        Raises:
            InputError: if it is no latency table.
        """
        try:
            return cls(
                machine=dict(content["machine"]),
                names=tuple(content["names"]),
                full=tuple(content["full"]),
                layers=tuple(
                    TimedLayer(
                        layer["name"],
                        layer["kind"],
                        *(_count_from_json(layer[side]) for side in ("inputs", "outputs", "groups")),
                    )
                    for layer in content["layers"]
                ),
                cells={
                    kind: {
                        tuple(cell["dims"]): Cell(cell["min_s"], cell["p50_s"], cell["n"], cell["warning"])
                        for cell in cells
                    }
                    for kind, cells in content["cells"].items()
                },
                model=Cell(**content["model"]),
                left_out=tuple(content["left_out"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"this is no latency table: {type(error).__name__}: {error}; measure it again") from error


def latency_cost(table: LatencyTable, groups: WidthGroups) -> Cost:
    """Predicted seconds of a profile, as a cost for `allocate`.

    Args:
        table: measured on the model of these groups, or on the model that they were cut from.
        groups: the same names in the same order.

    Raises:
        InputError: if the table is of other groups or of a narrower model.
    """
    if groups.names != table.names or any(n > full for n, full in zip(groups.full, table.full, strict=True)):
        raise InputError(
            f"the latency table is of the width groups {table.names} at {table.full}, and these are {groups.names} at "
            f"{groups.full}; measure one for this model"
        )
    parts: list[Part] = []
    constant, scale = 0.0, table.scale
    for layer in table.layers:
        if not layer.scope:
            constant += scale * table.seconds(layer, layer.dims(groups.full))
            continue
        parts.append(Lookup(layer.scope, _scaled(table, layer, scale)))
    return Cost(num_groups=len(groups.groups), parts=tuple(parts), constant=constant, names=groups.names)


def _scaled(table: LatencyTable, layer: TimedLayer, scale: float) -> Callable[..., float]:
    """Seconds of one layer by the widths of its scope; each looked up once."""

    @cache
    def seconds(*widths: int) -> float:
        return scale * table.seconds(layer, layer.dims(dict(zip(layer.scope, widths, strict=True))))

    return seconds


def useful_widths(
    cost: Cost, full: Profile, group: int, grid: Sequence[int], *, tolerance: float = 0.02
) -> tuple[int, ...]:
    """Of each stretch of widths that take the same time, the greatest: narrower ones of it lose units and no time.

    Kernels work in steps (of 16 channels for float32 convolutions with AVX-512), which this finds for every group.

    Args:
        cost: predicted seconds. full: the profile that the other groups keep. group: which. grid: its widths.
        tolerance: a width is useful if going down to it from the next greater useful one saves more than this part of
            the most that the group can save.
    """
    times = {width: float(cost((*full[:group], width, *full[group + 1 :]))) for width in grid}
    widths = sorted(grid, reverse=True)
    least = tolerance * (times[widths[0]] - times[widths[-1]])
    useful = widths[:1]
    for width in widths[1:]:
        if times[useful[-1]] - times[width] > least:
            useful.append(width)
    return tuple(reversed(useful))


def grid_of_dims(layer: TimedLayer, grids: Sequence[Sequence[int]]) -> list[Dims]:
    """All sizes that a layer takes on the grids of its groups, without repetition, the largest first."""
    combinations = itertools.product(*(grids[group] for group in layer.scope))
    found = {layer.dims(dict(zip(layer.scope, widths, strict=True))) for widths in combinations}
    return sorted(found, reverse=True)


def _count_to_json(count: Count) -> dict[str, Any]:
    return {"constant": count.constant, "per_unit": [list(pair) for pair in count.per_unit.items()]}


def _count_from_json(content: Mapping[str, Any]) -> Count:
    return Count(content["constant"], dict(content["per_unit"]))
