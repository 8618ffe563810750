"""The similarity of shared layers on the page of a sweep: means over seeds, arm by arm, as heat maps and as a table."""

from pathlib import Path
from typing import Any

import pytest

from paretorch.evidence.arms import arms_of
from paretorch.evidence.records import RunRecord
from paretorch.evidence.report import write_report
from paretorch.evidence.report.similarity_by_arm import (
    ARMS,
    GROUPS,
    mean_matrix,
    similarity_by_arm,
    similarity_by_arm_places,
    similarity_by_arm_table,
)
from tests.evidence.test_report import Page

LAYERS = ["stage.<1>.conv1", "stage.1.conv2"]


def matrix(similarity: float) -> list[list[float]]:
    return [[1.0, similarity], [similarity, 1.0]]


def run(arm: str, seed: int, groups: dict[str, float], **changes: Any) -> RunRecord:
    shared = {name: {"layers": LAYERS, "matrix": matrix(value)} for name, value in groups.items()}
    given: dict[str, Any] = {
        "run_id": f"{arm}-s{seed}",
        "arm": arm,
        "group": {"method": arm},
        "seed": seed,
        "workload": "digits",
        "metric": "accuracy",
        "quality": 0.9,
        "validation": 0.9,
        "phases": [{"phase": "share", "epochs": 1.0, "seconds": 2.0, **({"similarity": shared} if shared else {})}],
    }
    return RunRecord(**{**given, **changes})


SWEEP = [
    run("dense", 0, {}),
    run("dense", 1, {}),
    run("two templates", 0, {"layer1": 0.25, "layer2": 0.5}),
    run("two templates", 1, {"layer1": 0.75, "layer2": 0.5}),
    run("one & one", 0, {"layer1": 1.0, "layer2": 1.0}),
    run("one & one", 1, {"layer1": 1.0, "layer2": 1.0}),
]


def test_a_heat_map_per_group_and_arm_holds_the_mean_over_seeds() -> None:
    figures = similarity_by_arm(arms_of(SWEEP))
    assert list(figures) == ["similarity-0-0", "similarity-0-1", "similarity-1-0", "similarity-1-1"]
    (first,), (second,), (third,), _ = (figure["data"] for figure in figures.values())
    assert first["z"] == [[1, 0.5], [0.5, 1]]
    assert second["z"] == [[1, 1], [1, 1]]
    assert third["z"] == [[1, 0.5], [0.5, 1]]
    assert first["x"] == first["y"] == ["stage.&lt;1&gt;.conv1", "stage.1.conv2"]
    first_group, second_group = similarity_by_arm_places(arms_of(SWEEP))
    assert [panel["key"] for panel in first_group["panels"]] == ["similarity-0-0", "similarity-0-1"]
    assert [panel["title"] for panel in second_group["panels"]] == ["two templates", "one & one"]


def test_a_run_that_failed_and_a_run_of_other_layers_are_in_no_mean() -> None:
    odd = run("k", 2, {"layer1": 0.9})
    odd.phases[0]["similarity"]["layer1"]["layers"] = ["other", "layers"]
    (arm,) = arms_of([run("k", 0, {"layer1": 0.2}), run("k", 1, {"layer1": 0.8}, status="diverged", quality=None), odd])
    assert mean_matrix(arm, "layer1") == (LAYERS, matrix(0.2))
    assert mean_matrix(arm, "layer9") is None


def test_the_table_has_the_mean_over_pairs_and_its_interval_over_seeds() -> None:
    table = similarity_by_arm_table(arms_of(SWEEP))
    assert table is not None
    assert table.head == ["arm", "runs", "layer1", "layer2"]
    width = 12.706 * 0.25  # t(0.975, 1) times s / sqrt(2), with s = 0.5 / sqrt(2)
    assert table.rows == [
        ["two templates", "2, low-n", f"0.50 ± {width:.2f}", "0.50 ± 0.00"],
        ["one & one", "2, low-n", "1.00 ± 0.00", "1.00 ± 0.00"],
    ]


