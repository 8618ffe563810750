"""References: the line in the front, the sentence beside it, and the arms that do not beat them."""

from dataclasses import replace

import pytest

from paretorch.evidence.arms import arms_of, baseline_of
from paretorch.evidence.reference_words import reference_sentences, references_of
from paretorch.evidence.report import write_report
from paretorch.evidence.verdict import verdict
from tests.evidence.test_report import Page


def told(runs):
    arms = arms_of(runs)
    return reference_sentences(arms, baseline_of(arms))


def test_references_are_named_and_the_dense_model_is_set_beside_each(sweep):
    runs = [replace(run, references={"linear": 0.9, "majority": 0.1}) for run in sweep()]
    sentences = told(runs)
    assert sentences[0] == (
        "On the same test data, without any of these models: linear 90.0 % and majority 10.0 % (higher is better)."
    )
    assert sentences[1] == "The dense model is 7.0 points more (95 % interval 6.5 to 7.5 over 3 seeds) than linear."
    assert sentences[2] == "2 arms are no better than linear, by the means: IMP FT 98% and IMP ALLR 98%."
    assert len(sentences) == 4  # every arm beats the majority
    assert all(sentence in verdict(runs) for sentence in sentences)


def test_no_difference_is_claimed_to_a_reference_without_an_interval_that_excludes_it(sweep):
    runs = [replace(run, references={"linear": 0.9}) for run in sweep() if run.seed == 0]
    assert "(one seed gives no interval, so no difference can be claimed) than linear." in told(runs)[1]
    dense = [run.quality for run in sweep() if run.is_baseline]
    runs = [replace(run, references={"linear": sum(dense) / len(dense) - 0.001}) for run in sweep()]
    assert "over 3 seeds contains 0: no difference can be claimed) than linear." in told(runs)[1]


def test_a_floor_that_no_model_reaches_is_not_held_against_the_arms(sweep):
    runs = [
        replace(
            run, metric="frechet_distance", higher_is_better=False, quality=50 - run.quality, references={"floor": 1}
        )
        for run in sweep()
    ]
    assert len(told(runs)) == 2
    assert "higher (worse)" in told(runs)[1]


def test_without_references_nothing_is_said(sweep):
    assert told(sweep()) == []


def test_a_reference_that_differs_between_runs_is_averaged(sweep):
    runs = [replace(run, references={"linear": 0.9 + 0.01 * run.seed}) for run in sweep()]
    assert references_of(arms_of(runs)) == {"linear": pytest.approx(0.91)}


def test_near_references_are_drawn_and_far_ones_are_named(sweep, tmp_path):
    runs = [replace(run, references={"linear": 0.9, "majority": 0.1}) for run in sweep()]
    text = write_report(runs, tmp_path / "r.html", command="c").read_text(encoding="utf-8")
    traces = {trace["name"]: trace for trace in Page(text).figures()["size"]["data"]}
    assert traces["linear 90.0 %"]["y"] == [90, 90]
    assert not any("majority" in name for name in traces)
    assert "Too far off to be drawn: majority 10.0 %." in text


def test_the_gap_to_the_training_examples_gets_a_column_where_it_is_known(sweep, tmp_path):
    runs = [replace(run, train_quality=run.quality + 0.02) for run in sweep()]
    text = write_report(runs, tmp_path / "r.html", command="c").read_text(encoding="utf-8")
    head, dense, *_ = Page(text).tables["table-quality"]
    assert head[-1] == "training minus test (points), 95 % interval"
    assert dense[-1] == "+2.0 (2.0 to 2.0)"
