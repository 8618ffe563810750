"""Two families: exact ratios, the split, censoring, Amdahl's bound, what may not be compared."""

import math

import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from paretorch.errors import NotComparableError
from paretorch.evidence.families import families_of
from paretorch.evidence.speedup import GRID, compare_families, student_p
from paretorch.evidence.statistics import Interval, ratio_interval
from tests.evidence.synthetic import EPOCHS, family, noisy_pair, run, runs, truth


def both(*records):
    found = families_of([record for group in records for record in group])
    return found["new"], found["old"]


# --- exact cases ----------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.floats(0.5, 3.0))
def test_a_faster_step_is_the_speed_up_at_every_quality(factor):
    new, old = family("new", step_s=0.01), family("old", step_s=0.01 * factor)
    found = compare_families(new, old)
    assert found.average.mean == pytest.approx(factor, rel=1e-9)
    assert [at.ratio.mean for at in (*found.at, *found.grid)] == pytest.approx([factor] * (3 + GRID), rel=1e-9)
    assert found.split.statistical.mean == pytest.approx(1.0, rel=1e-12)
    assert found.split.hardware.mean == pytest.approx(factor, rel=1e-9)


def test_fewer_steps_are_statistical_and_not_hardware():
    found = compare_families(family("new", gain=1.5), family("old"))
    assert found.average.mean == pytest.approx(1.5, rel=0.01)
    assert found.split.statistical.mean == pytest.approx(1.5, rel=0.01)
    assert found.split.hardware.mean == pytest.approx(1.0, rel=1e-12)


def test_the_split_multiplies_to_the_ratio_seed_by_seed():
    new, old = noisy_pair(3, gain=1.4, step_ratio=0.9)
    for seed in range(5):
        one = compare_families(families_of(new.records[seed])["new"], families_of(old.records[seed])["old"])
        product = one.split.statistical.mean * one.split.hardware.mean
        assert product == pytest.approx(one.at[1].ratio.mean, rel=1e-12)
        assert one.at[1].ratio.low is None


def test_arms_with_other_batches_are_split_by_samples():
    # Half the steps of twice the batch, each twice as long: the same samples in the same time.
    new, old = family("new", steps=50, batch=128, step_s=0.02), family("old")
    found = compare_families(new, old)
    assert (found.split.unit, found.average.mean) == ("samples", pytest.approx(1.0))
    assert found.split.statistical.mean == pytest.approx(1.0)
    assert compare_families(new, old, axis="steps").average.mean == pytest.approx(2.0)


def test_the_ratio_is_the_paired_geometric_mean_of_the_seeds():
    new, old = noisy_pair(1, gain=1.3)
    found = compare_families(new, old)
    quality = found.at[0].quality
    ours = [new.curve(seed).time_to(quality) for seed in range(5)]
    theirs = [old.curve(seed).time_to(quality) for seed in range(5)]
    logs = [math.log(b / a) for a, b in zip(ours, theirs, strict=True)]
    test = scipy.stats.ttest_1samp(logs, 0.0)
    low, high = test.confidence_interval(0.95)
    ratio = found.at[0].ratio
    assert [ratio.mean, ratio.low, ratio.high] == pytest.approx(
        [math.exp(sum(logs) / 5), math.exp(low), math.exp(high)]
    )
    assert student_p(ratio) == pytest.approx(test.pvalue, rel=1e-9)
    assert found.average.mean == pytest.approx(math.prod(found.ratios.values()) ** 0.2)
    assert set(found.ratios) == set(range(5))


def test_the_range_is_what_every_seed_of_both_passes_through():
    new, old = noisy_pair(5, gain=1.5)
    found = compare_families(new, old)
    curves = [arm.curve(seed) for arm in (new, old) for seed in range(5)]
    assert found.range == (
        max(curve.quality_range[0] for curve in curves),
        min(curve.quality_range[1] for curve in curves),
    )
    assert [at.quality for at in found.at] == pytest.approx(
        [found.range[0] + share * (found.range[1] - found.range[0]) for share in (0.25, 0.5, 0.75)]
    )
    assert found.grid[-1].quality == found.range[1]
    assert all(at.ratio is not None and at.ratio.n == 5 for at in (*found.at, *found.grid))


def test_gains_at_equal_cost_are_differences_of_the_envelopes():
    found = compare_families(family("new", gain=1.5), family("old"), axis="epochs")
    assert [gain.cost for gain in found.gains] == pytest.approx([1.0, math.sqrt(32), 32.0])
    assert found.gains[0].difference.mean == pytest.approx(truth(1.5) - truth(1))
    assert found.gains[2].difference.mean == pytest.approx(truth(48) - truth(32))


