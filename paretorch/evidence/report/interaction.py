"""Do two methods multiply? The family with both, beside the families with one of them each.

    interaction = ln S_AB - ln S_A - ln S_B        0: they multiply; below 0: they do the same work twice

S is the geometric mean of baseline cost over the family's cost, over the qualities that all four families and all their
seeds pass through; at one quality alone, or over unequal ranges, noise near the plateau looks like an interaction.
Source: the composition measurements of Portes, Blalock, Stephenson and Frankle (arXiv 2206.00832), as log ratios.
"""

import html
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from paretorch.evidence.curves import average_ratio, common_range
from paretorch.evidence.families import Family
from paretorch.evidence.report.cost_words import ratio_label
from paretorch.evidence.report.fronts import bars
from paretorch.evidence.report.layout import finished
from paretorch.evidence.report.speedup_figures import is_control
from paretorch.evidence.report.style import MUTED, marks, short
from paretorch.evidence.report.table import UNKNOWN, Table
from paretorch.evidence.speedup import Speedup
from paretorch.evidence.statistics import Interval, mean_interval, ratio_interval
from paretorch.evidence.words import minus, ratio


@dataclass(frozen=True)
class Interaction:
    """Two methods, alone and together, against one baseline.

    Args:
        labels: of the families A, B and AB.
        range: the qualities averaged over, the easier first; None where the four families share none.
        alone: S of A and of B.
        product: S of A times S of B, what two methods that multiply would give.
        together: S of AB.
        log: ln S_AB - ln S_A - ln S_B.
    """

    labels: tuple[str, str, str]
    range: tuple[float, float] | None = None
    alone: tuple[Interval, Interval] | None = None
    product: Interval | None = None
    together: Interval | None = None
    log: Interval | None = None


def triples(speedup: Speedup, families: Sequence[Family]) -> list[tuple[Family, Family, Family]]:
    """Families (A, B, AB) whose methods, beyond the baseline's, are disjoint and add up."""
    base = _methods(speedup.baseline)
    added = {
        family.label: _methods(family) - base
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


def interaction(speedup: Speedup, a: Family, b: Family, both: Family) -> Interaction:
    """Measure one triple over the seeds that all four families share."""
    labels = (a.label, b.label, both.label)
    families = (speedup.baseline, a, b, both)
    seeds = sorted(set.intersection(*(set(family.seeds) for family in families)))
    curves = {
        (family.label, seed): family.curve(seed, axis=speedup.axis, scope=speedup.scope)
        for family in families
        for seed in seeds
    }
    span = common_range(curves.values()) if seeds else None
    if span is None:
        return Interaction(labels)
    ratios = {
        family.label: {
            seed: average_ratio(curves[family.label, seed], curves[speedup.baseline.label, seed], quality_range=span)
            for seed in seeds
        }
        for family in (a, b, both)
    }
    product = {seed: ratios[a.label][seed] * ratios[b.label][seed] for seed in seeds}
    one = dict.fromkeys(seeds, 1.0)
    return Interaction(
        labels,
        range=span,
        alone=(ratio_interval(ratios[a.label], one), ratio_interval(ratios[b.label], one)),
        product=ratio_interval(product, one),
        together=ratio_interval(ratios[both.label], one),
        log=mean_interval([math.log(ratios[both.label][seed] / product[seed]) for seed in seeds]),
    )


def interaction_table(speedup: Speedup, found: Sequence[Interaction]) -> Table | None:
    """One row per pair of methods; None without any."""
    if not found:
        return None
    metric = speedup.baseline.metric
    rows = []
    for pair in found:
        a, b, both = pair.labels
        values = [*(pair.alone or (None, None)), pair.product, pair.together]
        rows.append(
            [
                both,
                a,
                b,
                UNKNOWN if pair.range is None else " to ".join(metric.value(end) for end in pair.range),
                *[UNKNOWN if value is None else ratio(value) for value in values],
                _log_words(pair.log),
                _reading(pair.log),
            ]
        )
    return Table(
        key="interaction",
        title="Two methods together",
        caption="Geometric means over the qualities that all four families pass through, paired over seeds. "
        "Interaction: ln of the ratio together, minus those of each alone; 0 where the two multiply.",
        head=[
            *["both", "first", "second", "qualities"],
            *[f"{ratio_label(speedup.axis)}: {name}" for name in ("first", "second", "product", "both")],
            *["interaction (log)", "reading"],
        ],
        rows=rows,
    )


def interaction_figure(speedup: Speedup, found: Sequence[Interaction]) -> dict[str, Any] | None:
    """Each method alone, their product, and both measured, on a logarithm; None where nothing could be measured."""
    shown = [pair for pair in found if pair.product and pair.together and pair.alone]
    if not shown:
        return None
    figure = go.Figure()
    names = ("first alone", "second alone", "product of both", "both, measured")
    for place, name in enumerate(names):
        drawn = marks(place)
        intervals = [_values(pair)[place] for pair in shown]
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
        ticktext=[html.escape(pair.labels[2]) for pair in shown],
        range=[-0.5, len(shown) - 0.5],
        showgrid=False,
    )
    figure.update_yaxes(title=ratio_label(speedup.axis), type="log")
    return finished(figure, height=360)


def _values(pair: Interaction) -> tuple[Interval, Interval, Interval, Interval]:
    assert pair.alone is not None
    assert pair.product is not None
    assert pair.together is not None
    return (*pair.alone, pair.product, pair.together)


def _methods(family: Family) -> set[str]:
    return {method for runs in family.records.values() for run in runs for method in run.methods}


def _log_words(log: Interval | None) -> str:
    if log is None:
        return UNKNOWN
    mean, low, high = (None if end is None else minus(f"{end:.3f}") for end in (log.mean, log.low, log.high))
    return f"{mean}" if low is None else f"{mean} ({low} to {high})"


def _reading(log: Interval | None) -> str:
    if log is None:
        return "no quality that all four reach"
    if log.contains(0.0):
        return "no evidence that they do not multiply"
    return "less than the product" if log.mean < 0 else "more than the product"
