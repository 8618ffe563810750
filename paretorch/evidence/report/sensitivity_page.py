"""The page of `pt.sensitivity`: which layers bear pruning, drawn, shaded and in numbers."""

from pathlib import Path

from paretorch.evidence.report.facts import rows_of
from paretorch.evidence.report.glossary import sensitivity_terms
from paretorch.evidence.report.page import write_page
from paretorch.evidence.report.sensitivity_figure import DRAWN, sensitivity_figure
from paretorch.evidence.report.sensitivity_tables import layer_table, loss_table, value_table
from paretorch.evidence.report.table import without_empty_columns
from paretorch.evidence.sensitivity import PrunedLayer, SensitivityRecord
from paretorch.evidence.words import Metric, grouped, percent, plain, plural

TOLERANCE = 0.01  # of the dense value


def write_sensitivity_page(
    found: SensitivityRecord, path: Path, *, title: str | None = None, tolerance: float | None = None
) -> Path:
    """Write the page.

    Args:
        found: what was measured.
        path: the HTML file; an existing one is replaced atomically.
        title: heading; made from the task by default.
        tolerance: the loss up to which a layer's largest sparsity is told, in units of the metric; None: 1 % of the
            dense value.

    Returns:
        The path. The file is under 2 MB plus its data.

    Raises:
        InputError: for a tolerance below 0.
    """
    metric = Metric(found.metric, higher_is_better=found.higher_is_better)
    allowed = TOLERANCE * abs(found.dense) if tolerance is None else tolerance
    caption = (
        "One layer pruned at a time. Every line starts at the dense model; the axis is logarithmic in the weights that "
        "are left. The most sensitive layers are shown first; click a name to show or hide a layer."
    )
    if len(found.layers) > DRAWN:
        caption += f" The first {DRAWN} of {len(found.layers)} layers; the tables hold all."
    return write_page(
        "sensitivity.html",
        path,
        figures={"sensitivity": sensitivity_figure(found, metric)},
        title=title or f"{found.task}: which layers bear pruning",
        subtitle=" · ".join([found.task, plural(len(found.layers), "layer"), plural(found.examples, "example")]),
        command=_command(found),
        commands=[],
        notes=[],
        environment=rows_of(found.env),
        sentences=sentences(found, metric, allowed),
        tiles=_tiles(found, metric),
        curves={"key": "sensitivity", "title": f"Validation {metric.name} against sparsity", "caption": caption},
        losses=loss_table(found, metric),
        layers=without_empty_columns(layer_table(found, metric, allowed)),
        values=value_table(found, metric),
        terms=sensitivity_terms(),
    )


def sentences(found: SensitivityRecord, metric: Metric, tolerance: float) -> list[str]:
    """What the numbers say, the most sensitive layer first, and what they do not say."""
    first, most = found.ordered()[0], found.sparsities[-1]
    goes = (
        f"{metric.name} goes from {metric.value(found.dense)} to {metric.value(first.quality[-1])} with "
        f"{percent(most)} of its weights removed"
    )
    several = plural(len(found.layers), "layer")
    return [
        f"{first.name} is the most sensitive of {several}: {goes} and no other layer touched."
        if len(found.layers) > 1
        else f"{first.name} is the only layer: {goes}.",
        *_within(found, _amount(metric, tolerance), found.largest_sparsities(tolerance)),
        f"Measured on {plural(found.examples, 'example')} of the evaluation set"
        + (f", where one example is {100 / found.examples:.2g} points." if metric.is_fraction else ".")
        + " Test data were not read.",
        "Nothing was retrained, and losses do not add up: layers that are pruned together may lose more or less than "
        "the sum of their losses, and retraining repairs a part.",
        *_emptied(found),
    ]


def _within(found: SensitivityRecord, allowed: str, largest: dict[str, float]) -> list[str]:
    """How many layers bear the largest sparsity, and what the largest layer bears."""
    least, most, several = found.sparsities[0], found.sparsities[-1], plural(len(found.layers), "layer")
    bearing = sum(level == most for level in largest.values())
    layer = max(found.layers, key=lambda one: one.weights)
    share = percent(round(layer.weights / sum(one.weights for one in found.layers), 3))
    level = largest[layer.name]
    bears = f"at most {allowed} up to {percent(level)}" if level else f"more than {allowed} at {percent(least)}"
    return [
        f"{bearing or 'None'} of {several} can do without {percent(most)} of the weights, one layer at a time, for a "
        f"loss of at most {allowed}.",
        f"{layer.name} has the most weights, {share} of those measured, and loses {bears} sparsity.",
    ]


def _emptied(found: SensitivityRecord) -> list[str]:
    """Where rounding takes every weight of a small layer."""
    empty: dict[float, list[PrunedLayer]] = {}
    for layer in found.layers:
        for level, count in zip(found.sparsities, layer.pruned, strict=True):
            if count == layer.weights:
                empty.setdefault(level, []).append(layer)
    return [
        f"At {percent(level)} all weights are removed from {', '.join(layer.name for layer in layers)}, which "
        f"{'has' if len(layers) == 1 else 'have'} too few for one to stay."
        for level, layers in empty.items()
    ]


def _amount(metric: Metric, loss: float) -> str:
    """'0.9 points', '0.012 in perplexity'."""
    return f"{100 * loss:.2g} points" if metric.is_fraction else f"{plain(loss, digits=2)} in {metric.name}"


def _tiles(found: SensitivityRecord, metric: Metric) -> list[tuple[str, str]]:
    return [
        (f"validation {metric.name}, dense", metric.value(found.dense)),
        ("layers", str(len(found.layers))),
        ("weights of these layers", grouped(sum(layer.weights for layer in found.layers))),
        ("examples evaluated", grouped(found.examples)),
    ]


def _command(found: SensitivityRecord) -> str:
    """The call that measures this again, for a model and a task of these names."""
    options: dict[str, object] = {
        "sparsities": found.sparsities,
        "include": list(found.include) or None,
        "exclude": list(found.exclude) or None,
        "reestimate_batches": found.reestimate_batches or None,
        "examples": found.examples,
        "seed": found.seed,
    }
    words = [f"{name}={value!r}" for name, value in options.items() if value is not None]
    return f"pt.sensitivity(model, task, {', '.join(words)})"
