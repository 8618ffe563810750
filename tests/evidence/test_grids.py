"""Grids of learning rate and epsilon: the best rate, how far it moves, and what n trials are expected to reach."""

import itertools
import math
from dataclasses import replace
from statistics import fmean, median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.evidence.arms import compressed_of
from paretorch.evidence.grids import Grid, grids_of, leading
from tests.evidence.grids import EPSILONS, RATES, arms, dense, point, valley


def only(*records: Any) -> Grid:
    (grid,) = grids_of(arms(*records))
    return grid


def test_a_rate_that_stays_moves_by_no_decade_and_one_that_follows_epsilon_by_the_decades_between_its_ends() -> None:
    still, follows = only(valley("AvaGrad", follows=False)), only(valley("Adam", follows=True))
    assert [still.best_rate(epsilon) for epsilon in EPSILONS] == [1.0, 1.0, 1.0]
    assert [follows.best_rate(epsilon) for epsilon in EPSILONS] == [0.1, 1.0, 10.0]
    assert (still.moved, follows.moved) == (0.0, pytest.approx(2.0))
    assert still.at_edge == ()
    assert follows.at_edge == (0.01, 100.0)


@given(st.lists(st.integers(0, 30), min_size=9, max_size=9))
def test_best_and_moved_are_those_of_all_points_looked_at_one_by_one(found: list[int]) -> None:
    points = list(itertools.product(RATES, EPSILONS))
    values = {key: value / 40 for key, value in zip(points, found, strict=True)}
    grid = only(*(point("Adam", rate, epsilon, [values[rate, epsilon]]) for rate, epsilon in points))
    best = {}
    for epsilon in EPSILONS:
        highest = max(values[rate, epsilon] for rate in RATES)
        best[epsilon] = min(rate for rate in RATES if values[rate, epsilon] == highest)
    assert {epsilon: grid.best_rate(epsilon) for epsilon in EPSILONS} == best
    logs = [math.log10(rate) for rate in best.values()]
    assert grid.moved == pytest.approx(max(logs) - min(logs))
    assert grid.best is not None
    assert grid.best.validation is not None
    assert grid.best.validation.mean == max(values.values())


def test_of_a_loss_the_smallest_is_best_and_a_diverged_trial_is_infinitely_bad() -> None:
    settings: dict[str, Any] = {"metric": "nll", "higher_is_better": False}
    grid = only(
        point("SGD", 0.1, None, [3.0, 3.1], **settings),
        point("SGD", 1.0, None, [2.0, 2.1], **settings),
        point("SGD", 10.0, None, [1.0, None], **settings),
    )
    assert grid.best_rate(None) == 1.0  # one seed of the rate 10 diverged
    assert grid.failed == ["SGD lr 10-s1"]
    assert grid.studies() == [[3.0, 2.0, 1.0], [3.1, 2.1, math.inf]]
    assert grid.expected(1) == math.inf  # median of a finite and an infinite mean
    assert grid.expected(3) == pytest.approx((1.0 + 2.1) / 2)
    assert grid.moved is None


def test_a_diverged_trial_of_an_accuracy_counts_as_zero_and_is_never_chosen() -> None:
    grid = only(point("Adam", 0.1, 1.0, [0.5, 0.6]), point("Adam", 1.0, 1.0, [0.9, None]))
    assert grid.best_rate(1.0) == 0.1
    assert grid.ended_well(1.0, 1.0) is None
    assert grid.studies() == [[0.5, 0.9], [0.6, 0.0]]
    assert grid.expected(1) == pytest.approx(median([0.7, 0.3]))


def test_a_search_in_turn_finds_the_best_where_the_best_rate_stays_and_the_start_where_it_does_not() -> None:
    still, follows = only(valley("AvaGrad", follows=False)), only(valley("Adam", follows=True))
    assert [arm.group["lr"] for arm in still.in_turn.values()] == [1.0, 1.0, 1.0]
    assert {start: arm.group["eps"] for start, arm in follows.in_turn.items()} == {0.01: 0.01, 1.0: 1.0, 100.0: 100.0}
    records = valley("Adam", follows=True)
    for run in records:
        if run.group["lr"] == run.group["eps"] == 1.0:
            run.validation = 0.99
    found = only(records)
    assert found.best is found.in_turn[1.0]
    assert found.in_turn[0.01] is found.arms[0.1, 0.01]  # the search from there never sees the best
    assert only(point("SGD", 0.1, None, [0.5]), point("SGD", 1.0, None, [0.5])).in_turn == {}


