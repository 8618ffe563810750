"""Words about paired differences follow from their intervals alone."""

from typing import Any

import pytest


@pytest.fixture
def sides(load: Any) -> Any:
    return load("_sides")


def gap(mean: float, half: float | None, n: int = 5) -> dict[str, Any]:
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return {"mean": mean, "low": low, "high": high, "n": n, "unit": "percentage points"}


def test_a_difference_has_a_side_only_where_its_interval_excludes_zero(sides: Any) -> None:
    gaps = {"50 %": gap(0.3, 0.2), "90 %": gap(-0.3, 0.2), "95 %": gap(0.3, 0.4), "98 %": gap(0.2, 0.2)}
    assert sides.verdict("A minus B", gaps) == (
        "A minus B: above 0 at 50 %, below 0 at 90 %, not told apart from 0 at 95 % and 98 %."
    )


def test_one_seed_has_no_side_and_few_seeds_are_called_few(sides: Any) -> None:
    assert sides.side(gap(5.0, None, n=1)) == sides.APART
    assert sides.verdict("A minus B", {"90 %": gap(1.0, 0.5, n=3)}) == "A minus B: above 0 at 90 %. Few seeds: low-n."


def test_chance_counts_one_in_twenty_and_says_how_many_there_are(sides: Any) -> None:
    words = sides.chance([gap(0.3, 0.2)] * 6 + [gap(0.0, 0.2)] * 24)
    assert "of 30 paired differences, chance alone would make about 1.5 exclude 0; 6 do." in words
