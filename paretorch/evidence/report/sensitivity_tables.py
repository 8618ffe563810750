"""The tables of a sensitivity page: losses by layer and sparsity, shaded; the layers; every value."""

from dataclasses import dataclass

from paretorch.evidence.report.table import UNKNOWN, Table
from paretorch.evidence.sensitivity import PrunedLayer, SensitivityRecord
from paretorch.evidence.words import Metric, grouped, minus, percent, plain


@dataclass(frozen=True, kw_only=True)
class ShadedTable:
    """A table whose number cells have a background.

    Args:
        table: its first column names the rows.
        shades: for every row, one number in [0, 1] per further cell: how much of the strongest shade.
    """

    table: Table
    shades: list[list[float]]


def loss_table(found: SensitivityRecord, metric: Metric) -> ShadedTable:
    """Layers by sparsity, the most sensitive layer first; the shade is the loss over the largest one."""
    layers = found.ordered()
    losses = [[found.loss(layer.name, level) for level in found.sparsities] for layer in layers]
    largest = max(loss for row in losses for loss in row)
    unit = "in points" if metric.is_fraction else f"in {metric.name}"
    table = Table(
        key="losses",
        title="Loss by layer and sparsity",
        caption=f"Of validation {metric.name}, {unit}, with this share of the one layer's weights removed: dense minus "
        f"pruned{'' if metric.higher_is_better else ', the other way round because lower is better'}; below 0 the "
        "pruned model is better. The darker in a light page, and the lighter in a dark one, the larger the loss. The "
        "layer with the largest mean comes first.",
        head=["layer", *(percent(level) for level in found.sparsities), "mean"],
        rows=[
            [layer.name, *(_loss(loss, metric) for loss in (*row, found.mean_loss(layer.name)))]
            for layer, row in zip(layers, losses, strict=True)
        ],
    )
    shades = [[max(0.0, loss) / largest if largest > 0 else 0.0 for loss in row] + [0.0] for row in losses]
    return ShadedTable(table=table, shades=shades)


def layer_table(found: SensitivityRecord, metric: Metric, tolerance: float) -> Table:
    """One row per layer in the order of the model: what it holds, what it computes, how much of it can go."""
    weights = sum(layer.weights for layer in found.layers)
    macs = sum(layer.macs or 0 for layer in found.layers)
    largest = found.largest_sparsities(tolerance)
    within = f"{100 * tolerance:.2g} points" if metric.is_fraction else plain(tolerance, digits=2)
    rows = [
        [
            " = ".join([layer.name, *layer.aliases]),
            grouped(layer.weights),
            percent(round(layer.weights / weights, 4)),
            UNKNOWN if layer.macs is None else grouped(layer.macs),
            UNKNOWN if layer.macs is None or not macs else percent(round(layer.macs / macs, 4)),
            percent(largest[layer.name]),
        ]
        for layer in found.layers
    ]
    return Table(
        key="layers",
        title="Layers",
        caption="In the order of the model; a weight with several names is tied. Shares are of the layers measured. "
        f"The last column is the largest sparsity up to which the layer alone loses at most {within} at every sparsity "
        "measured.",
        head=[
            "layer",
            "weights",
            "share of weights",
            "MACs of one example (theoretical)",
            "share of MACs",
            f"largest sparsity within {within}",
        ],
        rows=rows,
    )


def value_table(found: SensitivityRecord, metric: Metric) -> Table:
    """One row per layer and sparsity, in the order of the model."""
    return Table(
        key="values",
        title="Every value",
        caption="Weights removed are counted: round(sparsity times weights), halves to even.",
        head=["layer", "sparsity", "weights removed", "weights left", f"validation {metric.axis}", "loss"],
        rows=[
            [layer.name, *cells]
            for layer in found.layers
            for cells in (_value_row(found, metric, layer, place) for place in range(len(found.sparsities)))
        ],
    )


def _value_row(found: SensitivityRecord, metric: Metric, layer: PrunedLayer, place: int) -> list[str]:
    level, count, value = found.sparsities[place], layer.pruned[place], layer.quality[place]
    return [
        percent(level),
        grouped(count),
        grouped(layer.weights - count),
        metric.number(value),
        _loss(found.loss(layer.name, level), metric),
    ]


def _loss(loss: float, metric: Metric) -> str:
    """'12.3' points, or three digits of another metric."""
    return minus(f"{100 * loss:.1f}" if metric.is_fraction else plain(loss, digits=3))