def test_points_and_span_are_those_of_the_durations_both_have():
    found = compare_families(family("new"), family("old", epochs=(2, 4, 8, 16)))
    assert (found.points, found.span) == (4, 8.0)


def test_a_duration_at_which_a_run_diverged_is_no_point_of_the_comparison():
    records = runs("new", seeds=(0, 1))
    records[5] = run("new", 0, 32, None, status="diverged")
    new, old = both(records, runs("old", seeds=(0, 1)))
    found = compare_families(new, old)
    assert (found.points, found.span) == (5, 16.0)


def test_dense_training_that_both_share_dilutes_the_speed_up_of_what_comes_after():
    new, old = family("new", dense=10, step_s=0.01), family("old", dense=10, step_s=0.015)
    for one in new.runs:
        one.phases[1]["step_s"] = 0.005
    for one in old.runs:
        one.phases[0]["step_s"], one.phases[1]["step_s"] = 0.01, 0.01
    after = compare_families(new, old, scope="after_dense").average.mean
    total = compare_families(new, old).average.mean
    assert after == pytest.approx(2.0, rel=1e-9)
    assert 1.0 < total < 1.6


def test_an_arm_against_itself_gains_nothing():
    new, old = both(runs("new"), runs("old"))
    found = compare_families(new, old)
    assert (found.average.mean, found.p_value) == (1.0, 1.0)
    assert all(gain.difference.mean == 0.0 for gain in found.gains)


# --- Amdahl ---------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 0.95))
def test_one_layer_made_faster_gives_what_amdahl_allows_and_never_its_own_factor(share):
    step_s = 0.01
    faster = step_s * (1 - share) + step_s * share / 1.3
    found = compare_families(family("new", step_s=faster), family("old", step_s=step_s))
    bound = 1 / (1 - share + share / 1.3)
    assert found.average.mean == pytest.approx(bound, rel=1e-9)
    assert found.split.hardware.mean == pytest.approx(bound, rel=1e-9)
    assert max(at.ratio.mean for at in found.grid) < 1.3


# --- seeds that do not get there ------------------------------------------------------------------------------------


def test_a_seed_that_does_not_reach_a_quality_is_counted_and_never_dropped():
    records = runs("new", gain=1.5)
    for one in records:
        if one.seed == 4:
            one.quality -= 0.2
    new, old = both(records, runs("old"))
    at = compare_families(new, old, qualities=[0.9]).at[0]
    assert (at.ratio, at.censored_candidate, at.censored_baseline) == (None, 1, 0)
    assert at.at_least is None
    # The fifth seed needs at least all it was given, so the geometric mean is at most this:
    known = [old.curve(s).time_to(0.9) / new.curve(s).time_to(0.9) for s in range(4)]
    bound = math.prod([*known, old.curve(4).time_to(0.9) / new.curve(4).cost_range[1]]) ** 0.2
    assert at.at_most == pytest.approx(bound, rel=1e-12)


def test_a_baseline_that_does_not_get_there_gives_a_lower_bound():
    new, old = family("new", gain=3.0), family("old")
    at = compare_families(new, old, qualities=[truth(60)]).at[0]
    assert (at.censored_candidate, at.censored_baseline, at.at_most) == (0, 5, None)
    assert 1.5 < at.at_least < 3.0


def test_a_quality_that_the_cheapest_run_reaches_has_a_bound_and_no_ratio():
    new, old = family("new", gain=3.0), family("old")
    at = compare_families(new, old, qualities=[truth(2)]).at[0]  # the candidate's shortest run is better than this
    assert (at.ratio, at.censored_candidate, at.censored_baseline, at.at_most) == (None, 0, 0, None)
    assert at.at_least == pytest.approx(2.0, rel=0.05)


def test_a_quality_that_neither_reaches_has_no_bound():
    at = compare_families(family("new"), family("old"), qualities=[0.99]).at[0]
    assert (at.censored_candidate, at.censored_baseline, at.at_least, at.at_most) == (5, 5, None, None)


def test_runs_that_diverged_reach_nothing_even_where_they_hold_a_quality():
    records = runs("new")
    for one in records:
        if one.seed == 0:
            one.status = "diverged"
    new, old = both(records, runs("old"))
    found = compare_families(new, old)
    assert (found.range, found.average, found.p_value, found.at, found.gains) == (None, None, None, (), ())
    assert (found.points, found.span, found.ratios) == (0, 1.0, {})
    assert compare_families(new, old, qualities=[0.9]).at[0].censored_candidate == 1


