"""When the centre shrinks and what shrinks: the rule by brute force, targets in closed form, refusals before work."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.methods.width.dpod_events import Shrink, ShrinkPlan, choose
from paretorch.methods.width.tables import Table, moved
from tests.methods.width.handmade import perceptron_groups

GROUPS = perceptron_groups(8, 16, 12, 4)
GRIDS = ((4, 8, 12, 16), (4, 8, 12))
errors = st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.5]), min_size=3, max_size=3)


@given(errors, errors)
def test_chooses_the_least_error_per_saving_and_of_ties_the_larger_saving(a: list[float], b: list[float]) -> None:
    tables = (
        Table("0", (4, 8, 12, 16), (*sorted(a, reverse=True), 0.0)),
        Table("2", (4, 8, 12), (*sorted(b, reverse=True)[:2], 0.0)),
    )
    found = choose(tables, (16, 12), GROUPS.num_params)
    assert found is not None
    saved = GROUPS.num_params((16, 12)) - GROUPS.num_params(moved((16, 12), found.group, found.width))
    assert found.saving == saved > 0
    assert found.error == tables[found.group].error(found.width)
    for number, table in enumerate(tables):
        for width in table.widths[:-1]:
            saving = GROUPS.num_params((16, 12)) - GROUPS.num_params(moved((16, 12), number, width))
            ratio, best = table.error(width) / saving, found.error / found.saving
            assert ratio >= best
            assert ratio > best or saving <= found.saving


def test_savings_are_those_at_the_present_centre() -> None:
    """At (16, 12) a step of the second group saves more than one of the first; with the first at 4 it saves less."""
    tables = (Table("0", (12, 16), (0.1, 0.0)), Table("2", (8, 12), (0.1, 0.0)))
    first = choose(tables, (16, 12), GROUPS.num_params)
    # group 0: 4 rows of 8 + 1, 4 columns of 12; group 1: 4 rows of 16 + 1, 4 columns of 4
    assert first == Shrink(group=0, width=12, error=0.1, saving=4 * 9 + 4 * 12)
    assert choose((Table("0", (16,), (0.0,)), tables[1]), (16, 12), GROUPS.num_params) == Shrink(
        group=1, width=8, error=0.1, saving=4 * 17 + 4 * 4
    )
    narrow = choose((Table("0", (4,), (0.0,)), tables[1]), (4, 12), GROUPS.num_params)
    assert narrow is not None
    assert narrow.saving == 4 * 5 + 4 * 4


def test_equal_candidates_go_to_the_earlier_group_and_nothing_left_is_none() -> None:
    groups = perceptron_groups(4, 6, 4)
    table = Table("0", (6,), (0.0,))
    assert choose((table,), (6,), groups.num_params) is None
    tables = (Table("0", (2, 4), (0.3, 0.0)), Table("2", (2, 4), (0.3, 0.0)))
    found = choose(tables, (4, 4), lambda profile: float(sum(profile)))
    assert found == Shrink(group=0, width=2, error=0.3, saving=2.0)


def test_targets_fall_exponentially_within_the_window_and_stay_outside_of_it() -> None:
    plan = ShrinkPlan(target=0.1, window=(0.2, 0.6))
    limits = [plan.limit_at(step, num_steps=100, full=1000.0) for step in range(101)]
    assert limits[:21] == [1000.0] * 21
    assert limits[40] == pytest.approx(1000 * math.sqrt(0.1))
    assert limits[60:] == pytest.approx([100.0] * 41)
    ratios = [b / a for a, b in pairwise(limits[20:61])]
    assert ratios == pytest.approx([0.1 ** (1 / 40)] * 40)


def test_a_target_below_every_profile_says_the_smallest_one() -> None:
    smallest = GROUPS.num_params((4, 4))
    full = GROUPS.num_params((16, 12))
    with pytest.raises(InputError, match=rf"smallest profile of the grids, \(4, 4\), has {smallest}"):
        ShrinkPlan(target=0.1).check(GROUPS, GRIDS, num_steps=1000)
    ShrinkPlan(target=smallest / full).check(GROUPS, GRIDS, num_steps=1000)


def test_a_phase_too_short_for_its_events_is_refused() -> None:
    plan = ShrinkPlan(target=0.5, window=(0.0, 0.5))
    plan.check(GROUPS, GRIDS, num_steps=10)  # 3 + 2 levels, 5 steps
    with pytest.raises(InputError, match=r"has 4 steps \(0 to 4 of 8\), and shrinking may need 5 events"):
        plan.check(GROUPS, GRIDS, num_steps=8)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target": 0.0}, "in \\(0, 1\\]; got 0.0"),
        ({"target": 1.5}, "in \\(0, 1\\]; got 1.5"),
        ({"target": 0.5, "window": (0.5, 0.5)}, "start < stop"),
        ({"target": 0.5, "window": (0.7, 0.2)}, "start < stop"),
        ({"target": 0.5, "tolerance": -0.1}, "at least 0, or None; got -0.1"),
        ({"target": 0.5, "keep_at": (0.7, 0.5)}, "between the target 0.5 and 1, at which weights are kept; got 0.5"),
        ({"target": 0.5, "keep_at": (1.0,)}, "got 1$"),
        ({"target": 0.5, "key": "latency"}, "choose from params, macs, activations"),
    ],
)
def test_a_plan_out_of_range_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ShrinkPlan(**settings)
