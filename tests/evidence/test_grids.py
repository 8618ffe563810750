"""Grids of learning rate and epsilon: the best rate, how far it moves, and what n trials are expected to reach."""

import itertools
import math
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.arms import compressed_of
from paretorch.evidence.grids import Grid, grids_of, leading
from paretorch.evidence.quantities import training_epochs, training_seconds
from paretorch.evidence.statistics import mean_interval, paired_interval
from tests.evidence.grids import EPSILONS, RATES, arms, dense, point, valley


def only(*records: Any) -> Grid:
    (grid,) = grids_of(arms(*records))
    return grid


def test_a_rate_that_stays_moves_by_no_decade_and_one_that_follows_epsilon_by_the_decades_between_its_ends() -> None:
    still, follows = only(valley("AvaGrad", follows=False)), only(valley("Adam", follows=True))
    assert [still.best_rate(epsilon) for epsilon in EPSILONS] == [1.0, 1.0, 1.0]
    assert [follows.best_rate(epsilon) for epsilon in EPSILONS] == [0.1, 1.0, 10.0]
    assert (still.moved, follows.moved) == (0.0, pytest.approx(2.0))
    assert still.at_edge == []
    assert follows.at_edge == [0.01, 100.0]


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
    assert grid.moved_surely == 0  # one seed tells no rates apart
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
    assert grid.expected(1) == {0: pytest.approx(2.0), 1: math.inf}
    assert grid.expected_mean(1) is None
    mean = grid.expected_mean(3)
    assert mean is not None
    assert mean.mean == pytest.approx((1.0 + 2.1) / 2)
    assert grid.moved is None
    assert grid.moved_surely is None


def test_a_diverged_trial_of_an_accuracy_counts_as_zero_and_is_never_chosen() -> None:
    grid = only(point("Adam", 0.1, 1.0, [0.5, 0.6]), point("Adam", 1.0, 1.0, [0.9, None]))
    assert grid.best_rate(1.0) == 0.1
    assert grid.ended_well(1.0, 1.0) is None
    assert grid.expected(1) == {0: pytest.approx(0.7), 1: pytest.approx(0.3)}


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
def test_the_expected_best_is_the_mean_over_all_choices_of_n_points_with_its_interval_over_seeds(
    seeds: list[list[int]], n: int
) -> None:
    rates = (0.01, 0.1, 1.0, 10.0, 100.0)
    grid = only(*(point("SGD", rate, None, [seed[i] / 100 for seed in seeds]) for i, rate in enumerate(rates)))
    means = [fmean(max(chosen) / 100 for chosen in itertools.combinations(seed, n)) for seed in seeds]
    found = grid.expected_mean(n)
    assert found is not None
    assert found.mean == pytest.approx(fmean(means))
    assert found.n == len(means)
    assert found.half_width == (None if len(means) == 1 else pytest.approx(mean_interval(means).half_width))
    assert grid.expected(6) == {}
    assert grid.expected_mean(6) is None


def test_points_are_compared_over_the_seeds_that_ran_all_of_them() -> None:
    grid = only(point("SGD", 0.1, None, [0.5, 0.6]), point("SGD", 1.0, None, [0.54]))
    assert grid.seeds == [0]
    assert grid.expected(1) == {0: pytest.approx(0.52)}
    assert grid.best_rate(None) == 1.0  # 0.55 against 0.54 over all seeds
    second = replace(point("SGD", 1.0, None, [0.5, 0.5])[1])
    apart = only(point("SGD", 0.1, None, [0.5]), [second])
    assert apart.seeds == []
    assert apart.best is None
    assert apart.expected_mean(1) is None


def test_rates_are_alike_where_the_paired_interval_holds_zero() -> None:
    grid = only(
        point("Adam", 0.1, 1.0, [0.80, 0.90, 0.85]),
        point("Adam", 1.0, 1.0, [0.81, 0.91, 0.86]),  # a hundredth more with every seed: no interval holds 0
        point("Adam", 10.0, 1.0, [0.90, 0.80, 0.85]),
    )
    assert grid.best_rate(1.0) == 1.0
    assert grid.alike(1.0) == [1.0, 10.0]
    one_seed = only(point("Adam", 0.1, 1.0, [0.1]), point("Adam", 1.0, 1.0, [0.9]))
    assert one_seed.alike(1.0) == [0.1, 1.0]


def test_where_nothing_ended_well_there_is_no_best() -> None:
    grid = only(point("Adam", 0.1, 1.0, [None]), point("Adam", 1.0, 1.0, [None]))
    assert grid.best is None
    assert grid.best_rate(1.0) is None
    assert grid.alike(1.0) == []
    assert grid.charged is None
    assert grid.expected(2) == {0: 0.0}


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
    for rate, reason in ((0.0, "positive"), (math.inf, "a number"), (math.nan, "a number")):
        with pytest.raises(InputError, match=rf"arm 'Adam lr 0\.1 lr {rate}': .* expected a {reason.split()[-1]}"):
            grids_of(arms(point("Adam", 0.1, None, [0.5], factors={"lr": rate})))


