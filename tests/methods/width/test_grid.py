"""Grids of widths: integers, multiples of a quantum, always with the full size; and why they are integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.methods.width.grid import below, checked_grids, grid, grids
from tests.methods.width.handmade import perceptron_groups


def test_ratios_in_floating_point_do_not_come_back_for_75010_pairs() -> None:
    """The reason for integers: ceil(K * (j / K)) is another width than j."""
    failures, pairs = 0, 0
    for size in range(1, 2049):
        width = np.arange(1, size + 1)
        failures += int((np.ceil(size * (width / size)) != width).sum())
        pairs += size
    assert (failures, pairs) == (75_010, 2_098_176)
    assert [int(np.ceil(25 * (7 / 25))), int(np.ceil(100 * (7 / 100))), int(np.ceil(196 * (53 / 196)))] == [8, 8, 54]


@given(size=st.integers(1, 3000), quantum=st.integers(1, 64), thousandths=st.integers(0, 1000))
def test_a_grid_is_every_multiple_that_is_large_enough_and_the_size(size: int, quantum: int, thousandths: int) -> None:
    made = grid(size, quantum, thousandths / 1000)
    expected = {v for v in range(quantum, size, quantum) if 1000 * v >= thousandths * size} | {size}
    assert made == tuple(sorted(expected))


def test_the_defaults_are_blocks_of_eight_or_eight_levels_for_few_units() -> None:
    assert grid(64) == (8, 16, 24, 32, 40, 48, 56, 64)
    assert grid(100) == (16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 100)
    assert grid(12) == tuple(range(2, 13))
    assert grid(32) == (4, 8, 12, 16, 20, 24, 28, 32)
    assert grid(1) == (1,)


def test_a_size_below_the_quantum_has_one_width() -> None:
    assert grid(5, 8) == (5,)


def test_a_width_of_exactly_the_smallest_ratio_is_on_the_grid() -> None:
    assert grid(30, 3, 0.1)[0] == 3
    assert grid(10, 1, 1.0) == (10,)
    assert grid(10, 1, 0.0)[0] == 1


def test_grids_follow_the_groups_and_quanta_may_differ_by_name() -> None:
    groups = perceptron_groups(3, 64, 32, 16, 2)
    assert grids(groups, quantum=16) == ((16, 32, 48, 64), (16, 32), (16,))
    assert grids(groups, quantum={"2": 16}, min_ratio=0.5) == ((32, 40, 48, 56, 64), (16, 32), tuple(range(8, 17, 2)))


def test_the_part_below_a_centre_ends_with_the_centre() -> None:
    assert below((4, 8, 12), 8) == (4, 8)
    assert below((4, 8, 12), 9) == (4, 8, 9)
    assert below((4, 8, 12), 3) == (3,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "at least 1 unit.*got size 0"),
        ((2.0,), "an integer; got size 2"),
        ((8, 0), "quantum must be a positive integer.*got 0"),
        ((8, -4), "quantum must be a positive integer.*got -4"),
        ((8, 2.0), r"quantum must be a positive integer.*got 2\.0"),
        ((8, 2, 1.5), r"in \[0, 1\]; got 1\.5"),
        ((8, 2, -0.1), r"in \[0, 1\]; got -0\.1"),
        ((8, 2, float("nan")), r"in \[0, 1\]; got nan"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        grid(*arguments)


def test_a_quantum_for_a_group_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="quantum names 'fc', which is no width group"):
        grids(perceptron_groups(3, 4, 2), quantum={"fc": 8})


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ([], "no grids"),
        ([(1, 2), ()], "group 1 must be positive integers that increase"),
        ([(2, 2)], "group 0 must be positive integers that increase"),
        ([(0, 2)], "group 0 must be positive integers"),
        ([(1.0, 2)], "group 0 must be positive integers"),
    ],
)
def test_grids_that_are_none_are_refused(widths: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked_grids(widths)
