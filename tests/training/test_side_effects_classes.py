"""Change by class, disagreement and calibration, against loops over the examples and closed forms."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from paretorch.training.side_effects.calibration import expected_calibration_error
from paretorch.training.side_effects.disagreement import disagreement
from paretorch.training.side_effects.per_class import per_class

ROWS = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=60)
SURE = st.lists(st.tuples(st.floats(1e-6, 1.0), st.booleans()), min_size=1, max_size=80)


def columns(rows: list[tuple[int, int, int]]) -> tuple[Tensor, Tensor, Tensor]:
    labels, dense, candidate = torch.tensor(rows).T
    return labels, dense, candidate


@given(ROWS)
def test_accuracies_by_class_are_those_of_a_loop_over_the_examples(rows: list[tuple[int, int, int]]) -> None:
    labels, dense, candidate = columns(rows)
    found = per_class(labels, dense=dense, candidate=candidate, names=["a", "b", "c"])
    occurring = sorted({label for label, _, _ in rows})
    table = found["per_class"]
    assert table["labels"] == ["abc34"[k] for k in occurring], "classes beyond the names are called by their number"
    for place, k in enumerate(occurring):
        mine = [row for row in rows if row[0] == k]
        assert table["counts"][place] == len(mine)
        assert table["dense"][place] == pytest.approx(sum(d == k for _, d, _ in mine) / len(mine))
        assert table["candidate"][place] == pytest.approx(sum(c == k for _, _, c in mine) / len(mine))
        assert table["lost"][place] == sum(d == k != c for _, d, c in mine)
        assert table["gained"][place] == sum(c == k != d for _, d, c in mine)
    changes = [after - before for before, after in zip(table["dense"], table["candidate"], strict=True)]
    assert found["worst_class"]["change"] == pytest.approx(min(changes))
    assert changes[table["labels"].index(found["worst_class"]["label"])] == pytest.approx(min(changes))


@given(ROWS)
def test_accuracies_by_class_average_to_the_accuracy_of_all_examples(rows: list[tuple[int, int, int]]) -> None:
    labels, dense, candidate = columns(rows)
    found = per_class(labels, dense=dense, candidate=candidate)
    table = found["per_class"]
    for name, answers in (("dense", dense), ("candidate", candidate)):
        weighted = sum(a * n for a, n in zip(table[name], table["counts"], strict=True)) / len(rows)
        assert weighted == pytest.approx(float((answers == labels).double().mean()))
    accuracies = [float((answers == labels).double().mean()) for answers in (candidate, dense)]
    assert found["mean_change"] == pytest.approx(accuracies[0] - accuracies[1])


def test_first_of_two_classes_that_lose_equally_is_named() -> None:
    labels = torch.tensor([7, 7, 2, 2, 5])
    found = per_class(labels, dense=labels, candidate=torch.tensor([7, 0, 2, 0, 5]))
    assert found["worst_class"] == {"label": "2", "change": -0.5}


@given(ROWS)
def test_disagreement_counts_differing_answers_and_bounds_the_difference_of_accuracies(
    rows: list[tuple[int, int, int]],
) -> None:
    labels, dense, candidate = columns(rows)
    found = disagreement(dense, candidate)
    assert found["rate"] == pytest.approx(sum(d != c for _, d, c in rows) / len(rows))
    assert found == disagreement(candidate, dense)
    assert found["rate"] >= abs(float((dense == labels).double().mean() - (candidate == labels).double().mean())) - 1e-9


@given(st.integers(1, 400), st.data())
def test_interval_of_the_disagreement_is_wilsons(n: int, data: st.DataObject) -> None:
    """Closed form: (p + z^2/2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2/n), z = 1.959964."""
    k = data.draw(st.integers(0, n))
    found = disagreement(torch.zeros(n), (torch.arange(n) < k).float())
    z, p = 1.959963984540054, k / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert found["low"] == pytest.approx((middle - half) / (1 + z * z / n), abs=1e-9)
    assert found["high"] == pytest.approx((middle + half) / (1 + z * z / n), abs=1e-9)
    assert 0 <= found["low"] <= found["rate"] <= found["high"] <= 1


def test_interval_widens_with_the_confidence() -> None:
    answers = torch.zeros(50), (torch.arange(50) < 10).float()
    assert disagreement(*answers, confidence=0.99)["high"] > disagreement(*answers)["high"]


@given(SURE, st.integers(1, 20))
def test_calibration_error_is_that_of_a_loop_over_the_bins(rows: list[tuple[float, bool]], bins: int) -> None:
    confidence, correct = torch.tensor([c for c, _ in rows], dtype=torch.float64), torch.tensor([r for _, r in rows])
    by_hand = 0.0
    for b in range(bins):
        inside = [(c, r) for c, r in rows if b / bins < c <= (b + 1) / bins]
        if inside:
            accuracy = sum(r for _, r in inside) / len(inside)
            mean = sum(c for c, _ in inside) / len(inside)
            by_hand += len(inside) / len(rows) * abs(accuracy - mean)
    assert expected_calibration_error(confidence, correct, bins=bins) == pytest.approx(by_hand, abs=1e-12)


def test_model_that_is_right_as_often_as_it_says_has_no_calibration_error() -> None:
    """In each of four bins the share of right answers is the confidence."""
    confidence = torch.tensor([0.25] * 4 + [0.5] * 4 + [0.75] * 4 + [1.0] * 4, dtype=torch.float64)
    correct = torch.tensor([True] + [False] * 3 + [True, True, False, False] + [True] * 3 + [False] + [True] * 4)
    assert expected_calibration_error(confidence, correct) == pytest.approx(0.0, abs=1e-15)
    assert expected_calibration_error(confidence, ~correct) == pytest.approx((0.5 + 0.0 + 0.5 + 1.0) / 4)


@pytest.mark.parametrize(("confidence", "share", "expected"), [(1.0, 0, 1.0), (0.9, 5, 0.4), (0.6, 10, 0.4)])
def test_calibration_error_within_one_bin_is_the_gap(confidence: float, share: int, expected: float) -> None:
    sure = torch.full((10,), confidence, dtype=torch.float64)
    assert expected_calibration_error(sure, torch.arange(10) < share) == pytest.approx(expected)


def test_upper_end_belongs_to_a_bin_and_gaps_of_one_bin_cancel() -> None:
    """At 1/15 exactly the first bin is meant: together with 0.05 there, apart from 0.07 in the next."""
    edge = 1 / 15
    correct = torch.tensor([True, False])
    together = expected_calibration_error(torch.tensor([edge, 0.05], dtype=torch.float64), correct)
    apart = expected_calibration_error(torch.tensor([edge, 0.07], dtype=torch.float64), correct)
    assert together == pytest.approx(abs(1 - edge - 0.05) / 2)
    assert apart == pytest.approx((1 - edge + 0.07) / 2)