def test_intervals_of_a_grid_are_wide_enough_for_all_its_comparisons_together() -> None:
    def noisy(level: float) -> list[float]:
        return [level + away for away in (0.004, -0.004, 0.001, -0.001, 0.0)]

    best, worse = [0.9] * 5, noisy(0.8961)
    assert paired_interval(best, worse).low > 0
    few = only(point("Adam", 0.1, 1.0, worse), point("Adam", 1.0, 1.0, best))
    many = only(*(point("Adam", rate, eps, best if rate == 1 else worse) for rate in RATES for eps in EPSILONS))
    assert few.alike(1.0) == [1.0]
    assert many.alike(1.0) == [*RATES]
    assert many.moved_surely == 0


@pytest.mark.parametrize("seeds", [2, 3])
@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=9, max_size=9), st.integers(0, 10**6))
def test_the_movement_to_claim_is_the_least_that_the_rates_not_told_apart_allow(
    seeds: int, found: list[int], noise: int
) -> None:
    points = list(itertools.product(RATES, EPSILONS))
    wiggle = [noise >> shift & 1 for shift in range(9 * seeds)]
    values = {
        key: [value / 4 + wiggle.pop() / 100 for _ in range(seeds)] for key, value in zip(points, found, strict=True)
    }
    grid = only(*(point("Adam", rate, epsilon, values[rate, epsilon]) for rate, epsilon in points))
    choices = itertools.product(*(grid.alike(epsilon) for epsilon in EPSILONS))
    spans = [math.log10(max(choice) / min(choice)) for choice in choices]
    assert grid.moved_surely == pytest.approx(min(spans))
    assert grid.moved is not None
    assert grid.moved_surely <= grid.moved + 1e-12


def test_where_one_rate_ended_well_there_was_no_choice_and_nothing_moves() -> None:
    lone = only(*(point("Adam", 1.0, epsilon, [0.9, 0.9]) for epsilon in EPSILONS))
    assert (lone.compared, lone.moved, lone.in_turn) == ([], None, {})
    lost = only(
        *(point("Adam", 1.0, epsilon, [0.9, 0.9]) for epsilon in EPSILONS),
        *(point("Adam", 10.0, epsilon, [None if epsilon > 0.01 else 0.8] * 2) for epsilon in EPSILONS),
    )
    assert (lost.compared, lost.moved) == ([0.01], None)


def test_an_end_is_the_last_rate_that_was_run_at_that_epsilon() -> None:
    grid = only(
        *(point("Adam", rate, 0.01, [rate / 10]) for rate in (0.1, 1.0)),
        *(point("Adam", rate, 1.0, [0.9 if rate == 1 else 0.1]) for rate in (0.1, 1.0, 10.0)),
    )
    assert grid.at_edge == [0.01]


def test_the_chosen_point_is_charged_for_all_trainings_of_its_seed() -> None:
    records = [replace(run, cost={"seconds": 3.0, "nonzeros": 7}) for run in valley("Adam", follows=True)]
    grid = only(records)
    assert grid.best is not None
    assert {training_epochs(run) for run in grid.best.runs} == {2.0}
    assert grid.charged is not None
    assert {training_epochs(run) for run in grid.charged.runs} == {9 * 2.0}
    assert {training_seconds(run) for run in grid.charged.runs} == {9 * 3.0}
    assert {run.cost["nonzeros"] for run in grid.charged.runs} == {7}
    (found,) = leading(arms(records))
    assert {training_epochs(run) for run in found.runs} == {18.0}
    timed = [replace(run, phases=[{**run.phases[0], "seconds": 3.0}]) for run in valley("Adam", follows=True)]
    untimed = [*timed[:-3], *(replace(run, phases=[{"phase": "train", "epochs": 2.0}]) for run in timed[-3:])]
    for runs, seconds in ((timed, 27.0), (untimed, None)):  # a sum without the seconds of a trial would be too low
        charged = only(runs).charged
        assert charged is not None
        assert {training_seconds(run) for run in charged.runs} == {seconds}
    diverged = only(point("SGD", 0.1, None, [0.5]), point("SGD", 1.0, None, [None])).charged
    assert diverged is not None
    assert training_epochs(diverged.runs[0]) == 4.0


def test_two_arms_that_are_one_point_are_refused() -> None:
    first = point("Adam", 0.1, 1.0, [0.5])
    again = [replace(run, run_id="again", arm="again", group={**run.group, "eps": 1}, quality=0.9) for run in first]
    with pytest.raises(NotComparableError, match=r"'Adam lr 0\.1 eps 1' and 'again' have the same optimizer, settings"):
        grids_of(arms(first, again))
