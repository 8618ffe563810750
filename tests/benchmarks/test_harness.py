"""What is the same in all cells is checked before it is written."""

from typing import Any

import pytest

from paretorch.errors import RunError


def test_a_count_that_all_seeds_agree_on_is_entered_once(load: Any) -> None:
    figures: dict[str, Any] = {}
    load("_harness").add_equal(figures, "zeros", {0: {"zeros": 90}, 1: {"zeros": 90}}, "zeros")
    load("_harness").add_equal(figures, "zeros", {0: {"zeros": 90}}, "zeros")  # of another arm
    load("_harness").add_equal(figures, "weights", {}, "weights")
    assert figures == {"zeros": 90}


@pytest.mark.parametrize(("first", "second"), [(25_502_912, 25_502_913), (90.0, 90.01)])
def test_a_count_that_one_seed_contradicts_is_refused_by_the_seed(load: Any, first: float, second: float) -> None:
    found = {0: {"zeros": first}, 1: {"zeros": first}, 4: {"zeros": second}}
    with pytest.raises(RunError, match=rf"CS, zeros: {second} with seed 4, and {first} elsewhere.*delete"):
        load("_harness").add_equal({}, "CS, zeros", found, "zeros")


def test_a_measured_number_may_differ_in_its_last_digits(load: Any) -> None:
    figures: dict[str, Any] = {}
    load("_harness").add_equal(figures, "floor", {0: {"floor": 3.1415926}, 1: {"floor": 3.1415927}}, "floor")
    assert figures == {"floor": 3.1415926}
