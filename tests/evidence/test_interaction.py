"""Interaction of two methods: products, published numbers, noise, refusals."""

import math

import pytest

from paretorch.errors import NotComparableError
from paretorch.evidence.families import families_of
from paretorch.evidence.interaction import interaction, log_interaction
from tests.evidence.synthetic import family, noisy_pair, runs


@pytest.mark.parametrize(
    ("both", "first", "second", "expected"),
    [(1.739, 1.324, 1.326, -0.01), (0.909, 1.117, 0.954, -0.16), (1.598, 1.737, 0.931, -0.01)],
    ids=["BlurPool and channels-last", "label smoothing and MixUp", "these two pairs together"],
)
def test_the_published_compositions_on_imagenet(both, first, second, expected):
    assert log_interaction(both, first, second) == pytest.approx(expected, abs=0.005)


def test_fewer_steps_and_faster_steps_multiply():
    found = interaction(
        family("both", gain=1.4, step_s=0.01 / 1.3),
        family("a", gain=1.4),
        family("b", step_s=0.01 / 1.3),
        baseline=family("old"),
    )
    assert found.log.mean == pytest.approx(0.0, abs=1e-9)
    assert found.second.mean == pytest.approx(1.3, rel=1e-9)
    assert found.both.mean == pytest.approx(found.product, rel=1e-9)


def test_two_methods_that_do_the_same_thing_gain_once():
    found = interaction(
        family("both", gain=1.4), family("a", gain=1.4), family("b", gain=1.4), baseline=family("old"), axis="steps"
    )
    assert found.log.mean == pytest.approx(-math.log(found.first.mean), rel=1e-9)


def test_all_three_ratios_are_averaged_over_the_one_range_of_all_four():
    both, a, b, old = family("both", gain=2.0), family("a", gain=3.0), family("b", gain=0.5), family("old")
    found = interaction(both, a, b, baseline=old, axis="steps")
    starts = [one.curve(seed, axis="steps").quality_range[0] for one in (both, a, b, old) for seed in range(5)]
    ends = [one.curve(seed, axis="steps").quality_range[1] for one in (both, a, b, old) for seed in range(5)]
    assert found.range == (max(starts), min(ends))


def test_the_interval_is_over_paired_seeds():
    (a, old), (both, b) = noisy_pair(0, gain=1.3), noisy_pair(1, gain=1.3)
    found = interaction(both, a, b, baseline=old)
    assert found.log.n == 5
    assert found.log.low < found.log.mean < found.log.high
    # Of the mean of the logs: ln of the three geometric means.
    expected = log_interaction(found.both.mean, found.first.mean, found.second.mean)
    assert found.log.mean == pytest.approx(expected, rel=1e-9)


def test_arms_that_share_no_quality_or_no_seed_are_refused():
    records = runs("far")
    for one in records:
        one.quality -= 0.6
    far, old = families_of(records)["far"], family("old")
    with pytest.raises(NotComparableError, match="no quality that every seed of 'far', 'old', 'old', 'old' passes"):
        interaction(far, old, old, baseline=old)
    with pytest.raises(NotComparableError, match=r"'late' ran seeds \[8, 9\]"):
        interaction(family("late", seeds=(8, 9)), old, old, baseline=old)
