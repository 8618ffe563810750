"""Ratios to a fixed reference: published times to three decimals, what is put in for a miss, and what that bounds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.scores.ratios import mean_ratio, reference_ratios

WORKLOADS = ("criteo", "fastmri", "resnet", "vit", "conformer", "deepspeech", "ogbg", "wmt")
# Seconds to the validation targets in AlgoPerf's first competition (external tuning), from its public logs.
SHAMPOO = dict(zip(WORKLOADS, (5043, 1321, math.inf, 33094, 47445, 34624, 3363, 38656), strict=True))
BASELINE = dict(zip(WORKLOADS, (7223, 2030, math.inf, 70197, 54769, 36024, 7697, 41189), strict=True))
BUDGETS = {"resnet": 63008.0}
finite_times = st.fixed_dictionaries({w: st.floats(1, 1000) for w in "abc"})


def test_published_ratios_of_the_first_competition_come_out_to_three_decimals():
    ratios = reference_ratios(SHAMPOO, BASELINE)
    assert ratios.pop("resnet") is None  # both missed it
    assert [round(r, 3) for r in ratios.values()] == [0.698, 0.651, 0.471, 0.866, 0.961, 0.437, 0.939]


def test_published_mean_is_28_percent_less_time_and_not_a_speedup_of_1_28():
    mean = mean_ratio(SHAMPOO, BASELINE, budgets=BUDGETS)
    assert round(mean.ratio, 3) == 0.721
    assert round(mean.speedup, 3) == 1.387
    assert mean.text() == "28 % less time (speed-up 1.387x), over 8 workloads; 1 missed by both count as equal"


def test_leaving_out_the_joint_miss_moves_the_mean_away_from_one():
    mean = mean_ratio(SHAMPOO, BASELINE, budgets=BUDGETS, leave_out_joint_misses=True)
    assert (mean.workloads, mean.missed_by_both, mean.bound) == (7, (), "exact")
    assert mean.text().startswith("31 % less time")
    logs = [math.log(SHAMPOO[w] / BASELINE[w]) for w in WORKLOADS if w != "resnet"]
    assert mean.ratio == pytest.approx(math.exp(sum(logs) / 7))


@given(finite_times, finite_times)
def test_swapping_inverts_the_mean_and_a_third_party_cannot_enter(ours, theirs):
    one, two = mean_ratio(ours, theirs, budgets={}), mean_ratio(theirs, ours, budgets={})
    assert one.ratio == pytest.approx(two.speedup)
    product = math.prod(reference_ratios(ours, theirs).values())
    assert one.ratio == pytest.approx(product ** (1 / 3))
    assert one.bound == "exact"


def test_miss_counts_one_second_more_than_the_budget_and_bounds_the_ratio():
    inf = math.inf
    cases = {  # candidate, reference: ratio, bound
        (inf, 50.0): (101 / 50, "at least"),
        (50.0, inf): (50 / 101, "at most"),
        (inf, inf): (1.0, "undetermined"),
        (50.0, 100.0): (0.5, "exact"),
    }
    for (ours, theirs), (ratio, bound) in cases.items():
        mean = mean_ratio({"w": ours}, {"w": theirs}, budgets={"w": 100.0})
        assert mean.ratio == pytest.approx(ratio)
        assert mean.bound == bound
    both_ways = mean_ratio({"v": inf, "w": 5.0}, {"v": 5.0, "w": inf}, budgets={"v": 9.0, "w": 9.0})
    assert (both_ways.bound, both_ways.missed, both_ways.missed_by_reference) == ("undetermined", ("v",), ("w",))


def test_words_say_more_time_and_who_missed():
    text = mean_ratio({"v": math.inf, "w": 5.0}, {"v": 50.0, "w": 5.0}, budgets={"v": 99.0}).text()
    assert text.startswith("41 % more time (speed-up 0.707x), over 2 workloads; 1 missed by the candidate only")
    text = mean_ratio({"v": 50.0}, {"v": math.inf}, budgets={"v": 99.0}).text()
    assert text.startswith("50 % less time (speed-up 2.000x), over 1 workload; 1 missed by the reference only")


def test_ratio_of_one_sided_misses_is_infinite_or_zero():
    assert reference_ratios({"v": math.inf, "w": 2.0}, {"v": 1.0, "w": math.inf}) == {"v": math.inf, "w": 0.0}


@pytest.mark.parametrize(
    ("ours", "theirs", "budgets", "error", "match"),
    [
        ({"w": math.inf}, {"w": 5.0}, {}, InputError, "w was missed; give its budget"),
        ({"w": 9.0}, {"w": 5.0}, {"w": 8.0}, InputError, "hold the time 9.0"),
        ({"w": math.inf}, {"w": 5.0}, {"w": math.inf}, InputError, "budget must be positive, finite"),
        ({"w": -1.0}, {"w": 5.0}, {}, InputError, "the candidate: times must be positive"),
        ({"w": 1.0}, {"w": math.nan}, {}, InputError, "the reference: times must be positive"),
        ({}, {}, {}, InputError, "the candidate has no workloads"),
        ({"w": 1.0}, {"v": 1.0}, {}, NotComparableError, "different workloads"),
    ],
)
def test_bad_input_is_refused_in_words(ours, theirs, budgets, error, match):
    with pytest.raises(error, match=match):
        mean_ratio(ours, theirs, budgets=budgets)


def test_nothing_but_joint_misses_is_refused_when_they_are_left_out():
    missed = {"w": math.inf}
    with pytest.raises(InputError, match=r"both missed every target \(w\)"):
        mean_ratio(missed, missed, budgets={"w": 9.0}, leave_out_joint_misses=True)
