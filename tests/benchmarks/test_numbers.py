"""A figure is written with the digits that its spread allows."""

from typing import Any

import pytest

from paretorch.errors import InputError


def median(centre: float, low: float, high: float, unit: str, n: int = 7) -> dict[str, Any]:
    return {"median": centre, "low": low, "high": high, "n": n, "unit": unit}


@pytest.mark.parametrize(
    ("figure", "words", "text"),
    [
        (median(22.441, 20.99, 27.87, "x"), "", "22.4x"),
        (median(22.441, 20.99, 27.87, "x"), "full", "22.4x (21.0 to 27.9x)"),
        (median(22.441, 20.99, 27.87, "x"), "interval bare", "21.0 to 27.9"),
        (median(22.441, 20.99, 27.87, "x"), ".0", "22x"),
        (median(22.441, 20.99, 27.87, "x"), "n", "7"),
        (median(0.17684, 0.08113, 0.2126, "fraction"), "", "17.7 %"),
        (median(0.17684, 0.08113, 0.2126, "fraction"), "bare", "0.177"),
        (median(0.0043426, 0.0040611, 0.0045988, "s"), "ms full", "4.34 ms (4.06 to 4.60 ms)"),
        (median(90.0, 80.0, 130.0, "s"), "minutes", "1.50 minutes"),
        (median(89.202, 89.084, 89.320, "percentage points"), "percent spread", "89.20 \u00b1 0.12 %"),
        (median(0.917, 0.915, 0.919, "accuracy"), "percent", "91.70 %"),
        (
            median(-0.112, -0.1802, -0.0438, "percentage points"),
            "signed full",
            "-0.112 points (-0.180 to -0.044 points)",
        ),
        (median(-0.001, -0.2, 0.2, "points"), "", "0.00 points"),
        (median(12345.6, 11000.0, 14000.0, "images/s"), "", "12,346 images/s"),
        (median(2104128.0, 2104128.0, 2104128.0, "bytes", n=1), "", "2,104,128 bytes"),
        (median(2104128.0, 2104128.0, 2104128.0, "bytes", n=1), "MB", "2.104 MB"),
        ({"mean": 2.0, "low": None, "high": None, "n": 1, "unit": ""}, "", "2"),
        (25502912, "", "25,502,912"),
        (0.22304, "", "0.223"),
        (0.000123456, "", "0.0001235"),
        (0.5, "percent", "50 %"),
        (2104128, "kB .0", "2,104 kB"),
        ([0.1, 0.03], "", "0.1, 0.03"),
        ("ResNet-20", "", "ResNet-20"),
    ],
)
def test_a_figure_is_written_so(load: Any, figure: Any, words: str, text: str) -> None:
    assert load("_numbers").shown(figure, words) == text


@pytest.mark.parametrize(
    ("figure", "words", "message"),
    [
        (1.5, "big", "unknown format word 'big'; there are: value, interval"),
        (1.5, "interval", "needs a figure with a spread"),
        ({"mean": 2.0, "low": None, "high": None, "n": 1, "unit": "s"}, "full", r"has none \(n = 1\)"),
        (median(1.0, 0.5, 2.0, "s"), "MB", "format 'MB' is for bytes; this figure is in 's'"),
    ],
)
def test_a_format_that_does_not_fit_is_refused(load: Any, figure: Any, words: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load("_numbers").shown(figure, words)


@pytest.mark.parametrize(
    ("figure", "low"),
    [
        ({"mean": 1.0, "n": 4}, True),
        ({"mean": 1.0, "n": 5}, False),
        ({"mean": 1.0, "n": 1}, True),
        ({"median": 1.0, "n": 1}, False),
        ({"median": 1.0, "n": 1, "quiet": True}, True),
        ({"median": 1.0, "n": 3}, True),
    ],
)
def test_fewer_than_five_seeds_are_few_but_an_exact_count_is_not(load: Any, figure: Any, low: bool) -> None:
    assert load("_numbers").low_n(figure) is low
