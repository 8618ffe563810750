"""Quality against sparsity, one pruned layer at a time: the numbers, and what follows from them.

    quality(l, s)   of the model with round(s n_l) of the n_l weights of layer l at zero and nothing else changed
    loss(l, s)    = quality of the dense model - quality(l, s)      (the other way round where lower is better)

so that a loss above 0 is worse. How it is measured: `paretorch.training.sensitivity`. Curves of this kind are in Han et
al. 2015 ("Learning both weights and connections", figure 6) and, for filters, in Li et al. 2017 ("Pruning filters for
efficient ConvNets", section 3.2); the order of layers and the largest sparsity within a tolerance are ours.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from paretorch.errors import ArtefactError, InputError
from paretorch.evidence.words import percent

SCHEMA = "paretorch-sensitivity-1"
ROUNDING = 1e-9  # of the dense value: losses are differences of rounded means


@dataclass(frozen=True, kw_only=True)
class PrunedLayer:
    """One layer at every sparsity.

    Attributes:
        name: of its weight, as in `model.named_parameters()`.
        aliases: other names of the same weight, where it is tied.
        weights: entries of the weight.
        macs: multiply-accumulates of the layer on one example, all its calls together; None if they were not counted.
        pruned: how many weights were zeroed, one number per sparsity.
        quality: the metric, one value per sparsity.
    """

    name: str
    aliases: tuple[str, ...] = ()
    weights: int
    macs: int | None = None
    pruned: tuple[int, ...]
    quality: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class SensitivityRecord:
    """What `pt.sensitivity` measured; plain numbers and strings.

    Attributes:
        task, metric, higher_is_better: what was measured.
        dense: the metric of the model as it is, its batch-norm statistics re-estimated like those of the pruned ones.
        sparsities: ascending fractions removed of one layer.
        layers: in the order of the model.
        examples: of the evaluation set, on which every value rests.
        reestimate_batches: training batches from which batch-norm statistics were taken anew; 0: they were kept.
        seed: of the sample of examples and of these batches.
        include, exclude: name patterns of the layers.
        env: where it ran.

    Raises:
        InputError: if the numbers do not fit together.
    """

    task: str
    metric: str
    higher_is_better: bool
    dense: float
    sparsities: tuple[float, ...]
    layers: tuple[PrunedLayer, ...]
    examples: int
    reestimate_batches: int = 0
    seed: int = 0
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    env: Mapping[str, Any]

    def __post_init__(self) -> None:
        ascending = list(self.sparsities) == sorted(set(self.sparsities))
        if not self.sparsities or not ascending or not 0 <= self.sparsities[0] <= self.sparsities[-1] < 1:
            raise InputError(f"sparsities ascend within [0, 1), each once; got {list(self.sparsities)}")
        if not self.layers or len({layer.name for layer in self.layers}) < len(self.layers):
            raise InputError(f"layers have names of their own; got {[layer.name for layer in self.layers]}")
        for layer in self.layers:
            if not len(layer.pruned) == len(layer.quality) == len(self.sparsities):
                raise InputError(
                    f"{layer.name}: {len(layer.pruned)} counts and {len(layer.quality)} values for "
                    f"{len(self.sparsities)} sparsities; there must be one of each for every sparsity"
                )
            if not all(0 <= count <= layer.weights for count in layer.pruned):
                raise InputError(f"{layer.name} has {layer.weights} weights; {list(layer.pruned)} cannot be pruned")
        if not all(math.isfinite(value) for layer in self.layers for value in (self.dense, *layer.quality)):
            raise InputError("every value of the metric must be finite")

    def layer(self, name: str) -> PrunedLayer:
        """The layer of that name.

        Raises:
            InputError: if there is none.
        """
        for layer in self.layers:
            if name in (layer.name, *layer.aliases):
                return layer
        raise InputError(f"no layer {name!r} was measured; there are {[layer.name for layer in self.layers]}")

    def loss(self, name: str, sparsity: float) -> float:
        """How much worse the model is with this one layer pruned, in units of the metric; below 0 it is better.

        Raises:
            InputError: if the layer or the sparsity was not measured.
        """
        return self._losses(self.layer(name))[self._place(sparsity)]

    def mean_loss(self, name: str) -> float:
        """The mean of a layer's losses over all sparsities."""
        return math.fsum(self._losses(self.layer(name))) / len(self.sparsities)

    def ordered(self, sparsity: float | None = None) -> tuple[PrunedLayer, ...]:
        """The layers, the most sensitive first; equal ones in the order of the model.

        Args:
            sparsity: by the loss at this sparsity; None: by the mean over all sparsities.

        Raises:
            InputError: if the sparsity was not measured.
        """
        if sparsity is None:
            return tuple(sorted(self.layers, key=lambda layer: -self.mean_loss(layer.name)))
        place = self._place(sparsity)
        return tuple(sorted(self.layers, key=lambda layer: -self._losses(layer)[place]))

    def largest_sparsities(self, tolerance: float) -> dict[str, float]:
        """Name -> the largest sparsity up to which the layer loses at most `tolerance` at every sparsity measured.

        0 where already the smallest sparsity costs more. A mapping that `magnitude_masks(allocation=...)` takes; but
        the losses of layers that are pruned together may be larger or smaller than their sum.

        Args:
            tolerance: in units of the metric, at least 0: 0.01 is one point of an accuracy.

        Raises:
            InputError: for a tolerance below 0.
        """
        if not tolerance >= 0:
            raise InputError(f"tolerance is a loss in units of the metric, at least 0; got {tolerance!r}")
        allowed = tolerance + ROUNDING * abs(self.dense)
        found = {}
        for layer in self.layers:
            largest = 0.0
            for sparsity, loss in zip(self.sparsities, self._losses(layer), strict=True):
                if loss > allowed:
                    break
                largest = sparsity
            found[layer.name] = largest
        return found

    def to_dict(self) -> dict[str, Any]:
        """JSON values only; `from_dict` gives back an equal object."""
        return {"schema": SCHEMA} | asdict(self) | {"env": dict(self.env)}

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """The inverse of `to_dict`, also after JSON.

        Raises:
            ArtefactError: if it is something else, of another version, or damaged.
        """
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, dict) else type(data).__name__
            raise ArtefactError(f"no sensitivities: expected an object with schema {SCHEMA!r}, found {found!r}")
        expected = {field.name for field in fields(cls)} | {"schema"}
        if differing := sorted(expected ^ data.keys()):
            raise ArtefactError(f"sensitivities with missing or unknown fields {differing}; measure them again")
        try:
            values = {name: _tupled(data[name]) for name in expected - {"schema", "layers"}}
            layers = tuple(PrunedLayer(**{key: _tupled(item) for key, item in one.items()}) for one in data["layers"])
            return cls(**values, layers=layers)
        except (AttributeError, TypeError, InputError) as error:
            raise ArtefactError(f"damaged sensitivities: {error}") from error

    def _losses(self, layer: PrunedLayer) -> tuple[float, ...]:
        sign = 1 if self.higher_is_better else -1
        return tuple(sign * (self.dense - quality) for quality in layer.quality)

    def _place(self, sparsity: float) -> int:
        if sparsity not in self.sparsities:
            measured = ", ".join(percent(one) for one in self.sparsities)
            raise InputError(f"sparsity {sparsity!r} was not measured; there are {measured}")
        return self.sparsities.index(sparsity)


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
