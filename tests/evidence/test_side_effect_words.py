"""Sentences about what compression broke, and the means over seeds behind them."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from paretorch.evidence.side_effect_quantities import (
    affected,
    class_changes,
    corruption_changes,
    domain_changes,
    mean_effect,
    worst,
)
from paretorch.evidence.side_effect_words import collapse_warning, side_effect_sentences
from tests.evidence.side_effect_runs import of_classes, of_texts, run


def counts(rows: list[tuple[int, int, int]]) -> dict[str, Any]:
    """Effects of classes given as (examples, lost, gained)."""
    n = sum(count for count, _, _ in rows)
    changes = [(gained - lost) / count for count, lost, gained in rows]
    place = min(range(len(rows)), key=lambda i: changes[i])
    return {
        "per_class": {
            "labels": [f"c{i}" for i in range(len(rows))],
            "dense": [lost / count for count, lost, _ in rows],
            "candidate": [gained / count for count, _, gained in rows],
            "counts": [count for count, _, _ in rows],
            "lost": [lost for _, lost, _ in rows],
            "gained": [gained for _, _, gained in rows],
        },
        "worst_class": {"label": f"c{place}", "change": changes[place]},
        "mean_change": sum(gained - lost for _, lost, gained in rows) / n,
    }


ROW = st.integers(1, 300).flatmap(
    lambda count: st.integers(0, count).flatmap(
        lambda lost: st.integers(0, count - lost).map(lambda gained: (count, lost, gained))
    )
)


@given(st.lists(ROW, min_size=1, max_size=8))
def test_warning_is_due_exactly_where_the_mean_holds_and_a_class_loses_more_than_five_points(
    rows: list[tuple[int, int, int]],
) -> None:
    """In whole numbers, so that no rounding decides."""
    fallen, n = sum(lost - gained for _, lost, gained in rows), sum(count for count, _, _ in rows)
    due = 100 * fallen <= n and any(20 * (lost - gained) > count for count, lost, gained in rows)
    warning = collapse_warning(counts(rows))
    assert (warning is not None) == due
    if warning is not None:
        assert warning.startswith("the mean hides a loss: class 'c")


def test_warning_names_class_counts_and_the_weight_of_one_example() -> None:
    warning = collapse_warning(counts([(25, 3, 1), (1000, 0, 0)]))
    assert warning == (
        "the mean hides a loss: class 'c0' falls from 12.0 % to 4.0 % on its 25 test examples (3 newly wrong, 1 newly "
        "right), while the accuracy over all changes by \N{MINUS SIGN}0.2 points; with 25 examples, one of them is 4.0 "
        "points"
    )
    many = collapse_warning(counts([(100, 6, 0), (1000, 0, 0)]))
    assert many is not None
    assert "one of them" not in many


def test_effects_without_classes_give_no_warning() -> None:
    assert collapse_warning({}) is None
    assert collapse_warning(of_texts()) is None


def test_changes_are_paired_over_seeds_with_students_interval() -> None:
    runs = [run(of_classes(cat), seed=i) for i, cat in enumerate((0.80, 0.86, 0.74))]
    cat, dog = class_changes(runs)
    assert (cat.name, cat.examples, cat.change.n) == ("cat", 200, 3)
    assert cat.dense.mean == pytest.approx(0.9)
    assert cat.change.mean == pytest.approx(-0.1)
    assert cat.change.half_width == pytest.approx(t.ppf(0.975, 2) * 0.06 / math.sqrt(3))
    assert dog.change.mean == pytest.approx(0.0)
    assert worst([dog, cat]) is cat
    assert worst([dog, cat], higher_is_better=False) is dog


def test_corruptions_and_texts_are_averaged_under_their_names() -> None:
    noise, blur = corruption_changes([run(of_classes()), run(of_classes(), seed=1)])
    assert (noise.name, blur.name) == ("noise 1", "blur 3")
    assert blur.change.mean == pytest.approx(-0.3)
    part, law = domain_changes([run(of_texts(3.0)), run(of_texts(4.0), seed=1)])
    assert (part.examples, law.examples) == (1000, 300)
    assert law.change.mean == pytest.approx(1.0)
    assert class_changes([run(of_texts())]) == corruption_changes([run(of_texts())]) == []
    assert domain_changes([run(of_classes())]) == []


def test_failed_runs_and_those_that_say_nothing_are_passed_over() -> None:
    runs = [run(of_classes()), run(of_classes(0.2), seed=1, status="diverged"), run({}, seed=2)]
    assert [one.seed for one in affected(runs)] == [0]
    assert class_changes(runs)[0].change.mean == pytest.approx(-0.1)
    mean = mean_effect(runs, "calibration", "candidate")
    assert mean is not None
    assert (mean.mean, mean.n) == (0.043, 1)
    assert mean_effect(runs, "kl") is None
    assert mean_effect(runs, "mean_change", "rate") is None
    assert side_effect_sentences({"a": [runs[2]]}) == []


def test_sentences_of_one_run_give_the_interval_over_its_examples() -> None:
    (sentence,) = side_effect_sentences({"ALLR": [run(of_classes())]})
    assert sentence == (
        "ALLR, against its dense model: 10.0 % (95 % interval over the examples 8.0 to 13.0, 1 seed, low-n) of the "
        "test examples get another class; of 2 classes, 'cat' changes most for the worse, by \N{MINUS SIGN}10.0 points "
        "on 200 examples, all together by \N{MINUS SIGN}5.0; the calibration error goes from 2.1 % to 4.3 %; of 2 "
        "corruptions, blur 3 changes the accuracy most for the worse, by \N{MINUS SIGN}30.0 points."
    )


def test_sentences_of_several_runs_give_intervals_over_seeds_and_every_warning() -> None:
    runs = [run(of_classes(0.8, rate=r, warnings=("hidden",) if i else ()), seed=i) for i, r in enumerate((0.1, 0.2))]
    first, second = side_effect_sentences({"ALLR": runs})
    assert first.startswith("ALLR, against its dense model: 15.0 % (± 63.5, 2 seeds, low-n) of the test examples")
    assert second == "Warning, ALLR, seed 1: hidden."


def test_no_class_is_called_worse_when_none_is() -> None:
    (sentence,) = side_effect_sentences({"ALLR": [run(of_classes(0.9, 0.95))]})
    assert "of 2 classes" not in sentence


def test_sentences_about_texts_name_the_one_that_suffers_most() -> None:
    (sentence,) = side_effect_sentences({"IMP": [run(of_texts(3.0))]})
    assert sentence == (
        "IMP, against its dense model: of 2 texts, the loss changes most for the worse on law, by +0.5 nats per token; "
        "the divergence from the dense model is 0.1250 (1 seed, low-n) nats per token."
    )
