"""Sweeps side by side: folders are never pooled, equal names are compared by seed, gaps are named."""

import json
from dataclasses import replace

import pytest

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.comparison import between_folders, findings, workloads_of
from paretorch.evidence.report import write_report
from tests.evidence.test_report import Page


def shifted(runs, by, **changes):
    return [replace(run, quality=run.quality + by, **changes) for run in runs]


def show(given, path, **options):
    return Page(write_report(given, path / "r.html", command="c", **options).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def two(sweep):
    return {"old": sweep(), "new": shifted(sweep(), 0.01, recipe_hash="new")}


def test_equal_names_in_two_folders_are_compared_seed_by_seed(two):
    (workload,) = workloads_of(two)
    sentences = between_folders(workload)
    assert len(sentences) == 5
    assert sentences[0] == (
        "In new, the dense model reaches 98.0 % (± 0.5, 3 seeds, low-n), 1.0 points more than in old "
        "(95 % interval 1.0 to 1.0 over 3 seeds)."
    )
    assert any(sentence.startswith("In new, IMP with FT at 90 % sparsity") for sentence in sentences)


def test_each_folder_has_its_own_finding_against_its_own_dense_model(two):
    (workload,) = workloads_of(two)
    old, new, joint = findings(workload)
    assert old.startswith("old: On digits, ")
    assert "dense model's 97.0 %" in old
    assert "dense model's 98.0 %" in new
    assert joint.endswith("holds 3 arms: 0 from old and 3 from new.")


def test_names_that_no_two_folders_share_are_said_not_to_be_compared(sweep):
    other = [replace(run, arm=f"{run.arm}, longer") for run in sweep()]
    (workload,) = workloads_of({"a": sweep(), "b": other})
    assert between_folders(workload) == []
    assert any("No arm has the same name in two folders" in sentence for sentence in findings(workload))


def test_page_holds_a_panel_per_folder_on_equal_axes_with_the_other_front_behind(two, tmp_path):
    page = show(two, tmp_path)
    figures = page.figures()
    assert set(figures) == {f"w0-{i}-{axis}-{n}" for i, axis in enumerate(("size", "training")) for n in (0, 1)}
    left, right = figures["w0-0-size-0"], figures["w0-0-size-1"]
    for axis in ("xaxis", "yaxis"):
        assert left["layout"][axis]["range"] == right["layout"][axis]["range"]
    low, high = left["layout"]["yaxis"]["range"]
    drawn = [value for figure in (left, right) for trace in figure["data"] for value in trace["y"]]
    assert low < min(drawn) < max(drawn) < high
    ghost = next(trace for trace in left["data"] if trace["name"] == "front of new")
    front = next(trace for trace in right["data"] if trace["name"] == "front (of the means)")
    assert (ghost["x"], ghost["y"]) == (front["x"], front["y"])
    marks = [{t["name"]: t["marker"]["symbol"] for t in figure["data"] if "marker" in t} for figure in (left, right)]
    assert marks[0] == marks[1]


def test_tables_of_two_folders_put_equal_arms_next_to_each_other(two, tmp_path):
    rows = show(two, tmp_path).tables["table-w0-quality"]
    assert rows[0][:2] == ["arm", "folder"]
    assert [row[:2] for row in rows[1:4]] == [["dense", "old"], ["dense", "new"], ["IMP FT 90%", "old"]]
    glance = show(two, tmp_path).tables["table-glance"]
    assert [row[1] for row in glance] == ["folder", "old", "new"]
    between = show(two, tmp_path).tables["table-w0-between"]
    assert between[1] == ["dense", "new", "old", "+1.0 (1.0 to 1.0)", "3", "better"]


def test_workloads_get_sections_of_their_own_with_their_own_metric(sweep, tmp_path):
    losses = [
        replace(run, workload="char-lm", metric="nll", higher_is_better=False, quality=2.5 - run.quality)
        for run in sweep()
    ]
    page = show(sweep() + losses, tmp_path)  # from one folder, too
    body = " ".join(page.text)
    assert "nll, lower is better" in body
    assert "table-w1-quality" in page.tables
    head, dense, *_ = page.tables["table-w1-quality"]
    assert "test nll, final" in head
    assert dense[head.index("test nll, final")] == "1.530 ± 0.0050"
    assert "%" not in page.figures()["w1-0-size-0"]["layout"]["yaxis"]["title"]["text"]


def test_a_folder_whose_runs_contradict_each_other_is_left_out_and_named(two, record, tmp_path):
    broken = [record(arm="x", group={"a": i}, seed=i, quality=0.5) for i in (0, 1)]
    page = show(two | {"broken": broken}, tmp_path)
    body = " ".join(page.text)
    assert "broken: the label 'x' stands for different factors" in body
    assert "table-w0-between" in page.tables
    with pytest.raises(NotComparableError, match="broken: the label 'x' stands for different factors"):
        show({"broken": broken}, tmp_path)


def test_nothing_given_is_refused(tmp_path):
    with pytest.raises(InputError, match="no run records"):
        write_report({}, tmp_path / "r.html", command="c")


def test_page_is_chosen_by_what_is_given(sweep, two, tmp_path):
    runs = sweep()
    assert "table-phases" in show(runs[-1:], tmp_path).tables
    assert "table-runs" in show(runs, tmp_path).tables
    assert "table-runs" in show({"one": runs}, tmp_path).tables
    assert "table-glance" in show(two, tmp_path).tables
    assert "A title" in " ".join(show(runs, tmp_path, title="A title").text)


def test_names_of_folders_are_escaped(two, tmp_path):
    nasty = "<img src=x onerror=alert(1)>"
    page = show({nasty: two["old"], "b": two["new"]}, tmp_path)
    assert not any(tag == "img" for tag, _ in page.elements)
    assert nasty in "".join(page.text)
    assert "<img" not in json.dumps(page.figures())