def test_arms_that_share_no_quality_have_no_average():
    found = compare_families(_shifted("new", -0.5), family("old"))
    assert (found.range, found.average, found.grid) == (None, None, ())
    assert (found.split.statistical, found.split.hardware) == (None, None)


def _shifted(label, by):
    records = runs(label)
    for one in records:
        one.quality += by
    return families_of(records)[label]


# --- metrics where lower is better ----------------------------------------------------------------------------------


def test_a_loss_gives_the_same_ratio_as_the_accuracy_it_mirrors():
    records = [runs("new", gain=1.5), runs("old")]
    accuracy = compare_families(*both(*records))
    for one in (*records[0], *records[1]):
        one.quality, one.metric, one.higher_is_better = 1 - one.quality, "loss", False
    loss = compare_families(*both(*records))
    assert loss.average.mean == pytest.approx(accuracy.average.mean, rel=1e-9)
    assert loss.range == pytest.approx(tuple(1 - q for q in accuracy.range))
    assert loss.range[0] > loss.range[1]  # from the easier to the harder one


# --- what may not be compared ---------------------------------------------------------------------------------------

ENV = {"host": "ab12cd34", "cpu": "a processor", "threads": 1, "packages": {"torch": "2.13.0"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threads": 2}, "threads: 1, 2"),
        ({"packages": {"torch": "2.12.0"}}, r"torch: 2\.12\.0, 2\.13\.0"),
        ({"accelerators": ["a GPU"]}, r"accelerators: None, \['a GPU'\]"),
        ({"host": "ffffffff"}, "host: ab12cd34, ffffffff"),
    ],
)
def test_times_from_different_environments_are_refused_and_counts_are_not(change, message):
    new, old = family("new", env=ENV | change), family("old", env=ENV)
    with pytest.raises(NotComparableError, match=message):
        compare_families(new, old)
    assert compare_families(new, old, axis="steps").average.mean == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workload": "images"}, "differ in workload: 'new' has 'images'; 'old' has 'digits'"),
        ({"metric": "f1"}, "differ in metric"),
        ({"task": {"examples": [1, 2, 3]}}, "differ in task"),
        ({"higher_is_better": False}, "differ in higher is better"),
        ({"step_s": None}, "differ in steps timed in turns: 'new' has False; 'old' has True"),
    ],
)
def test_other_tasks_metrics_and_ways_of_timing_are_refused(change, message):
    with pytest.raises(NotComparableError, match=message):
        compare_families(family("new", **change), family("old"))


def test_energies_from_different_meters_are_refused():
    def made(label, scope):
        return family(label, energy={"joules": 5.0, "source": "nvml", "scope": scope})

    with pytest.raises(NotComparableError, match=r"scope of the energy meter: 'new' has \['gpu'\]; 'old' has \['node"):
        compare_families(made("new", "gpu"), made("old", "node"), axis="energy_j")


def test_families_without_a_shared_seed_are_refused():
    with pytest.raises(NotComparableError, match=r"'new' ran seeds \[5, 6\]; 'old' ran seeds \[0, 1\]"):
        compare_families(family("new", seeds=(5, 6)), family("old", seeds=(0, 1)))


def test_only_shared_seeds_are_compared():
    assert compare_families(family("new", seeds=(0, 1, 2, 9)), family("old", seeds=(1, 2, 3))).seeds == (1, 2)


# --- p-values -------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0.5, 2.0), min_size=2, max_size=8, unique=True))
def test_the_p_value_is_below_five_per_cent_exactly_where_the_interval_excludes_one(ratios):
    interval = ratio_interval(ratios, [1.0] * len(ratios))
    p = student_p(interval)
    assert 0 <= p <= 1
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) is not interval.contains(1.0)


def test_one_seed_has_no_p_value_and_seeds_that_agree_exactly_have_an_extreme_one():
    assert student_p(Interval(1.2, None, None, 1)) is None
    assert student_p(Interval(1.2, 1.2, 1.2, 5)) == 0.0
    assert student_p(Interval(1.0, 1.0, 1.0, 5)) == 1.0


def test_one_run_per_arm_gives_a_point_and_no_interval():
    new, old = both(
        [run("new", 0, e, truth(e, gain=1.2)) for e in EPOCHS], [run("old", 0, e, truth(e)) for e in EPOCHS]
    )
    found = compare_families(new, old)
    assert (found.average.n, found.average.low, found.p_value) == (1, None, None)
