"""Polynomials of a profile: parameters, MACs and written elements, from layers and resolved units."""

from collections.abc import Iterable

from torch import Tensor

from paretorch.methods.width.groups import Count, Term
from paretorch.methods.width.tracing.labels import Layers
from paretorch.methods.width.tracing.units import Units

Key = tuple[int, tuple[tuple[int, int], ...]]


class Counts:
    """Counts of layers, each computed once. `uneven` collects layers whose entries no count can describe."""

    def __init__(self, units: Units) -> None:
        self.units = units
        self.uneven: list[Tensor] = []
        self._known: dict[tuple[object, ...], tuple[Tensor, Count]] = {}
        self._alike: dict[bytes, Count | None] = {}
        self._sizes: dict[tuple[int, int], tuple[Tensor, Count]] = {}

    def of(self, layer: Tensor) -> Count:
        """Entries of a layer that stay."""
        key = (layer.data_ptr(), layer.shape, layer.stride())
        if key not in self._known:
            components = self.units.component[layer.reshape(-1).numpy()].tobytes()
            if components not in self._alike:
                self._alike[components] = self.units.count(layer)
            count = self._alike[components]
            if count is None:
                self.uneven.append(layer)
                count = Count(layer.numel())
            self._known[key] = (layer, count)  # kept alive, so that its address stays its own
        return self._known[key][1]

    def along(self, layer: Tensor, dim: int) -> Count:
        """Size of one dimension: of the entries at the start of all others, if they belong to several units."""
        key = (id(layer), dim)
        if key not in self._sizes:
            self._sizes[key] = (layer, self._along(layer, dim))
        return self._sizes[key][1]

    def _along(self, layer: Tensor, dim: int) -> Count:
        column = layer
        for other in range(layer.dim()):
            if other != dim and column.shape[other] > 1:
                column = column.narrow(other, 0, 1)
        column = column.reshape(-1)
        components = self.units.component[column.numpy()]
        if (components == components[0]).all():
            return Count(len(column))
        return self.of(column)

    def terms(self, records: Iterable[tuple[int, Layers]]) -> tuple[Term, ...]:
        """One term for every distinct product of counts."""
        merged: dict[tuple[Key, ...], tuple[int, tuple[Count, ...]]] = {}
        for factor, layers in records:
            counts = []
            for layer in layers:
                count = self.of(layer)
                if count.per_unit:
                    counts.append(count)
                else:
                    factor *= count.constant
            counts.sort(key=_key)
            key = tuple(map(_key, counts))
            merged[key] = (merged.get(key, (0, ()))[0] + factor, tuple(counts))
        return tuple(Term(factor, counts) for factor, counts in merged.values())


def _key(count: Count) -> Key:
    return count.constant, tuple(sorted(count.per_unit.items()))
