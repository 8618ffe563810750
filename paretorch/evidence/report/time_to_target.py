"""Time to the three qualities, seed by seed: a run that never gets there is shown as "at least its budget".

The time of a seed is the cheapest duration whose run reaches the quality, interpolated on that seed's envelope; its
budget is the cost of its most expensive run. Censored seeds are drawn, listed and counted, never left out.
"""

import html
import itertools
import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from paretorch.evidence.censored import TargetTime, restricted_mean, success_rate
from paretorch.evidence.censored_arms import common_horizon
from paretorch.evidence.families import Axis, Family, Scope
from paretorch.evidence.records import RunRecord
from paretorch.evidence.report.cost_words import axis_label, cost_label, level_words
from paretorch.evidence.report.family_tables import known_charge
from paretorch.evidence.report.layout import finished, log_axis
from paretorch.evidence.report.speedup_figures import HEIGHT, marks_of
from paretorch.evidence.report.style import MUTED, Marks, short
from paretorch.evidence.report.table import UNKNOWN, Table
from paretorch.evidence.speedup import Speedup
from paretorch.evidence.statistics import Interval
from paretorch.evidence.words import listing, percent, plain

SPREAD = 0.62  # of the distance between two qualities, over which the families are set side by side
AT_LEAST, AT_MOST = "\N{GREATER-THAN OR EQUAL TO} ", "\N{LESS-THAN OR EQUAL TO} "


def times_of(family: Family, quality: float, *, axis: Axis, scope: Scope) -> dict[int, TargetTime]:
    """Seed -> when it reached the quality; `high` is None for a seed that did not within its longest duration.

    Where a seed's runs failed before they said what they cost, its budget is 0: all that is known is that it missed.
    Where already the cheapest run is good enough, the time is known from above only, and `low` is 0.
    """
    found = {}
    for seed in family.seeds:
        curve = family.curve(seed, axis=axis, scope=scope)
        time = curve.time_to(quality)
        if math.isinf(time):
            found[seed] = TargetTime(_budget(family.records[seed], axis=axis, scope=scope), None)
        else:
            found[seed] = TargetTime(0.0 if curve.reached_at_start(quality) else time, time)
    return found


def target_table(speedup: Speedup, families: Sequence[Family]) -> Table | None:
    """One row per quality and family, one column per seed; None when no quality was compared."""
    if not speedup.at:
        return None
    seeds = sorted({seed for family in families for seed in family.seeds})
    rows = []
    for name, level in zip(_names(speedup), speedup.at, strict=True):
        found = {f.label: times_of(f, level.quality, axis=speedup.axis, scope=speedup.scope) for f in families}
        horizon = common_horizon([time for times in found.values() for time in times.values()], ())
        for label, times in found.items():
            runs = list(times.values())
            rows.append(
                [
                    label,
                    name,
                    _share(success_rate(runs)),
                    plain(restricted_mean(runs, horizon=horizon)) if horizon else UNKNOWN,
                    plain(horizon) if horizon else UNKNOWN,
                    *[_cell(times.get(seed)) for seed in seeds],
                ]
            )
    return Table(
        key="targets",
        title="Cost to reach a quality",
        caption=f"In {cost_label(speedup.axis, speedup.scope)}. \N{GREATER-THAN OR EQUAL TO} is a censored seed: its "
        "longest run did not reach the quality, so all that is known is that the cost is larger. "
        "\N{LESS-THAN OR EQUAL TO}: already the shortest run reaches it. The mean counts at most the horizon, up to "
        "which every seed of every family is known, and a later seed as the horizon (restricted mean). Share of seeds "
        "with Wilson's interval.",
        head=[
            *["family", "quality", "seeds that reach it", "mean cost within the horizon", "horizon"],
            *[f"seed {seed}" for seed in seeds],
        ],
        rows=rows,
    )


