"""Spelling of numbers: percentages for fractions, four significant digits for anything else, never a unit invented."""
# ruff: noqa: RUF001  (words use typographic minus signs)

import pytest

from paretorch.evidence.statistics import Interval
from paretorch.evidence.words import Metric, plain, setting

SPACE = "\N{NARROW NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (1.2, "1.200"),
        (0.0123456, "0.01235"),
        (412.26, "412.3"),
        (999.97, "1000"),
        (1234.5, "1234"),
        (12345.6, f"12{SPACE}346"),
    ],
)
def test_losses_and_distances_have_four_significant_digits(value, text):
    metric = Metric("frechet_distance", higher_is_better=False)
    assert metric.value(value) == metric.number(value) == text


def test_short_numbers_lose_their_trailing_zeros():
    assert [plain(1.5), plain(2.0, digits=3), plain(123.4, digits=2)] == ["1.5", "2", "123"]


def test_fractions_are_percentages_and_other_metrics_are_not():
    interval = Interval(0.5, 0.4, 0.6, 3)
    assert Metric("balanced_accuracy", higher_is_better=True).mean(interval) == "50.0 % (± 10.0, 3 seeds, low-n)"
    assert Metric("nll", higher_is_better=False).mean(interval) == "0.5000 (± 0.10, 3 seeds, low-n)"


def test_direction_and_names_read_as_words():
    metric = Metric("frechet_distance", higher_is_better=False)
    assert (metric.name, metric.axis, metric.direction) == ("frechet distance",) * 2 + ("lower is better",)
    assert metric.difference(-0.1234) == "0.123 lower (better)"
    assert metric.signed(Interval(-0.1234, -0.2, -0.05, 3)) == "−0.123 (−0.2 to −0.05)"
    assert metric.better(1.0, 2.0)
    assert Metric("accuracy", higher_is_better=True).better(2.0, 1.0)


def test_settings_read_as_words_and_whole_numbers_lose_their_point():
    group = {"sparsity": 0.9, "epochs": 2.0, "elastic epochs": 20.0, "allocation": "erk", "tuned": True}
    assert setting(group) == "90 % sparsity, 2 retraining epochs, elastic epochs 20, allocation erk and tuned True"
