"""How alike the layers that share templates became, arm by arm: a figure per group, a heat map per arm, and a table.

entry of a heat map = mean over the finished runs of an arm of S_ij        S: the layer similarity of one run
"""

import html
import textwrap
from collections.abc import Sequence
from statistics import mean
from typing import Any

from plotly.subplots import make_subplots

from paretorch.evidence.arms import Arm
from paretorch.evidence.quantities import similarities_of
from paretorch.evidence.records import RunRecord
from paretorch.evidence.report.layout import finished
from paretorch.evidence.report.similarity import CAPTION, DRAWN, heat_map, mean_of_pairs
from paretorch.evidence.report.table import UNKNOWN, Table, count

ARMS = 6  # heat maps of a figure
COLUMNS = 3
WRITTEN = 8  # layers of a group whose entries have room for their numbers
WRAPPED = 28  # characters of a line above a heat map
PANEL = 210  # pixels


def similarity_by_arm(arms: Sequence[Arm]) -> dict[str, dict[str, Any]]:
    """Key -> figure, for the first groups; {} where no layers share templates."""
    shared = sharing_arms(arms)[:ARMS]
    return {f"similarity-{n}": _figure(shared, group) for n, group in enumerate(groups_of(shared)[:DRAWN])}


def similarity_by_arm_places(arms: Sequence[Arm]) -> list[dict[str, str]]:
    """What the template needs to place these figures: key, title and caption of each."""
    shared = sharing_arms(arms)
    groups = groups_of(shared[:ARMS])
    left = [f" The first {ARMS} of {len(shared)} arms."] if len(shared) > ARMS else []
    left += [f" The first {DRAWN} of {len(groups)} groups."] if len(groups) > DRAWN else []
    places = []
    for number, group in enumerate(groups[:DRAWN]):
        caption = "Mean over seeds; layers in the order of the model, from the upper left corner."
        if number == 0:
            caption = f"{CAPTION} {caption}{''.join(left)}"
        places.append({"key": f"similarity-{number}", "title": f"Layer similarity: {group}", "caption": caption})
    return places


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
    found = [similarities_of(run)[group] for run in arm.finished if group in similarities_of(run)]
    if not found:
        return None
    layers = list(found[0]["layers"])
    matrices = [one["matrix"] for one in found if list(one["layers"]) == layers]
    return layers, [[mean(entries) for entries in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)]


def _figure(arms: Sequence[Arm], group: str) -> dict[str, Any]:
    drawn = [(arm, found) for arm in arms if (found := mean_matrix(arm, group)) is not None]
    columns = min(COLUMNS, len(drawn))
    rows = -(-len(drawn) // columns)
    titles = ["<br>".join(html.escape(line) for line in textwrap.wrap(arm.label, WRAPPED)) for arm, _ in drawn]
    figure = make_subplots(
        rows=rows, cols=columns, subplot_titles=titles, horizontal_spacing=0.04, vertical_spacing=0.16 / rows
    )
    for position, (_, (layers, matrix)) in enumerate(drawn):
        trace = heat_map(layers, matrix, written=len(layers) <= WRITTEN)
        trace.showscale = position == 0
        figure.add_trace(trace, row=1 + position // columns, col=1 + position % columns)
    figure.update_annotations(font_size=12)
    figure.update_xaxes(type="category", showticklabels=False)
    figure.update_yaxes(type="category", autorange="reversed", showticklabels=False)
    return finished(figure, height=80 + PANEL * rows)


def _cell(arm: Arm, group: str) -> str:
    """'0.42 ± 0.05'."""

    def read(run: RunRecord) -> float | None:
        found = similarities_of(run).get(group)
        return None if found is None else mean_of_pairs(found["matrix"])

    interval = arm.interval(read)
    if interval is None:
        return UNKNOWN
    return f"{interval.mean:.2f}" + ("" if interval.half_width is None else f" ± {interval.half_width:.2f}")