def target_figure(speedup: Speedup, families: Sequence[Family]) -> dict[str, Any] | None:
    """Each seed's cost to reach each quality; seeds of candidate and baseline that are a pair are joined."""
    if not speedup.at:
        return None
    metric, drawn = speedup.baseline.metric, marks_of(speedup, families)
    places = {f.label: SPREAD * ((i + 0.5) / len(families) - 0.5) for i, f in enumerate(families)}
    found = {
        (f.label, place): times_of(f, level.quality, axis=speedup.axis, scope=speedup.scope)
        for place, level in enumerate(speedup.at)
        for f in families
    }
    costs = [time.observed for times in found.values() for time in times.values() if time.observed]
    if not costs:
        return None
    figure = go.Figure()
    pairs: tuple[list[float | None], list[float | None]] = ([], [])
    ends = (speedup.baseline.label, speedup.candidate.label)
    for place, seed in itertools.product(range(len(speedup.at)), speedup.seeds):
        times = [found[label, place][seed].observed for label in ends]
        if all(times):
            pairs[0].extend([*(short(place + places[label]) for label in ends), None])
            pairs[1].extend([*map(short, times), None])
    figure.add_scatter(
        x=pairs[0],
        y=pairs[1],
        mode="lines",
        name="pairs of one seed",
        line={"color": MUTED, "width": 1, "dash": "dot"},
        opacity=0.6,
        hoverinfo="skip",
    )
    for family in families:
        position = places[family.label]
        shown = [
            (short(i + position), seed, time)
            for i in range(len(speedup.at))
            for seed, time in found[family.label, i].items()
            if time.observed
        ]
        _add_times(figure, family.label, [run for run in shown if run[2].reached], drawn=drawn[family.label])
        _add_times(figure, family.label, [run for run in shown if not run[2].reached], drawn=drawn[family.label])
    figure.update_xaxes(
        title=f"{html.escape(metric.axis)} to reach",
        tickvals=list(range(len(speedup.at))),
        ticktext=[name.removesuffix(" %") for name in _names(speedup)],
        range=[-0.5, len(speedup.at) - 0.5],
        showgrid=False,
    )
    figure.update_yaxes(title=axis_label(speedup.axis), **log_axis(min(costs), max(costs)))
    return finished(figure, height=HEIGHT)


def _add_times(figure: go.Figure, label: str, shown: Sequence[tuple[float, int, TargetTime]], *, drawn: Marks) -> None:
    if not shown:
        return
    name = html.escape(label)
    figure.add_scatter(
        x=[at for at, _, _ in shown],
        y=[short(time.observed) for _, _, time in shown],
        mode="markers",
        name=name,
        legendgroup=name,
        showlegend=not any(trace.name == name for trace in figure.data),
        marker={
            "color": drawn.colour,
            "symbol": [_symbol(time, drawn.symbol) for _, _, time in shown],
            "size": [11 if time.reached and time.low > 0 else 13 for _, _, time in shown],
            "line": {"width": [2 if not time.reached or time.low == 0 else 0 for _, _, time in shown]},
        },
        customdata=[[seed, _cell(time)] for _, seed, time in shown],
        hovertemplate=f"{name}, seed %{{customdata[0]}}<br>%{{customdata[1]}}<extra></extra>",
    )


def censored_words(speedup: Speedup, families: Sequence[Family]) -> list[str]:
    """One sentence per family with seeds that do not reach a quality, naming them."""
    found = []
    for family in families:
        missed = []
        for name, level in zip(_names(speedup), speedup.at, strict=True):
            times = times_of(family, level.quality, axis=speedup.axis, scope=speedup.scope)
            if seeds := [str(seed) for seed, time in times.items() if not time.reached]:
                share = f"{len(seeds)} of {len(times)}: {'seed' if len(seeds) == 1 else 'seeds'} {listing(seeds)}"
                missed.append(f"{name} ({share})")
        if missed:
            found.append(f"{family.label} does not reach {family.metric.name} {listing(missed)}.")
    return found


def _budget(runs: Sequence[RunRecord], *, axis: Axis, scope: Scope) -> float:
    return max((cost for run in runs if (cost := known_charge(run, axis, scope=scope)) is not None), default=0.0)


def _names(speedup: Speedup) -> list[str]:
    return level_words(speedup.baseline.metric, [level.quality for level in speedup.at])


def _cell(time: TargetTime | None) -> str:
    if time is None:
        return UNKNOWN
    if not time.observed:
        return "not reached"
    sign = AT_LEAST if not time.reached else AT_MOST if time.low == 0 else ""
    return sign + plain(time.observed)


def _symbol(time: TargetTime, usual: str) -> str:
    if not time.reached:
        return "triangle-up-open"
    return "triangle-down-open" if time.low == 0 else usual


def _share(interval: Interval) -> str:
    """'4 of 5 (38 % to 96 %)'."""
    hits = round(interval.mean * interval.n)
    assert interval.low is not None
    assert interval.high is not None
    low, high = (percent(round(end, 2)) for end in (interval.low, interval.high))
    return f"{hits} of {interval.n} ({low} to {high})"
