"""How alike the layers that share templates became: a heat map per group, and the same numbers as tables.

S_ij = |<alpha_i, alpha_j>| / (|alpha_i| |alpha_j|)        1: the two layers have the same weights up to a factor
"""

import html
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import plotly.graph_objects as go

from paretorch.evidence.quantities import similarities_of
from paretorch.evidence.records import RunRecord
from paretorch.evidence.report.layout import finished
from paretorch.evidence.report.style import CARD, marks, short
from paretorch.evidence.report.table import Table

DRAWN = 6  # groups with a heat map, so that a page stays small; the record holds all
WRITTEN = 12  # layers of a group whose entries have room for their numbers
CAPTION = (
    "Layers of one group share templates. 1: two layers have the same weights up to a factor, which a norm right "
    "behind them absorbs, where there is one: the network computes one layer twice; 0: they have nothing in common."
)
LONE = "One layer is left in the group, so there are no pairs."


def similarity_figures(run: RunRecord) -> dict[str, dict[str, Any]]:
    """Key -> heat map, for the first groups of a run; {} for a run whose layers share nothing."""
    found = list(similarities_of(run).values())[:DRAWN]
    return {f"similarity-{number}": _heat_map(one["layers"], one["matrix"]) for number, one in enumerate(found)}


def similarity_places(run: RunRecord) -> list[dict[str, str]]:
    """What the template needs to place these figures: key, title and caption of each."""
    groups = similarities_of(run)
    places = []
    for number, (name, one) in enumerate(list(groups.items())[:DRAWN]):
        mean = mean_of_pairs(one["matrix"])
        caption = LONE if mean is None else f"Mean over pairs of different layers: {mean:.2f}."
        if number == 0:
            caption = f"{CAPTION} {caption}"
        if number == DRAWN - 1 and len(groups) > DRAWN:
            caption += f" The first {DRAWN} of {len(groups)} groups."
        places.append({"key": f"similarity-{number}", "title": f"Layer similarity: {name}", "caption": caption})
    return places


def similarity_tables(run: RunRecord) -> list[Table]:
    """The matrices of the groups that have a figure, to two decimals."""
    return [
        Table(
            key=f"similarity-{number}",
            title=f"Layer similarity: {name}",
            caption="Of the coefficients of two layers; 1: the same weights up to a factor.",
            head=["layer", *one["layers"]],
            rows=[[layer, *[f"{s:.2f}" for s in row]] for layer, row in zip(one["layers"], one["matrix"], strict=True)],
        )
        for number, (name, one) in enumerate(list(similarities_of(run).items())[:DRAWN])
    ]


def heat_map(layers: Sequence[str], matrix: Sequence[Sequence[float]], *, written: bool) -> go.Heatmap:
    """The trace of one matrix, its entries as numbers in it where they are `written`."""
    names = [html.escape(name) for name in layers]
    return go.Heatmap(
        x=names,
        y=names,
        z=[[short(s) for s in row] for row in matrix],
        zmin=0,
        zmax=1,
        colorscale=[[0, CARD], [1, marks(0).colour]],
        texttemplate="%{z:.2f}" if written else None,
        hovertemplate="%{y}<br>%{x}<br>similarity %{z:.3f}<extra></extra>",
        colorbar={"title": "S", "tickvals": [0, 0.5, 1], "thickness": 12},
        xgap=1,
        ygap=1,
    )


def _heat_map(layers: Sequence[str], matrix: Sequence[Sequence[float]]) -> dict[str, Any]:
    figure = go.Figure(heat_map(layers, matrix, written=len(layers) <= WRITTEN))
    shown = len(layers) <= 3 * WRITTEN
    figure.update_xaxes(type="category", showticklabels=shown, tickangle=-60, automargin=True)
    figure.update_yaxes(type="category", autorange="reversed", showticklabels=shown)
    return finished(figure, height=260 + 22 * min(len(layers), 3 * WRITTEN))


def mean_of_pairs(matrix: Sequence[Sequence[float]]) -> float | None:
    """The mean over pairs of different layers; None of a single layer, which the others of its group have left."""
    pairs = [s for i, row in enumerate(matrix) for j, s in enumerate(row) if i != j]
    return fmean(pairs) if pairs else None
