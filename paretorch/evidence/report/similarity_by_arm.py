"""How alike the layers that share templates became, arm by arm: a small heat map per group and arm, and a table.

entry of a heat map = mean over the finished runs of an arm of S_ij        S: the layer similarity of one run
"""

from collections.abc import Sequence
from statistics import mean
from typing import Any

import plotly.graph_objects as go

from paretorch.evidence.arms import Arm
from paretorch.evidence.quantities import similarities_of
from paretorch.evidence.records import RunRecord
from paretorch.evidence.report.layout import finished
from paretorch.evidence.report.similarity import CAPTION, heat_map, mean_of_pairs
from paretorch.evidence.report.table import UNKNOWN, Table, count
from paretorch.evidence.words import plural

ARMS, GROUPS = 6, 3  # with heat maps, so that a page stays small; records hold all
WRITTEN = 8  # layers of a group whose entries have room for their numbers
HEIGHT, MARGIN = 240, 10  # pixels


def similarity_by_arm(arms: Sequence[Arm]) -> dict[str, dict[str, Any]]:
    """Key -> heat map, for the first groups of the first arms; {} where no layers share templates."""
    return {panel["key"]: _heat_map(*found) for group in _drawn(arms).values() for panel, found in group}


def similarity_by_arm_places(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """What the template needs to place them: of each group a title, a caption and its "panels"."""
    shared = sharing_arms(arms)
    groups = groups_of(shared)
    caption = f"{CAPTION} Means over seeds; layers in the order of the model, from the upper left corner."
    caption += f" The first {ARMS} of {len(shared)} arms." if len(shared) > ARMS else ""
    caption += f" The first {GROUPS} of {len(groups)} groups." if len(groups) > GROUPS else ""
    return [
        {
            "title": f"Layer similarity: {group}",
            "caption": "" if number else caption,
            "panels": [panel for panel, _ in panels],
        }
        for number, (group, panels) in enumerate(_drawn(arms).items())
    ]


def similarity_by_arm_table(arms: Sequence[Arm]) -> Table | None:
    """The mean over pairs of layers of every group, a row per arm; None where no layers share templates."""
    shared = sharing_arms(arms)
    if not shared:
        return None
    groups = groups_of(shared)
    return Table(
        key="similarity",
        title="Layer similarity",
        caption="Mean over pairs of different layers of a group, and over seeds ± half of the 95 % t-interval. 1: all "
        "layers of the group have the same weights up to factors. The page of a run has all pairs.",
        head=["arm", "runs", *groups],
        rows=[[arm.label, count(arm), *[_cell(arm, group) for group in groups]] for arm in shared],
    )


def sharing_arms(arms: Sequence[Arm]) -> list[Arm]:
    """The arms with a finished run whose layers share templates."""
    return [arm for arm in arms if any(similarities_of(run) for run in arm.finished)]


def groups_of(arms: Sequence[Arm]) -> list[str]:
    """All groups, in the order of the first run that has them."""
    return list(dict.fromkeys(group for arm in arms for run in arm.finished for group in similarities_of(run)))


def mean_matrix(arm: Arm, group: str) -> tuple[list[str], list[list[float]]] | None:
    """Layers, and S averaged over the finished runs whose group holds the layers of the first; None without a run."""
    found = _of_group(arm, group)
    if not found:
        return None
    layers = list(found[0]["layers"])
    matrices = [one["matrix"] for one in found if list(one["layers"]) == layers]
    return layers, [[mean(entries) for entries in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)]


def _of_group(arm: Arm, group: str) -> list[dict[str, Any]]:
    return [similarities_of(run)[group] for run in arm.finished if group in similarities_of(run)]


def _left_out(arm: Arm, group: str, layers: Sequence[str]) -> str:
    """How many runs have other layers in the group, since layers may leave it; "" where none has."""
    found = _of_group(arm, group)
    others = sum(list(one["layers"]) != list(layers) for one in found)
    return f"{others} of {plural(len(found), 'run')} left out: other layers in this group." if others else ""


Panel = tuple[dict[str, str], tuple[list[str], list[list[float]]]]


def _drawn(arms: Sequence[Arm]) -> dict[str, list[Panel]]:
    """Group -> for each arm that has it what places its heat map, and what it shows."""
    shared = sharing_arms(arms)
    return {
        group: [
            (
                {
                    "key": f"similarity-{number}-{position}",
                    "title": arm.label,
                    "caption": _left_out(arm, group, found[0]),
                },
                found,
            )
            for position, arm in enumerate(shared[:ARMS])
            if (found := mean_matrix(arm, group)) is not None
        ]
        for number, group in enumerate(groups_of(shared)[:GROUPS])
    }


def _heat_map(layers: Sequence[str], matrix: Sequence[Sequence[float]]) -> dict[str, Any]:
    trace = heat_map(layers, matrix, written=len(layers) <= WRITTEN)
    trace.showscale = len(layers) > WRITTEN
    figure = go.Figure(trace)
    figure.update_xaxes(type="category", showticklabels=False)
    figure.update_yaxes(type="category", autorange="reversed", showticklabels=False)
    drawn = finished(figure, height=HEIGHT)
    drawn["layout"]["margin"] = dict.fromkeys("lrtb", MARGIN)
    for axis in ("xaxis", "yaxis"):
        drawn["layout"][axis]["ticks"] = ""
    return drawn


def _cell(arm: Arm, group: str) -> str:
    """'0.42 ± 0.05'."""

    def read(run: RunRecord) -> float | None:
        found = similarities_of(run).get(group)
        return None if found is None else mean_of_pairs(found["matrix"])

    interval = arm.interval(read)
    if interval is None:
        return UNKNOWN
    return f"{interval.mean:.2f}" + ("" if interval.half_width is None else f" ± {interval.half_width:.2f}")
