"""The page of one run: its numbers come from the record, and it claims no difference."""
# ruff: noqa: RUF001  (the page uses typographic minus signs and dashes)

import pytest

from paretorch.evidence.report import write_report
from tests.evidence.test_report import Page


@pytest.fixture(scope="module")
def run(sweep):
    """The last run of the sweep, with what newer records hold."""
    found = sweep()[-1]
    found.train_quality, found.references = found.quality + 0.03, {"majority": 0.1}
    found.phases[1]["layers"] = {"first": {"kept": 10, "total": 400}, "second": {"kept": 10, "total": 600}}
    return found


def show(run, path):
    return Page(write_report([run], path / "r.html", command="c").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    return show(run, tmp_path_factory.mktemp("run"))


def test_quality_on_every_set_stands_beside_the_references(page):
    assert page.tables["table-quality"] == [
        ["data", "accuracy (%)", "minus test (points)"],
        ["training examples (a sample)", "89.6", "+3.0"],
        ["validation", "86.6", "+0.0"],
        ["test", "86.6", "–"],
        ["reference: majority", "10.0", "−76.6"],
    ]
    body = " ".join(page.text)
    assert "it reaches 89.6 %, 3.0 points more than on test data." in body
    assert "On test data it is 76.6 points more than majority (10.0 %), which needs no model of ours." in body


def test_phases_are_listed_in_order_with_their_sum(page):
    head, *rows = page.tables["table-phases"]
    assert [row[0] for row in rows] == ["dense", "prune-0", "retrain-0", "all phases"]
    columns = {name: [row[i] for row in rows] for i, name in enumerate(head)}
    assert columns["epochs"] == ["10", "–", "2", "12"]
    assert columns["seconds"] == ["40.00", "–", "8.00", "48.00"]
    assert columns["d1"] == ["–", "0.3125", "–", "–"]
    assert columns["d2"] == ["–", "–", "0.2", "–"]
    assert columns["mask hash"] == ["–", "c0ffeec0ffee", "–", "–"]
    assert "steps" not in columns  # no phase of this record says


def test_costs_layers_and_times_are_those_of_the_record(page):
    space = "\N{NARROW NO-BREAK SPACE}"
    costs = dict(page.tables["table-cost"][1:])
    assert costs["non-zero parameters"] == "120"
    assert costs["stored bytes in all"] == f"4{space}400"
    assert page.tables["table-layers"][1:] == [["first", "10", "400", "97.5 %"], ["second", "10", "600", "98.33 %"]]
    head, row = page.tables["table-speed"]
    assert dict(zip(head, row, strict=True)) == {
        "batch": "1",
        "speed-up over eager dense (measured)": "1.002 (0.992 to 1.012)",
        "sample": "7 rounds, certified",
    }


def test_curves_have_one_series_per_phase_and_go_on_where_steps_start_again(record, tmp_path):
    curve = [
        {"step": i, "lr": 0.1, "train_loss": 2.0 - i, "validation": i / 10, "phase": phase}
        for phase in ("dense", "retrain-0")
        for i in range(3)
    ]
    traces = show(record(arm="a", group={}, seed=0, quality=0.5, curves=curve), tmp_path).figures()["curves"]["data"]
    assert [trace["name"] for trace in traces] == ["dense"] * 3 + ["retrain-0"] * 3
    assert [trace["x"] for trace in traces[::3]] == [[0, 1, 2], [2, 3, 4]]
    assert traces[0]["y"] == [0, 10, 20]
    assert traces[1]["y"] == [2, 1, 0]
    assert len({(trace["marker"]["symbol"], trace["line"]["dash"]) for trace in traces}) == 2


def test_one_run_claims_no_difference(page):
    body = " ".join(page.text)
    assert "One run shows no spread over seeds" in body
    assert "interval −" not in body
    assert "table-comparisons" not in page.tables


def test_a_run_that_failed_says_so_first(record, tmp_path):
    failed = record(arm="a", group={"method": "IMP"}, seed=0, quality=None, status="diverged", notes=["lr too high"])
    page = show(failed, tmp_path)
    assert "On digits, IMP did not finish: diverged." in " ".join(page.text)
    assert "lr too high" in " ".join(page.text)
    assert page.figures() == {}


def test_losses_are_not_percentages(record, tmp_path):
    run = record(
        arm="a",
        group={"method": "dense"},
        seed=0,
        quality=12345.6,
        metric="frechet_distance",
        higher_is_better=False,
        references={"real against real": 1.25},
    )
    page = show(run, tmp_path)
    body = " ".join(page.text)
    assert "the dense model reaches 12\N{NARROW NO-BREAK SPACE}346 test frechet distance with seed 0" in body
    assert "higher (worse) than real against real (1.250)" in body
    assert "lower is better" in body
    assert "%" not in "".join(cell for row in page.tables["table-quality"] for cell in row)
