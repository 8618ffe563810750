"""Trade-off curves: exact dilations, golden control, envelopes, plateaus, both directions, refusals."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.interpolate
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.curves import TradeoffCurve, average_ratio, common_range, cost_ratio, quality_gain

# ResNet-50 on ImageNet, published by Portes et al. 2022: hours and top-1 (%) of runs of 16, 64, 90, 256, 512 epochs.
BASE = [(1.14, 70.56), (4.85, 76.34), (6.83, 76.82), (19.45, 76.92), (38.90, 76.32)]
BLURPOOL = [(1.19, 72.43), (5.07, 76.93), (7.11, 77.16), (20.33, 76.78), (40.61, 76.36)]
CHANNELS_LAST = [(0.86, 70.63), (3.63, 76.24), (5.10, 76.87), (14.44, 76.69), (29.13, 76.23)]
MIXUP = [(1.14, 69.73), (4.87, 76.54), (6.85, 77.04), (19.42, 78.07), (38.99, 78.39)]
ALL_FOUR = [(0.91, 71.46), (3.94, 77.28), (5.48, 78.30), (15.60, 79.07), (31.20, 78.50)]

# Five or more durations; claims ask for a span of at least 8, and 1.7 ** 4 is 8.4.
factors = st.lists(st.floats(1.7, 2.4), min_size=4, max_size=8)
rates = st.floats(0.3, 1.2)


def saturating(cost, rate=0.7):
    return 0.95 - 0.3 * cost**-rate


def grid(steps, start=1.0):
    return [start * float(value) for value in np.cumprod([1.0, *steps])]


def curve(costs, quality, **options):
    return TradeoffCurve([(cost, quality(cost)) for cost in costs], **options)


# --- dilations ------------------------------------------------------------------------------------------------------


@given(factors, rates)
def test_a_faster_step_is_recovered_exactly_when_both_arms_ran_the_same_durations(steps, rate):
    slow = curve(grid(steps), lambda c: saturating(c, rate))
    fast = TradeoffCurve([(cost / 1.336, quality) for cost, quality in slow.points])
    assert average_ratio(fast, slow) == pytest.approx(1.336, rel=1e-9)
    low, high = common_range([fast, slow])
    for share in (0.1, 0.5, 0.9, 1.0):
        q = low * (1 - share) + high * share
        assert cost_ratio(fast, slow, quality=q) == pytest.approx(1.336, rel=1e-9)


@given(factors, factors, rates, st.floats(0.8, 1.25))
def test_a_dilation_is_recovered_within_one_per_cent_when_the_durations_do_not_match(steps, others, rate, start):
    slow = curve(grid(steps), lambda c: saturating(c, rate))
    fast = curve(grid(others, start=start), lambda c: saturating(1.336 * c, rate))
    assert average_ratio(fast, slow) == pytest.approx(1.336, rel=0.01)


@given(factors, rates)
def test_a_dilation_is_recovered_within_one_per_cent_when_both_arms_cost_the_same(steps, rate):
    slow = curve(grid(steps), lambda c: saturating(c, rate))
    fast = curve(grid(steps), lambda c: saturating(1.336 * c, rate))
    assert average_ratio(fast, slow) == pytest.approx(1.336, rel=0.01)


def test_interpolating_log_cost_linearly_in_quality_fails_where_pchip_does_not():
    slow = curve(grid([2.2] * 6), saturating)
    fast = curve(grid([1.9] * 6, start=1.4), lambda c: saturating(1.336 * c))
    low, high = common_range([fast, slow])
    levels = np.linspace(low, high, 2001)

    def linear(points):
        return np.interp(levels, [q for _, q in points.envelope], [math.log(c) for c, _ in points.envelope])

    crude = math.exp(np.mean(linear(slow) - linear(fast)))
    assert abs(average_ratio(fast, slow) / 1.336 - 1) < 0.005
    assert abs(crude / 1.336 - 1) > 0.01


@given(factors, st.floats(0.01, 100.0))
def test_the_unit_of_the_cost_does_not_matter(steps, unit):
    a, b = curve(grid(steps), lambda c: saturating(1.2 * c)), curve(grid(steps), saturating)
    scaled = [TradeoffCurve([(unit * c, q) for c, q in one.points]) for one in (a, b)]
    assert average_ratio(*scaled) == pytest.approx(average_ratio(a, b), rel=1e-9)


@given(factors)
def test_lower_is_better_is_the_mirror_image(steps):
    a, b = curve(grid(steps), lambda c: saturating(1.2 * c)), curve(grid(steps), saturating)
    errors = [TradeoffCurve([(c, 1 - q) for c, q in one.points], higher_is_better=False) for one in (a, b)]
    low, high = common_range([a, b])
    assert common_range(errors) == pytest.approx((1 - low, 1 - high))
    assert average_ratio(*errors) == pytest.approx(average_ratio(a, b), rel=1e-9)
    middle = (low + high) / 2
    assert errors[0].time_to(1 - middle) == pytest.approx(a.time_to(middle), rel=1e-9)
    cost = math.sqrt(b.points[0][0] * b.points[-1][0])
    assert quality_gain(*errors, cost=cost) == pytest.approx(-quality_gain(a, b, cost=cost), abs=1e-12)


@given(factors)
def test_swapping_the_arms_inverts_the_ratio_and_an_arm_against_itself_is_one(steps):
    a, b = curve(grid(steps), lambda c: saturating(1.3 * c)), curve(grid(steps), saturating)
    assert average_ratio(a, b) * average_ratio(b, a) == pytest.approx(1.0, rel=1e-12)
    assert average_ratio(a, a) == 1.0


# --- published curves -----------------------------------------------------------------------------------------------


def test_the_golden_control_lies_between_the_ratios_of_its_times():
    # The memory format cannot change accuracy, so the baseline's accuracies at its times have a known true ratio.
    ratios = [slow / fast for (slow, _), (fast, _) in zip(BASE, CHANNELS_LAST, strict=True)]
    control = TradeoffCurve([(hours, top1) for (hours, _), (_, top1) in zip(CHANNELS_LAST, BASE, strict=True)])
    assert (min(ratios), max(ratios)) == pytest.approx((1.326, 1.347), abs=5e-4)
    assert min(ratios) < average_ratio(control, TradeoffCurve(BASE)) < max(ratios)


def test_the_measured_control_is_near_its_true_ratio_in_spite_of_one_run_per_point():
    # With all its durations it gives 1.331; the five that are printed carry 0.1 points of noise, 3 % of the time.
    assert average_ratio(TradeoffCurve(CHANNELS_LAST), TradeoffCurve(BASE)) == pytest.approx(1.336, rel=0.05)


def test_the_sign_of_a_gain_depends_on_the_quality_asked_for():
    mixup, base = TradeoffCurve(MIXUP), TradeoffCurve(BASE)
    assert cost_ratio(mixup, base, quality=72.0) < 0.99
    assert cost_ratio(mixup, base, quality=76.0) == pytest.approx(1.03, abs=0.05)
    assert cost_ratio(mixup, base, quality=76.8) == pytest.approx(1.16, abs=0.03)


def test_a_method_whose_steps_are_slower_can_reach_every_quality_sooner():
    blurpool, base = TradeoffCurve(BLURPOOL), TradeoffCurve(BASE)
    assert all(slow[0] > fast[0] for slow, fast in zip(BLURPOOL, BASE, strict=True))
    assert all(cost_ratio(blurpool, base, quality=q) > 1.2 for q in (74.0, 75.0, 76.0, 76.8))


def test_the_gain_of_all_four_methods_grows_with_the_quality():
    both, base = TradeoffCurve(ALL_FOUR), TradeoffCurve(BASE)
    ratios = [cost_ratio(both, base, quality=q) for q in (75.0, 76.0, 76.8)]
    assert ratios == sorted(ratios)
    assert ratios[0] > 1.3
    assert 1.8 < ratios[2] < 2.1


def test_the_published_baseline_is_not_monotone_and_its_envelope_is():
    assert TradeoffCurve(BASE).envelope == tuple(BASE[:4])
    assert TradeoffCurve(BASE).quality_range == (70.56, 76.92)


# --- envelope, inversion, integral ----------------------------------------------------------------------------------

points = st.lists(st.tuples(st.floats(0.1, 100.0), st.integers(0, 8).map(lambda q: q / 8)), min_size=1, max_size=10)


@given(points, st.booleans())
def test_the_envelope_is_the_running_best_by_brute_force(found, higher):
    sign = 1 if higher else -1
    envelope = TradeoffCurve(found, higher_is_better=higher).envelope
    for cost, quality in envelope:
        assert (cost, quality) in found
        assert all(sign * q < sign * quality for c, q in found if c < cost)
    for cost, quality in found:  # nothing that was measured is better than the envelope at its cost
        assert any(c <= cost and sign * q >= sign * quality for c, q in envelope)


@given(points, st.floats(0.0, 1.0), st.booleans())
def test_time_and_quality_are_each_others_inverse(found, target, higher):
    one = TradeoffCurve(found, higher_is_better=higher)
    time = one.time_to(target)
    if time == math.inf:
        assert not one.reaches(target)
    elif one.reached_at_start(target):
        assert time == one.envelope[0][0]
    else:
        assert one.quality_at(time) == pytest.approx(target, abs=1e-9)


@given(points, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_harder_quality_never_costs_less(found, one, other):
    tradeoff = TradeoffCurve(found)
    assert tradeoff.time_to(min(one, other)) <= tradeoff.time_to(max(one, other)) * (1 + 1e-12)


def test_of_equal_qualities_the_cheapest_counts():
    plateau = TradeoffCurve([(1, 0.5), (2, 0.7), (4, 0.7), (8, 0.7), (16, 0.8)])
    assert plateau.time_to(0.7) == pytest.approx(2.0, rel=1e-12)
    assert plateau.time_to(0.8) == pytest.approx(16.0, rel=1e-12)
    assert 2.0 < plateau.time_to(0.7000001) < 16.0


def test_every_measured_point_of_the_envelope_is_hit_exactly():
    for cost, quality in TradeoffCurve(BASE).envelope:
        assert TradeoffCurve(BASE).time_to(quality) == pytest.approx(cost, rel=1e-11)
        assert TradeoffCurve(BASE).quality_at(cost) == pytest.approx(quality, rel=1e-11)


def test_a_quality_that_no_run_reaches_takes_for_ever_and_one_that_all_reach_at_most_the_cheapest():
    base = TradeoffCurve(BASE)
    assert base.time_to(76.93) == math.inf
    assert not base.reaches(76.93)
    assert base.reached_at_start(60.0)
    assert base.time_to(60.0) == 1.14


def test_beyond_the_dearest_run_the_best_quality_stands():
    assert TradeoffCurve(BASE).quality_at(38.9) == 76.92
    assert TradeoffCurve(BASE).quality_at(1e6) == 76.92


@given(factors, st.floats(0.0, 0.4), st.floats(0.6, 1.0))
def test_the_integral_of_log_cost_equals_quadrature(steps, low, high):
    one = curve(grid(steps), saturating)
    start, end = one.quality_range
    span = (start + low * (end - start), start + high * (end - start))
    levels = np.linspace(*span, 20001)
    expected = scipy.integrate.simpson(np.log(one.times_to(levels)), x=levels)
    assert one.log_cost_integral(span) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_the_curve_is_scipys_pchip_over_log_cost():
    costs, qualities = zip(*TradeoffCurve(BASE).envelope, strict=True)
    reference = scipy.interpolate.PchipInterpolator(np.log(costs), qualities)
    for cost in (1.5, 3.0, 6.0, 12.0):
        assert TradeoffCurve(BASE).quality_at(cost) == pytest.approx(float(reference(math.log(cost))), rel=1e-12)


# --- what is not there ----------------------------------------------------------------------------------------------


def test_a_curve_without_points_reaches_nothing():
    nothing = TradeoffCurve([])
    assert nothing.time_to(0.0) == math.inf
    assert not nothing.reaches(0.0)
    assert not nothing.reached_at_start(0.0)
    assert nothing.quality_range is None
    assert common_range([nothing, TradeoffCurve(BASE)]) is None


def test_a_ratio_says_who_does_not_reach_a_quality():
    better, worse = TradeoffCurve(ALL_FOUR), TradeoffCurve(BASE)
    assert cost_ratio(better, worse, quality=78.0) == math.inf
    assert cost_ratio(worse, better, quality=78.0) == 0.0
    assert math.isnan(cost_ratio(better, worse, quality=80.0))


def test_curves_without_a_common_quality_have_no_average():
    low, high = TradeoffCurve([(1, 0.1), (2, 0.2)]), TradeoffCurve([(1, 0.3), (2, 0.4)])
    assert common_range([low, high]) is None
    with pytest.raises(NotComparableError, match=r"share no quality: \(0\.1, 0\.2\) against \(0\.3, 0\.4\)"):
        average_ratio(low, high)


def test_the_common_range_is_the_intersection():
    assert common_range([TradeoffCurve(BASE), TradeoffCurve(MIXUP), TradeoffCurve(ALL_FOUR)]) == (71.46, 76.92)


def test_curves_of_opposite_directions_are_not_compared():
    with pytest.raises(NotComparableError, match="higher-is-better and others lower-is-better"):
        common_range([TradeoffCurve(BASE), TradeoffCurve(BASE, higher_is_better=False)])


@pytest.mark.parametrize("point", [(0.0, 0.5), (-1.0, 0.5), (math.inf, 0.5), (1.0, math.nan), (1.0, math.inf)])
def test_a_point_without_a_positive_cost_and_a_finite_quality_is_refused(point):
    with pytest.raises(InputError, match="positive finite cost and a finite quality"):
        TradeoffCurve([(1.0, 0.4), point])


def test_what_lies_below_the_cheapest_run_is_not_guessed():
    with pytest.raises(InputError, match=r"at cost 1: the cheapest run cost 1\.14"):
        TradeoffCurve(BASE).quality_at(1.0)
    with pytest.raises(InputError, match="no run finished"):
        TradeoffCurve([]).quality_at(1.0)


def test_a_range_beyond_the_curve_or_upside_down_is_refused():
    for span in ((70.0, 76.0), (71.0, 77.0), (76.0, 71.0), (75.0, 75.0)):
        with pytest.raises(InputError, match="must go from easy to hard"):
            TradeoffCurve(BASE).log_cost_integral(span)


def test_a_quality_that_is_not_a_number_is_refused():
    with pytest.raises(InputError, match="qualities are numbers"):
        TradeoffCurve(BASE).time_to(math.nan)