@given(st.lists(st.lists(st.integers(1, 99), min_size=5, max_size=5), min_size=1, max_size=3), st.integers(1, 5))
def test_the_expected_best_is_the_mean_over_all_choices_of_n_points_and_the_median_over_seeds(
    seeds: list[list[int]], n: int
) -> None:
    rates = (0.01, 0.1, 1.0, 10.0, 100.0)
    grid = only(*(point("SGD", rate, None, [seed[i] / 100 for seed in seeds]) for i, rate in enumerate(rates)))
    means = [fmean(max(chosen) / 100 for chosen in itertools.combinations(seed, n)) for seed in seeds]
    assert grid.expected(n) == pytest.approx(median(means))
    assert grid.expected(6) is None


def test_a_seed_that_did_not_run_all_points_is_no_study() -> None:
    grid = only(point("SGD", 0.1, None, [0.5, 0.6]), point("SGD", 1.0, None, [0.7]))
    assert grid.studies() == [[0.5, 0.7]]


def test_rates_are_alike_where_the_paired_interval_holds_zero() -> None:
    grid = only(
        point("Adam", 0.1, 1.0, [0.80, 0.90, 0.85]),
        point("Adam", 1.0, 1.0, [0.81, 0.91, 0.86]),  # a hundredth more with every seed: no interval holds 0
        point("Adam", 10.0, 1.0, [0.90, 0.80, 0.85]),
    )
    assert grid.best_rate(1.0) == 1.0
    assert grid.alike(1.0) == (1.0, 10.0)
    one_seed = only(point("Adam", 0.1, 1.0, [0.1]), point("Adam", 1.0, 1.0, [0.9]))
    assert one_seed.alike(1.0) == (0.1, 1.0)


def test_where_nothing_ended_well_there_is_no_best() -> None:
    grid = only(point("Adam", 0.1, 1.0, [None]), point("Adam", 1.0, 1.0, [None]))
    assert grid.best is None
    assert grid.best_rate(1.0) is None
    assert grid.alike(1.0) == ()
    assert grid.expected(2) == 0.0


def test_grids_are_apart_by_all_factors_but_rate_and_epsilon_and_named_by_those_that_differ() -> None:
    decayed = [{"weight decay": 0.1}, {"weight decay": 0.2}]
    grids = grids_of(
        arms(
            dense(),
            valley("Adam", follows=True, factors=decayed[0]),
            valley("Adam", follows=True, factors=decayed[1]),
            point("SGD", 0.1, None, [0.5]),
        )
    )
    assert [grid.name for grid in grids] == ["Adam, weight decay 0.1", "Adam, weight decay 0.2", "SGD"]
    assert [len(grid.arms) for grid in grids] == [9, 9, 1]
    assert grids[2].epsilons == (None,)
    assert grids[0].trial_epochs == 2.0


def test_the_leading_arms_are_the_best_of_every_grid_and_all_that_are_no_points_of_one() -> None:
    found = arms(
        dense(), valley("AvaGrad", follows=False), point("SGD", 0.1, None, [0.5]), point("SGD", 1, None, [0.4])
    )
    labels = [arm.label for arm in leading(found)]
    assert labels[0] == "dense"
    assert labels[2] == "SGD lr 0.1"
    assert len(labels) == 3
    assert labels[1].startswith("AvaGrad lr 1 ")


@pytest.mark.parametrize("factors", [{"optimizer": "kept"}, {"optimizer": "kept", "lr": 0.05}])
def test_an_arm_that_compresses_is_no_point_of_a_grid_whatever_it_says_of_an_optimizer(factors: Any) -> None:
    pruned = replace(dense(1)[0], run_id="i", arm="IMP", group={"method": "IMP", "sparsity": 0.9, **factors})
    found = arms(dense(), [pruned], point("SGD", 0.1, None, [0.5]))
    assert [grid.name for grid in grids_of(found)] == ["SGD"]
    assert [arm.label for arm in compressed_of(found)] == ["IMP"]


def test_factors_may_be_lists_and_a_rate_that_is_no_number_is_refused() -> None:
    lists = only(point("Adam", 0.1, None, [0.5], factors={"betas": [0.9, 0.99]}))
    assert lists.name == "Adam"
    with pytest.raises(InputError, match=r"arm 'Adam lr 0\.1 lr high': the factor 'lr' is 'high'; expected a number"):
        grids_of(arms(point("Adam", 0.1, None, [0.5], factors={"lr": "high"})))