def test_a_group_that_an_arm_does_not_have_is_not_known_and_has_no_heat_map() -> None:
    arms = arms_of([run("a", 0, {"layer1": 0.1}), run("b", 0, {"layer2": 0.2})])
    table = similarity_by_arm_table(arms)
    assert table is not None
    assert [row[2:] for row in table.rows] == [["0.10", "\N{EN DASH}"], ["\N{EN DASH}", "0.20"]]
    assert list(similarity_by_arm(arms)) == ["similarity-0-0", "similarity-1-1"]


def test_the_page_shows_figures_captions_and_the_table(tmp_path: Path) -> None:
    page = Page(write_report(SWEEP, tmp_path / "r.html", command="c").read_text(encoding="utf-8"))
    assert page.figures()["similarity-1-1"]["data"][0]["z"] == [[1, 1], [1, 1]]
    assert page.tables["table-similarity"][0] == ["arm", "runs", "layer1", "layer2"]
    body = " ".join(page.text)
    assert "Layer similarity: layer2" in body
    assert "Shared layers" in body


def test_the_first_arms_and_groups_are_drawn_and_it_is_said_how_many_there_are() -> None:
    named = {f"layer{n}": 0.5 for n in range(GROUPS + 1)}
    arms = arms_of([run(f"k={k}", 0, named) for k in range(ARMS + 2)])
    assert len(similarity_by_arm(arms)) == ARMS * GROUPS
    caption = similarity_by_arm_places(arms)[0]["caption"]
    assert caption.endswith(f"The first {ARMS} of {ARMS + 2} arms. The first {GROUPS} of {GROUPS + 1} groups.")


@pytest.mark.parametrize("size", [8, 9])
def test_numbers_stand_in_the_entries_where_there_is_room_and_else_a_scale_beside_them(size: int) -> None:
    record = run("k", 0, {"layer1": 0.5})
    names = [f"layer{i}" for i in range(size)]
    record.phases[0]["similarity"]["layer1"] = {"layers": names, "matrix": [[1.0] * size] * size}
    (trace,) = similarity_by_arm(arms_of([record]))["similarity-0-0"]["data"]
    assert ("texttemplate" in trace) == (size == 8)
    assert trace["showscale"] == (size == 9)


def test_a_sweep_whose_layers_share_nothing_has_no_such_part(tmp_path: Path) -> None:
    plain = [run("dense", 0, {}), run("other", 0, {})]
    assert similarity_by_arm(arms_of(plain)) == {}
    assert similarity_by_arm_places(arms_of(plain)) == []
    assert similarity_by_arm_table(arms_of(plain)) is None
    text = write_report(plain, tmp_path / "r.html", command="c").read_text(encoding="utf-8")
    assert "Shared layers" not in text


def test_runs_with_other_layers_are_not_averaged_and_a_lone_layer_has_no_pairs(tmp_path: Path) -> None:
    def left(seed: int, layers: list[str]) -> RunRecord:
        ones = [[1.0] * len(layers)] * len(layers)
        shared = {"layer1": {"layers": layers, "matrix": ones}}
        return run("left", seed, {}, phases=[{"phase": "share", "similarity": shared}])

    runs = [*SWEEP[:2], left(0, LAYERS), left(1, LAYERS[:1])]
    ((place,),) = (group["panels"] for group in similarity_by_arm_places(arms_of(runs)))
    assert place["caption"] == "1 of 2 runs left out: other layers in this group."
    table = similarity_by_arm_table(arms_of(runs))
    assert table is not None
    assert table.rows[0][2] == "1.00"  # of the one run that has pairs
    lone = similarity_by_arm_table(arms_of([*SWEEP[:2], left(0, LAYERS[:1])]))
    assert lone is not None
    assert lone.rows[0][2] == "\N{EN DASH}"
    write_report(runs, tmp_path / "r.html", command="c")
