"""The curves of runs over optimizer steps: of all arms of a sweep, and of one run phase by phase."""

import html
from collections.abc import Sequence
from typing import Any

from plotly.subplots import make_subplots

from paretorch.evidence.arms import Arm
from paretorch.evidence.names import level
from paretorch.evidence.records import RunRecord
from paretorch.evidence.report.curves import arms_shown_first, phases_of, traces
from paretorch.evidence.report.layout import bounds, finished
from paretorch.evidence.report.series import dashes_of, marks_of, series
from paretorch.evidence.report.style import marks
from paretorch.evidence.words import Metric

STEPS = "optimizer step, all phases"
_MARKS_PER_LINE = 6


def arm_curves(arms: Sequence[Arm]) -> dict[str, Any] | None:
    """Validation quality and learning rate over the steps of each run; None when no run holds a curve."""
    if not any(run.curves for arm in arms for run in arm.runs):
        return None
    metric = arms[0].metric
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.62, 0.38])
    first, dashes, drawn = arms_shown_first(arms), dashes_of(arms), marks_of(arms)
    for name, members in series(arms).items():
        for arm in members:
            shared = _line(drawn[name].colour, drawn[name].symbol, dashes[level(arm)]) | {
                "name": html.escape(arm.label),
                "legendgroup": html.escape(arm.label),
                "visible": True if arm.label in first else "legendonly",
            }
            legend = True
            for run in arm.runs:
                lines = traces(run, validation=metric.factor, lr=1.0)
                for row, (x, y) in enumerate(lines, start=1):
                    if x:
                        hover = f"{html.escape(run.run_id)}<br>step %{{x}}: %{{y}}<extra></extra>"
                        figure.add_scatter(x=x, y=y, row=row, col=1, showlegend=legend, hovertemplate=hover, **shared)
                        legend = False
    figure.update_xaxes(title=STEPS, row=2, col=1)
    figure.update_yaxes(title=html.escape(metric.axis), row=1, col=1, **bounds(metric))
    figure.update_yaxes(title="learning rate", row=2, col=1)
    return finished(figure, height=500)


def run_curves(run: RunRecord) -> dict[str, Any] | None:
    """Validation quality, training loss and learning rate of one run, a series per phase; None without a curve."""
    if not run.curves:
        return None
    metric = Metric(run.metric, higher_is_better=run.higher_is_better)
    titles = {metric.axis: metric.factor, "training loss": 1.0, "learning rate": 1.0}
    names = ("validation", "train_loss", "lr")
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.05)
    for index, (phase, part) in enumerate(phases_of(run).items()):
        drawn = marks(index)
        legend = True
        lines = traces(part, **dict(zip(names, titles.values(), strict=True)))
        for row, (x, y) in enumerate(lines, start=1):
            if x:
                figure.add_scatter(
                    x=x,
                    y=y,
                    row=row,
                    col=1,
                    name=html.escape(phase),
                    legendgroup=html.escape(phase),
                    showlegend=legend,
                    hovertemplate=f"{html.escape(phase)}<br>step %{{x}}: %{{y}}<extra></extra>",
                    **_line(drawn.colour, drawn.symbol, drawn.dash),
                )
                legend = False
    if not figure.data:
        return None
    for row, title in enumerate(titles, start=1):
        figure.update_yaxes(title=html.escape(title), row=row, col=1, **(bounds(metric) if row == 1 else {}))
    figure.update_xaxes(title=STEPS, row=3, col=1)
    return finished(figure, height=620)


def _line(colour: str, symbol: str, dash: str) -> dict[str, Any]:
    """A line with a few symbols on it, so that it can be told from others without colours."""
    return {
        "mode": "lines+markers",
        "line": {"color": colour, "width": 1.5, "dash": dash},
        "marker": {"color": colour, "symbol": symbol, "size": 7, "maxdisplayed": _MARKS_PER_LINE},
    }
