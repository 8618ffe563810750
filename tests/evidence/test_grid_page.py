"""Grids of learning rate and epsilon on the page of a sweep and in its verdict."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from paretorch.evidence.comparison import findings, workloads_of
from paretorch.evidence.records import RunRecord
from paretorch.evidence.report import write_report
from paretorch.evidence.report.style import CARD, marks
from paretorch.evidence.statistics import mean_interval
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
        "On digits, the best of 3 optimizers by validation is AvaGrad lr 1 eps 0.01 (level with Adam lr 0.1 eps 0.01), "
        "one of 9 settings: it reaches 91.0 % (± 0.3, 3 seeds, low-n) test accuracy against the dense model's 85.1 %"
    )
    assert "5.9 points more than dense (95 % interval" in sentences[0]
    assert sentences[0].endswith("; chosen among 9 settings against 1, 18 epochs for all settings against 2.")
    assert closing(records()) == sentences[:1]
    assert sentences[0] in " ".join(page.text)


def test_the_verdict_says_what_validation_chooses_of_every_other_optimizer_beside_the_best() -> None:
    (adam,) = [sentence for sentence in verdict(records()) if sentence.startswith("Of Adam")]
    assert "validation chooses Adam lr 0.1 eps 0.01, one of 10 settings, 1 of which did not end well: it" in adam
    assert adam.endswith("; chosen among 10 settings against 9, 20 epochs for all settings against 18.")
    assert "the same as AvaGrad lr 1 eps 0.01 on average" in adam
    assert "no difference can be claimed" in adam
    (sgd,) = [sentence for sentence in verdict(records()) if sentence.startswith("Of SGD")]
    assert "points less than AvaGrad lr 1 eps 0.01 (95 % interval" in sgd
    assert sgd.endswith("; chosen among 3 settings against 9, 6 epochs for all settings against 18.")


def test_the_verdict_says_how_the_best_rate_moves_what_equal_trials_reach_and_what_failed() -> None:
    sentences = verdict(records())
    assert (
        "AvaGrad: at 3 epsilons from 0.01 to 100, validation chooses the learning rate 1 of the 3 tried each time; all "
        "others are worse (paired intervals, 95 % for all comparisons of rates together, 3 seeds, low-n)."
    ) in sentences
    assert (
        "AvaGrad: 5 trials, the rates at one eps and then each eps at the best of them, choose the same setting as all "
        "9, whichever eps they start from."
    ) in sentences
    moves, search = [sentence for sentence in sentences if sentence.startswith("Adam: ")]
    assert (
        "lie between 0.1 and 10, 2 decades apart; some are ends of the grid, and a better rate may lie outside; a "
        "movement over at least 2 decades can be claimed (paired intervals, 95 % for all"
    ) in moves
    assert search.startswith("Adam: 5 to 6 trials, ")
    low = [run for run in records() if run.group.get("eps") != 0.01]
    low += [
        replace(run, validation=run.validation - 0.3, quality=run.quality - 0.3)
        for run in valley("Adam", follows=True)
        if run not in low and run.validation is not None and run.quality is not None
    ]
    low = [run for run in low if run.group.get("optimizer") == "Adam"]
    search = verdict(low)[-1]
    assert "choose the same setting as all 9 from 1 of 3; from eps 0.01, the worst start by validation, they" in search
    assert "Adam lr 0.1 eps 1, which reaches 70.8 % (± 0.3, 3 seeds, low-n) test accuracy, 20.2 points less" in search
    (tuning,) = [sentence for sentence in sentences if sentence.startswith("The best of 3 settings drawn at random")]
    assert tuning.index("AvaGrad") < tuning.index("Adam") < tuning.index("SGD")
    assert (
        "3 of 66 trainings did not end well and count as the worst there is: Adam lr 100 eps 0.01-s0, Adam lr 100 eps "
        "0.01-s1 and Adam lr 100 eps 0.01-s2."
    ) in sentences
    said = " ".join(sentences)
    for wrong in ("sparsest", "compressed", "left out of every mean"):
        assert wrong not in said


def test_a_heat_map_holds_the_means_of_validation_data_and_rings_the_rates_that_validation_chose(page: Page) -> None:
    figures = page.figures()
    heat, rings, crosses = figures["grid-1"]["data"]
    assert heat["x"] == ["0.1", "1", "10", "100"]
    assert heat["y"] == ["0.01", "1", "100"]
    assert heat["z"][0] == [pytest.approx(90.1), pytest.approx(70.1), pytest.approx(50.1), None]
    assert heat["z"][1][3] is None  # not run
    assert "validation accuracy: %{z}" in heat["hovertemplate"]
    assert heat["colorbar"]["title"]["text"] == "validation accuracy (%)"
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
    assert heat["z"] == [[pytest.approx(2.05), pytest.approx(1.05)]]


def test_the_tuning_curves_end_at_the_best_of_all_settings_and_the_cost_of_all(page: Page) -> None:
    avagrad, adam, sgd = page.figures()["tuning"]["data"]
    assert [trace["x"][-1] for trace in (avagrad, adam, sgd)] == [2 * 9, 2 * 10, 2 * 3]
    assert avagrad["y"][-1] == pytest.approx(90.1)
    assert sgd["y"] == pytest.approx([70, (70 + 80 + 80) / 3, 80])
    assert avagrad["y"] == sorted(avagrad["y"])
    half = mean_interval([90.0, 90.1, 90.2]).half_width
    assert avagrad["error_y"]["array"][-1] == pytest.approx(half, rel=1e-3)


def test_the_tables_hold_best_rates_and_expected_bests(page: Page) -> None:
    head, *rows = page.tables["table-best-rates"]
    assert head[:4] == ["optimizer", "eps", "seeds", "best lr"]
    assert [row[:4] for row in rows[:2]] == [["AvaGrad", eps, "3, low-n", "1"] for eps in ("0.01", "1")]
    for column in (-3, -2):  # all of the movement can be claimed
        assert [row[column] for row in rows] == ["0"] * 3 + ["2"] * 3 + ["\N{EN DASH}"]
    assert rows[0][4] == "1"
    assert [row[-1] for row in rows[:3]] == ["90.1 ± 0.2"] * 3
    assert rows[-1][-1] == "\N{EN DASH}"
    head, *rows = page.tables["table-tuning"]
    assert head == [
        *("optimizer", "settings", "seeds", "epochs of a trial", "runs that did not end well", "one trial"),
        *("best of 2", "best of 4", "best of 8"),
    ]
    assert rows[2] == ["SGD", "3", "3, low-n", "2", "0", "70.0 ± 0.0", "76.7 ± 0.0", "\N{EN DASH}", "\N{EN DASH}"]


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
    assert "On digits, AvaGrad lr 1 eps 0.1, the only setting that was tried, reaches 90.9 %" in " ".join(page.text)


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


def test_long_names_of_arms_take_lines_and_no_figures_in_the_terminal() -> None:
    name = "shared 2 templates 4 epochs groups " + ", ".join(f"stage-{number}" for number in range(20))
    runs = [*dense(), *(replace(run, run_id=f"x{run.seed}", arm=name) for run in point("SGD", 1.0, None, [0.4] * 3))]
    out = io.StringIO()
    print_front(runs, Console(file=out, width=100))
    lines = out.getvalue().splitlines()
    assert "".join(line.strip() for line in lines).count("stage-19") == 1
    (row,) = [line for line in lines if "shared 2 templates" in line]
    gap = mean_interval([0.404 - quality for quality in (0.85, 0.851, 0.852)])
    assert f"{100 * gap.mean:.1f}".replace("-", "\N{MINUS SIGN}") in row
    assert "40.4" in row


def test_an_optimizer_with_one_setting_does_not_hide_what_tuning_reaches_with_the_others() -> None:
    tuned = [*valley("AvaGrad", follows=False), *valley("Adam", follows=True)]
    (expected,) = [sentence for sentence in verdict(tuned) if sentence.startswith("The best of 4 settings drawn")]
    (found,) = [
        sentence
        for sentence in verdict([*tuned, *point("SGD", 1.0, None, [0.5] * 3)])
        if sentence.startswith("The best of 4 settings drawn")
    ]
    assert found == expected


@pytest.mark.parametrize("factors", [{"optimizer": "kept"}, {"optimizer": "kept", "lr": 0.05}])
def test_a_pruned_arm_that_kept_its_optimizer_is_reported_as_pruned(tmp_path: Path, factors: Any) -> None:
    group = {"method": "IMP LLR", "sparsity": 0.9, "epochs": 1.0, **factors}
    pruned = [replace(run, run_id=f"p{run.seed}", arm="IMP", group=group, quality=0.8) for run in dense()]
    page_of([*dense(), *pruned], tmp_path)
    first = verdict([*dense(), *pruned])[0]
    assert first.startswith("On digits, the sparsest arm")
    assert "IMP LLR (optimizer kept" in first


def test_trainings_of_unequal_length_are_said_to_be_so() -> None:
    def longer(run: RunRecord) -> RunRecord:
        return replace(run, phases=[{**run.phases[0], "epochs": 3.0}])

    runs = [*valley("AvaGrad", follows=False), *map(longer, valley("Adam", follows=True))]
    (adam,) = [sentence for sentence in verdict(runs) if sentence.startswith("Of Adam")]
    assert adam.endswith("; trained for 3 epochs against 2, 27 epochs for all settings against 18.")
    (tuning,) = [sentence for sentence in verdict(runs) if sentence.startswith("The best of 4 settings drawn")]
    assert tuning.endswith(". So many trainings take 8 epochs with AvaGrad and 12 epochs with Adam.")
    equal = verdict([*valley("AvaGrad", follows=False), *valley("Adam", follows=True)])
    assert "against 18" not in " ".join(equal)
    assert "So many" not in " ".join(equal)


def test_a_best_rate_at_the_end_of_the_grid_or_of_one_seed_is_not_said_to_stay() -> None:
    def said(seeds: int, rates: tuple[float, ...]) -> str:
        runs = [
            run
            for rate in rates
            for epsilon in (0.01, 1.0)
            for run in point("Adam", rate, epsilon, [0.9 - abs(rate - 1) / 20 + 0.001 * seed for seed in range(seeds)])
        ]
        return next((found for found in verdict(runs) if found.startswith("Adam: at 2 epsilons")), "")

    assert "is not known; all others are worse (paired intervals, 95 % for" in said(3, (1.0, 10.0))
    assert "end of the grid" not in said(3, (0.1, 1.0, 10.0))
    assert said(1, (0.1, 1.0, 10.0)).endswith("; one seed gives no interval, so nothing can be claimed of it.")
    assert said(3, (1.0,)) == ""


def test_a_movement_within_the_noise_is_not_claimed() -> None:
    runs = [
        run
        for rate in RATES
        for epsilon in (0.01, 1.0)
        for run in point("Adam", rate, epsilon, [0.9, 0.8, 0.7] if (rate, epsilon) != (1.0, 1.0) else [0.7, 0.8, 0.95])
    ]
    (moves,) = [sentence for sentence in verdict(runs) if sentence.startswith("Adam: at")]
    assert "lie between 0.1 and 1, 1 decade apart; some are ends" in moves
    assert "; one rate cannot be told from the best at any of them, so no movement can be claimed (" in moves


def test_no_sentence_holds_a_number_that_is_none(tmp_path: Path) -> None:
    loss: dict[str, Any] = {"metric": "nll", "higher_is_better": False}
    runs = [
        *(run for rate in RATES for run in point("SGD", rate, None, [rate, rate + 0.1], **loss)),
        *point("Adam", 0.1, 1.0, [2.0, 2.1], **loss),
        *(run for rate in (1.0, 10.0, 100.0) for run in point("Adam", rate, 1.0, [2.0, None], **loss)),
    ]
    (tuning,) = [sentence for sentence in verdict(runs) if sentence.startswith("The best of 3 settings")]
    assert tuning.endswith("; Adam nothing finite, since 3 settings may all be trainings that did not end well.")
    page = page_of(runs, tmp_path)
    cells = [cell for table in page.tables.values() for row in table for cell in row]
    words = " ".join([*verdict(runs), *cells]).replace("(", " ").replace(",", " ").split()
    assert not {"inf", "nan", "-inf", "None"} & set(words)
    assert page.tables["table-tuning"][2][5:] == ["not finite", "not finite", "2.050 ± 0.64"]


def test_the_cost_of_a_chosen_setting_is_that_of_its_whole_grid(page: Page, tmp_path: Path) -> None:
    head, *rows = page.tables["table-cost"]
    assert {row[0]: row[head.index("training epochs, all phases")] for row in rows} == {
        "dense": "2", "AvaGrad lr 1 eps 0.01": "18", "Adam lr 0.1 eps 0.01": "20", "SGD lr 10": "6"
    }  # fmt: skip
    assert "charged for all trainings of the grid" in " ".join(page.text)
    found = write_report({"a": records(), "b": dense()}, tmp_path / "r.html", command="c")
    both = Page(found.read_text(encoding="utf-8"))
    (training,) = [drawn for key, drawn in both.figures().items() if key.endswith("training-0")]
    marks_at = {trace["name"]: trace["x"][0] for trace in training["data"] if trace.get("text")}
    assert {name: round(at) for name, at in marks_at.items()} == {
        "dense": 2, "AvaGrad lr 1 eps 0.01": 18, "Adam lr 0.1 eps 0.01": 20, "SGD lr 10": 6
    }  # fmt: skip
    text = " ".join(both.text)
    assert text.count("charged for all trainings of the grid") == 2  # the panel of the grids and the table of costs
    assert both.tables["table-glance"][1][4] == "AvaGrad lr 1 eps 0.01"


def test_the_joint_front_of_folders_holds_no_point_that_validation_did_not_choose() -> None:
    def sized(runs: list[RunRecord]) -> list[RunRecord]:
        return [replace(run, cost={"nonzeros": 100.0}) for run in runs]

    grid = sized(valley("Adam", follows=True))
    lucky = [replace(run, quality=0.99) if run.group["lr"] == 10 and run.group["eps"] == 0.01 else run for run in grid]
    better = [replace(run, quality=0.95, run_id=f"b{run.seed}") for run in sized(dense())]
    (workload,) = workloads_of({"a": lucky, "b": better})
    assert findings(workload)[-1].endswith(
        "holds 1 arm: 0 from a and 1 from b; of every optimizer's grid it knows the setting that validation chose."
    )


def test_points_of_a_grid_do_not_say_what_still_counts_for_the_fronts_of_others() -> None:
    def front(method: str, away: float) -> list[RunRecord]:
        return [
            replace(
                run,
                run_id=f"{method} {level} {run.seed}",
                arm=f"{method} {level}",
                group={"method": method, "sparsity": level},
                quality=0.9 - away - level / 10 - run.seed / 1000 * (1 + away),
                cost={"nonzeros": 1000 * (1 - level)},
            )
            for level in (0.5, 0.7, 0.9)
            for run in dense()
        ]

    runs = [replace(run, cost={"nonzeros": 1000.0}) for run in dense()] + front("IMP", 0.0) + front("GMP", 0.02)
    (alone,) = [sentence for sentence in verdict(runs) if "the front of GMP covers" in sentence]
    assert alone in verdict([*runs, *valley("Adam", follows=True)])


def test_notes_of_runs_that_diverged_are_shown_once_and_not_for_every_point(tmp_path: Path) -> None:
    runs = records()
    lost = [run for run in runs if run.status == "diverged"]
    for run in lost:
        run.notes.append(f"diverged: the last good state is in runs/{run.run_id}/current")
    page = page_of(runs, tmp_path)
    (note,) = [text for text in page.text if "the last good state is in" in text]
    assert (
        note.strip()
        == f"diverged: the last good state is in runs/{lost[0].run_id}/current (3 runs; the first is named)"
    )
