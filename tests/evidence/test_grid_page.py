"""Grids of learning rate and epsilon on the page of a sweep and in its verdict."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from paretorch.evidence.records import RunRecord
from paretorch.evidence.report import write_report
from paretorch.evidence.report.style import CARD, marks
from paretorch.evidence.terminal import print_front
from paretorch.evidence.verdict import closing, verdict
from tests.evidence.grids import RATES, dense, point, valley
from tests.evidence.test_report import Page


def records() -> list[RunRecord]:
    """A grid that stays, one that follows with a rate that diverged, and SGD without epsilon."""
    return [
        *dense(),
        *valley("AvaGrad", follows=False),
        *valley("Adam", follows=True),
        *point("Adam", 100.0, 0.01, [None, None, None]),
        *(run for i, rate in enumerate(RATES) for run in point("SGD", rate, None, [0.6 + 0.1 * i] * 3)),
    ]


def page_of(runs: list[RunRecord], folder: Path) -> Page:
    return Page(write_report(runs, folder / "r.html", command="c").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(records(), tmp_path_factory.mktemp("grids"))


def test_the_verdict_begins_with_the_best_setting_and_says_of_how_many(page: Page) -> None:
    sentences = verdict(records())
    assert sentences[0].startswith(
        "On digits, the best of 3 optimizers by validation is AvaGrad lr 1 eps 0.01, one of 9 settings: it reaches "
        "91.0 % (± 0.3, 3 seeds, low-n) test accuracy against the dense model's 85.1 %"
    )
    assert "5.9 points more than dense (95 % interval" in sentences[0]
    assert closing(records()) == sentences[:1]
    assert sentences[0] in " ".join(page.text)


def test_the_verdict_says_what_validation_chooses_of_every_other_optimizer_beside_the_best() -> None:
    (adam,) = [sentence for sentence in verdict(records()) if sentence.startswith("Of Adam")]
    assert "validation chooses Adam lr 0.1 eps 0.01, one of 10 settings" in adam
    assert "the same as AvaGrad lr 1 eps 0.01 on average" in adam
    assert "no difference can be claimed" in adam
    (sgd,) = [sentence for sentence in verdict(records()) if sentence.startswith("Of SGD")]
    assert "points less than AvaGrad lr 1 eps 0.01 (95 % interval" in sgd


def test_the_verdict_says_how_the_best_rate_moves_what_equal_trials_reach_and_what_failed() -> None:
    sentences = verdict(records())
    assert (
        "AvaGrad: from eps 0.01 to 100, the learning rate that validation chooses stays at 1. 5 trials, the rates at "
        "one eps and then each eps at the best of them, find a validation accuracy of 90.1 % whichever eps they start "
        "from; all 9 find 90.1 %."
    ) in sentences
    (adam,) = [sentence for sentence in sentences if sentence.startswith("Adam: from")]
    assert (
        "moves over 2 decades, between 0.1 and 10; some are ends of the grid, and a better rate may lie outside. 6 "
        "trials, "
    ) in adam
    low = [run for run in records() if run.group.get("eps") != 0.01]
    low += [replace(run, validation=run.validation - 0.3) for run in valley("Adam", follows=True) if run not in low]
    low = [run for run in low if run.group.get("optimizer") == "Adam"]
    (adam,) = [sentence for sentence in verdict(low) if sentence.startswith("Adam: from")]
    assert "find a validation accuracy of 70.1 % to 90.1 %, depending on the eps they start from; all 9" in adam
    (tuning,) = [sentence for sentence in sentences if sentence.startswith("The best of 3 settings drawn at random")]
    assert tuning.index("AvaGrad") < tuning.index("Adam") < tuning.index("SGD")
    assert (
        "3 of 66 trainings did not end well and count as the worst there is: Adam lr 100 eps 0.01-s0, Adam lr 100 eps "
        "0.01-s1 and Adam lr 100 eps 0.01-s2."
    ) in sentences
    said = " ".join(sentences)
    for wrong in ("sparsest", "compressed", "left out of every mean"):
        assert wrong not in said


def test_a_heat_map_holds_the_means_of_test_data_and_rings_the_rates_that_validation_chose(page: Page) -> None:
    figures = page.figures()
    heat, rings, crosses = figures["grid-1"]["data"]
    assert heat["x"] == ["0.1", "1", "10", "100"]
    assert heat["y"] == ["0.01", "1", "100"]
    assert heat["z"][0] == [pytest.approx(91.0, abs=0.01), pytest.approx(70.8, abs=0.01), pytest.approx(50.601), None]
    assert heat["z"][1][3] is None  # not run
    assert (rings["x"], rings["y"]) == (["0.1", "1", "10"], ["0.01", "1", "100"])
    assert (crosses["x"], crosses["y"]) == (["100"], ["0.01"])
    maps = [figures[f"grid-{number}"]["data"][0] for number in range(3)]
    assert len({(trace["zmin"], trace["zmax"]) for trace in maps}) == 1
    assert maps[0]["colorscale"] == [[0, CARD], [1, marks(0).colour]]
    assert maps[2]["y"] == ["not given"]


def test_the_dark_end_of_the_scale_is_the_better_one_for_a_loss_too(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"metric": "nll", "higher_is_better": False}
    runs = [*point("SGD", 0.1, None, [2.0, 2.1], **settings), *point("SGD", 1.0, None, [1.0, 1.1], **settings)]
    heat = page_of(runs, tmp_path).figures()["grid-0"]["data"][0]
    assert heat["colorscale"] == [[0, marks(0).colour], [1, CARD]]
    assert heat["z"] == [[pytest.approx(2.0705), pytest.approx(1.0605)]]


def test_the_tuning_curves_end_at_the_best_of_all_settings_and_the_cost_of_all(page: Page) -> None:
    avagrad, adam, sgd = page.figures()["tuning"]["data"]
    assert [trace["x"][-1] for trace in (avagrad, adam, sgd)] == [2 * 9, 2 * 10, 2 * 3]
    assert avagrad["y"][-1] == pytest.approx(90.1)
    assert sgd["y"] == pytest.approx([70, (70 + 80 + 80) / 3, 80])
    assert avagrad["y"] == sorted(avagrad["y"])


def test_the_tables_hold_best_rates_and_expected_bests(page: Page) -> None:
    head, *rows = page.tables["table-best-rates"]
    assert head[:3] == ["optimizer", "eps", "best lr"]
    assert [row[:3] for row in rows[:2]] == [["AvaGrad", "0.01", "1"], ["AvaGrad", "1", "1"]]
    assert [row[-2] for row in rows] == ["0"] * 3 + ["2"] * 3 + ["\N{EN DASH}"]
    assert rows[0][3] == "1"
    assert [row[-1] for row in rows[:3]] == ["90.1 ± 0.2"] * 3
    assert rows[-1][-1] == "\N{EN DASH}"
    head, *rows = page.tables["table-tuning"]
    assert head == [
        *("optimizer", "settings", "epochs of a trial", "runs that did not end well", "one trial"),
        *("best of 2", "best of 4", "best of 8"),
    ]
    assert rows[2] == ["SGD", "3", "2", "0", "70.0", "76.7", "\N{EN DASH}", "\N{EN DASH}"]


def test_the_page_lists_the_chosen_settings_and_every_run_and_draws_no_front(page: Page) -> None:
    assert [row[0] for row in page.tables["table-quality"][1:]] == [
        "dense", "AvaGrad lr 1 eps 0.01", "Adam lr 0.1 eps 0.01", "SGD lr 10"
    ]  # fmt: skip
    assert len(page.tables["table-runs"]) == 1 + len(records())
    assert set(page.figures()) == {"grid-0", "grid-1", "grid-2", "tuning"}
    assert "Fronts" not in " ".join(page.text)


def test_beside_compressed_arms_grids_leave_their_verdict_and_fronts_as_they_were(sweep: Any, tmp_path: Path) -> None:
    alone, both = sweep(), [*sweep(), *valley("Adam", follows=True)]
    said, mixed = verdict(alone), verdict(both)
    assert [sentence for sentence in mixed if sentence in said] == said
    assert mixed[0] == said[0]
    before, after = page_of(alone, tmp_path).figures(), page_of(both, tmp_path).figures()
    assert before["size"] == after["size"]
    assert before["training"] == after["training"]
    assert "grid-0" in after


def test_a_single_setting_is_no_grid_to_draw(tmp_path: Path) -> None:
    page = page_of([*dense(), *point("AvaGrad", 1.0, 0.1, [0.9, 0.9, 0.9])], tmp_path)
    assert "Learning rate and epsilon" not in " ".join(page.text)
    assert page.tables["table-quality"][2][0] == "AvaGrad lr 1 eps 0.1"
    assert "by validation is AvaGrad lr 1 eps 0.1, one of 1 setting:" in " ".join(page.text)


def test_where_no_setting_ended_well_it_is_said_and_nothing_is_drawn(tmp_path: Path) -> None:
    runs = [*dense(), *point("SGD", 1.0, None, [None] * 3), *point("SGD", 10.0, None, [None] * 3)]
    assert verdict(runs)[0] == "On digits, no setting of SGD ended well with every seed."
    assert page_of(runs, tmp_path).figures() == {}


def test_folders_side_by_side_show_the_chosen_settings(tmp_path: Path) -> None:
    found = write_report({"a": records(), "b": records()}, tmp_path / "r.html", command="c")
    page = Page(found.read_text(encoding="utf-8"))
    assert {row[0] for row in page.tables["table-w0-quality"][1:]} == {
        "dense", "AvaGrad lr 1 eps 0.01", "Adam lr 0.1 eps 0.01", "SGD lr 10"
    }  # fmt: skip


def test_the_terminal_lists_the_chosen_settings_and_counts_the_others() -> None:
    out = io.StringIO()
    print_front(records(), Console(file=out, width=200))
    text = out.getvalue()
    assert "AvaGrad lr 1 eps 0.01" in text
    assert "Adam lr 1 eps 0.01" not in text
    assert "19 points of the grids are not listed; they are in the report." in " ".join(text.split())


@pytest.mark.parametrize("factors", [{"optimizer": "kept"}, {"optimizer": "kept", "lr": 0.05}])
def test_a_pruned_arm_that_kept_its_optimizer_is_reported_as_pruned(tmp_path: Path, factors: Any) -> None:
    group = {"method": "IMP LLR", "sparsity": 0.9, "epochs": 1.0, **factors}
    pruned = [replace(run, run_id=f"p{run.seed}", arm="IMP", group=group, quality=0.8) for run in dense()]
    page_of([*dense(), *pruned], tmp_path)
    first = verdict([*dense(), *pruned])[0]
    assert first.startswith("On digits, the sparsest arm")
    assert "IMP LLR (optimizer kept" in first
