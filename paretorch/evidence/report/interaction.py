"""Do two methods multiply? The family with both, beside the families with one of them each, as figure and table."""

import html
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from paretorch.errors import NotComparableError
from paretorch.evidence.families import Family
from paretorch.evidence.interaction import Interaction, interaction
from paretorch.evidence.report.cost_words import ratio_label
from paretorch.evidence.report.fronts import bars
from paretorch.evidence.report.layout import finished
from paretorch.evidence.report.speedup_figures import is_control
from paretorch.evidence.report.style import MUTED, marks, short
from paretorch.evidence.report.table import UNKNOWN, Table
from paretorch.evidence.speedup import Speedup
from paretorch.evidence.statistics import Interval
from paretorch.evidence.words import minus, ratio


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two methods, alone and together: labels of the families, and what was found or why nothing could be."""

    first: str
    second: str
    both: str
    found: Interaction | None
    reason: str = ""


def pairs(speedup: Speedup, families: Sequence[Family]) -> list[Pair]:
    """The pairs of methods that were run alone and together, each against the baseline of the comparison."""
    found = []
    for first, second, both in _triples(speedup, families):
        labels = {"first": first.label, "second": second.label, "both": both.label}
        try:
            measured = interaction(
                both, first, second, baseline=speedup.baseline, axis=speedup.axis, scope=speedup.scope
            )
        except NotComparableError as error:
            found.append(Pair(**labels, found=None, reason=str(error)))
        else:
            found.append(Pair(**labels, found=measured))
    return found


def interaction_table(speedup: Speedup, found: Sequence[Pair]) -> Table | None:
    """One row per pair of methods; None without any."""
    if not found:
        return None
    name = ratio_label(speedup.axis)
    return Table(
        key="interaction",
        title="Two methods together",
        caption="Means over the qualities that every seed of all four families passes through, paired over seeds. "
        "Interaction: ln of the ratio of both, minus those of each alone; 0 where the two multiply, below 0 where each "
        "takes of the other's gain.",
        head=[
            *["both", "first", "second", "qualities"],
            *[f"{name}, {which}" for which in ("first alone", "second alone", "product", "both together")],
            *["interaction (log)", "reading"],
        ],
        rows=[[pair.both, pair.first, pair.second, *_cells(speedup, pair)] for pair in found],
    )


def interaction_figure(speedup: Speedup, found: Sequence[Pair]) -> dict[str, Any] | None:
    """Each method alone, their product, and both measured, on a logarithm; None where nothing could be measured."""
    shown = [(pair.both, pair.found) for pair in found if pair.found]
    if not shown:
        return None
    figure = go.Figure()
    for place, name in enumerate(("first alone", "second alone", "product", "both together")):
        drawn = marks(place)
        intervals = [_intervals(measured)[place] for _, measured in shown]
        figure.add_scatter(
            x=[short(i + (place - 1.5) * 0.16) for i in range(len(shown))],
            y=[short(interval.mean) for interval in intervals],
            error_y=bars(intervals, drawn),
            mode="markers",
            name=name,
            marker={"color": drawn.colour, "symbol": drawn.symbol, "size": 11},
            customdata=[ratio(interval) for interval in intervals],
            hovertemplate=f"{name}<br>%{{customdata}}<extra></extra>",
        )
    figure.add_scatter(
        x=[-0.5, len(shown) - 0.5],
        y=[1, 1],
        mode="lines",
        name="1: equal cost",
        line={"color": MUTED, "width": 1.5, "dash": "dash"},
        hoverinfo="skip",
    )
    figure.update_xaxes(
        title="family with both methods",
        tickvals=list(range(len(shown))),
        ticktext=[html.escape(label) for label, _ in shown],
        range=[-0.5, len(shown) - 0.5],
        showgrid=False,
    )
    figure.update_yaxes(title=ratio_label(speedup.axis), type="log")
    return finished(figure, height=360)


def _triples(speedup: Speedup, families: Sequence[Family]) -> list[tuple[Family, Family, Family]]:
    """Families (A, B, AB) whose methods, beyond the baseline's, are disjoint and add up."""
    base = set(speedup.baseline.runs[0].methods)
    added = {
        family.label: set(family.runs[0].methods) - base
        for family in families
        if family.label != speedup.baseline.label and not is_control(family)
    }
    candidates = [family for family in families if added.get(family.label)]
    return [
        (a, b, both)
        for a, b in itertools.combinations(candidates, 2)
        for both in candidates
        if not added[a.label] & added[b.label] and added[both.label] == added[a.label] | added[b.label]
    ]


def _intervals(found: Interaction) -> tuple[Interval, Interval, Interval, Interval]:
    product = Interval(found.product, None, None, found.log.n, found.log.confidence)
    return found.first, found.second, product, found.both


def _cells(speedup: Speedup, pair: Pair) -> list[str]:
    if pair.found is None:
        return [*[UNKNOWN] * 6, pair.reason]
    low, high = map(speedup.baseline.metric.value, pair.found.range)
    return [
        f"{low} to {high}",
        *[ratio(interval) for interval in _intervals(pair.found)],
        _log_words(pair.found.log),
        _reading(pair.found.log),
    ]


def _log_words(log: Interval) -> str:
    mean, low, high = (None if end is None else minus(f"{end:.3f}") for end in (log.mean, log.low, log.high))
    return f"{mean}" if low is None else f"{mean} ({low} to {high})"


def _reading(log: Interval) -> str:
    if log.contains(0.0):
        return "no evidence that they do not multiply"
    return "less than the product" if log.mean < 0 else "more than the product"
