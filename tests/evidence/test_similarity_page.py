"""The similarity of shared layers on the page of a run: heat maps and tables with the numbers of the record."""

from pathlib import Path
from typing import Any

import pytest

from paretorch.evidence.records import RunRecord
from paretorch.evidence.report import write_report
from paretorch.evidence.report.similarity import DRAWN, similarity_figures, similarity_places, similarity_tables
from tests.evidence.test_report import Page

MATRIX = [[1.0, 0.96, 0.1], [0.96, 1.0, 0.2], [0.1, 0.2, 1.0]]
LAYERS = ["stage.0.conv1", "stage.<1>.conv1", "stage.2.conv1"]


def run(groups: int = 1, *, layers: list[str] = LAYERS, matrix: list[list[float]] = MATRIX) -> RunRecord:
    shared: dict[str, Any] = {f"layer{n}": {"layers": layers, "matrix": matrix} for n in range(groups)}
    return RunRecord(
        run_id="dense-s0",
        arm="dense",
        group={"method": "dense"},
        seed=0,
        workload="digits",
        metric="accuracy",
        quality=0.9,
        validation=0.9,
        phases=[{"phase": "dense", "epochs": 1.0, "seconds": 2.0, **({"similarity": shared} if groups else {})}],
    )


def test_the_heat_map_holds_the_matrix_in_the_order_of_the_layers() -> None:
    (figure,) = similarity_figures(run()).values()
    (trace,) = figure["data"]
    assert trace["type"] == "heatmap"
    assert trace["z"] == MATRIX
    assert trace["x"] == trace["y"] == ["stage.0.conv1", "stage.&lt;1&gt;.conv1", "stage.2.conv1"]
    assert (trace["zmin"], trace["zmax"]) == (0, 1)
    assert figure["layout"]["yaxis"]["autorange"] == "reversed"  # the diagonal falls, as in a matrix


def test_entries_of_large_groups_have_no_room_for_numbers() -> None:
    names = [f"layer{i}" for i in range(13)]
    (large,) = similarity_figures(run(layers=names, matrix=[[1.0] * 13] * 13)).values()
    (small,) = similarity_figures(run()).values()
    assert "texttemplate" not in large["data"][0]
    assert small["data"][0]["texttemplate"] == "%{z:.2f}"


def test_the_page_shows_figure_caption_and_numbers(tmp_path: Path) -> None:
    page = Page(write_report([run(2)], tmp_path / "r.html", command="c").read_text(encoding="utf-8"))
    figures = page.figures()
    assert figures["similarity-0"]["data"][0]["z"] == figures["similarity-1"]["data"][0]["z"] == MATRIX
    assert page.tables["table-similarity-1"] == [
        ["layer", *LAYERS],
        [LAYERS[0], "1.00", "0.96", "0.10"],
        [LAYERS[1], "0.96", "1.00", "0.20"],
        [LAYERS[2], "0.10", "0.20", "1.00"],
    ]
    body = " ".join(page.text)
    assert "Layer similarity: layer1" in body
    assert "Mean over pairs of different layers: 0.42." in body  # (0.96 + 0.1 + 0.2) / 3


def test_the_first_groups_are_drawn_and_it_is_said_how_many_there_are() -> None:
    many = run(DRAWN + 2)
    assert len(similarity_figures(many)) == len(similarity_tables(many)) == DRAWN
    assert similarity_places(many)[-1]["caption"].endswith(f"The first {DRAWN} of {DRAWN + 2} groups.")


def test_a_run_whose_layers_share_nothing_has_no_such_part(tmp_path: Path) -> None:
    assert similarity_figures(run(0)) == {}
    text = write_report([run(0)], tmp_path / "r.html", command="c").read_text(encoding="utf-8")
    assert "Shared layers" not in text


@pytest.mark.parametrize("later", [{"phase": "retrain"}, {"phase": "retrain", "similarity": {}}])
def test_the_matrix_is_that_of_the_last_phase_that_has_one(later: dict[str, Any]) -> None:
    found = run()
    found.phases.append(later)
    assert [table.rows[0][2] for table in similarity_tables(found)] == ["0.96"]


def test_a_group_that_all_layers_but_one_have_left_has_no_pairs_to_average(tmp_path: Path) -> None:
    lone = run(layers=LAYERS[:1], matrix=[[1.0]])
    page = Page(write_report([lone], tmp_path / "r.html", command="c").read_text(encoding="utf-8"))
    assert "One layer is left in the group, so there are no pairs." in " ".join(page.text)
    assert page.figures()["similarity-0"]["data"][0]["z"] == [[1.0]]
