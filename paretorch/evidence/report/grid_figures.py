"""Grids of learning rate and epsilon: a heat map per optimizer, and what tuning reaches for what it costs."""

import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from paretorch.evidence.grids import Grid
from paretorch.evidence.report.fronts import bars
from paretorch.evidence.report.layout import finished, log_axis
from paretorch.evidence.report.style import CARD, TEXT, marks, short

NOT_GIVEN = "not given"  # an optimizer without epsilon, or with its own
CAPTION = (
    "Mean validation quality over seeds; a ring marks the learning rate that validation chooses for each epsilon. Test "
    "data stand with the chosen settings alone, in the table below. A cross: a run did not end well. All heat maps of "
    "the page have one colour scale."
)
TUNING_CAPTION = (
    "Settings of a grid drawn at random, each trained in full: what the best of them is expected to reach on "
    "validation data, against the training epochs that they cost together. Means over seeds, bars are 95 % intervals."
)


def grid_figures(grids: Sequence[Grid]) -> dict[str, dict[str, Any]]:
    """Key -> figure: a heat map per grid of at least two settings, on one colour scale, and the tuning curves."""
    drawn = drawable(grids)
    values = [value for grid in drawn for row in _values(grid) for value in row if value is not None]
    if not values:
        return {}
    limits = (min(values), max(values))
    figures = {f"grid-{number}": _heat_map(grid, limits) for number, grid in enumerate(drawn)}
    tuning = _tuning_curves(drawn)
    return figures | ({"tuning": tuning} if tuning else {})


def grid_places(grids: Sequence[Grid]) -> list[dict[str, str]]:
    """What the template needs to place the heat maps: key, title and caption of each."""
    return [
        {"key": f"grid-{number}", "title": grid.name, "caption": CAPTION if number == 0 else ""}
        for number, grid in enumerate(drawable(grids))
    ]


def drawable(grids: Sequence[Grid]) -> list[Grid]:
    """Those of at least two settings of which one ended well."""
    return [grid for grid in grids if len(grid.arms) > 1 and grid.best is not None]


def epsilon_words(epsilon: float | None) -> str:
    """'0.01', or that none was given."""
    return NOT_GIVEN if epsilon is None else f"{epsilon:g}"


def _values(grid: Grid) -> list[list[float | None]]:
    """Mean validation quality in the unit of the figure, a row per epsilon; None where a point did not end well."""
    found = grid.means.values
    rows = [[found.get((rate, epsilon)) for rate in grid.rates] for epsilon in grid.epsilons]
    return [[None if mean is None else short(grid.metric.factor * mean) for mean in row] for row in rows]


def _heat_map(grid: Grid, limits: tuple[float, float]) -> dict[str, Any]:
    metric, rates = grid.metric, [f"{rate:g}" for rate in grid.rates]
    epsilons = [epsilon_words(epsilon) for epsilon in grid.epsilons]
    colours = [CARD, marks(0).colour] if metric.higher_is_better else [marks(0).colour, CARD]
    figure = go.Figure()
    figure.add_heatmap(
        x=rates,
        y=epsilons,
        z=_values(grid),
        zmin=limits[0],
        zmax=limits[1],
        colorscale=[[0, colours[0]], [1, colours[1]]],
        texttemplate="%{z:.3g}",
        hovertemplate=f"lr %{{x}}, eps %{{y}}<br>validation {html.escape(metric.name)}: %{{z}}<extra></extra>",
        colorbar={"title": {"text": f"validation {html.escape(metric.axis)}", "side": "right"}, "thickness": 12},
        xgap=1,
        ygap=1,
    )
    chosen = [(grid.best_rate(epsilon), epsilon_words(epsilon)) for epsilon in grid.epsilons]
    rings = [(f"{rate:g}", name) for rate, name in chosen if rate is not None]
    failed = [
        (f"{rate:g}", epsilon_words(epsilon)) for rate, epsilon in grid.arms if grid.ended_well(rate, epsilon) is None
    ]
    for points, symbol, size in ((rings, "circle-open", 30), (failed, "x-thin", 9)):
        if points:
            figure.add_scatter(
                x=[x for x, _ in points],
                y=[y for _, y in points],
                mode="markers",
                marker={"symbol": symbol, "size": size, "color": TEXT, "line": {"width": 2, "color": TEXT}},
                hoverinfo="skip",
            )
    figure.update_xaxes(title="learning rate", type="category", categoryarray=rates, automargin=True)
    figure.update_yaxes(title="epsilon", type="category", categoryarray=epsilons)
    return finished(figure, height=170 + 44 * len(epsilons))


def _tuning_curves(grids: Sequence[Grid]) -> dict[str, Any] | None:
    """Expected best against training epochs, a line per grid; None where no record says what a trial took."""
    figure = go.Figure()
    ends: list[float] = []
    for number, grid in enumerate(grids):
        epochs, drawn = grid.trial_epochs, marks(number)
        points = [(n, grid.expected_mean(n)) for n in range(1, len(grid.arms) + 1)]
        known = [(n, found.scaled(grid.metric.factor)) for n, found in points if found is not None]
        if not epochs or not known:
            continue
        ends += [known[0][0] * epochs, known[-1][0] * epochs]
        figure.add_scatter(
            x=[short(n * epochs) for n, _ in known],
            y=[short(found.mean) for _, found in known],
            error_y=bars([found for _, found in known], drawn),
            customdata=[n for n, _ in known],
            mode="lines+markers",
            name=html.escape(grid.name),
            line={"color": drawn.colour, "width": 1.8, "dash": drawn.dash},
            marker={"color": drawn.colour, "symbol": drawn.symbol, "size": 7},
            hovertemplate=f"{html.escape(grid.name)}<br>best of %{{customdata}}: %{{y}}<extra></extra>",
        )
    if not ends:
        return None
    figure.update_xaxes(title="training epochs of all trials", **log_axis(min(ends), max(ends)))
    figure.update_yaxes(title=f"expected best validation {html.escape(grids[0].metric.axis)}")
    return finished(figure, height=360)
