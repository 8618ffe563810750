"""When a run first met the references of its task, from its own curve."""

import math

from paretorch.pipelines.target_hits import target_hits


def point(step, seconds, validation):
    return {"step": step, "seconds": seconds, "validation": validation, "train_loss": 1.0}


CURVE = [point(5, 0.5, None), point(10, 1.0, 0.4), point(15, 1.5, None), point(20, 2.0, 0.7), point(30, 3.0, 0.6)]


def test_a_target_is_reached_between_two_looks_and_points_without_validation_are_no_looks():
    (hit,) = target_hits(CURVE, {"guessing": 0.5}, higher_is_better=True)
    assert hit == {"name": "guessing", "target": 0.5, "step": 20, "t_lo": 1.0, "t_hi": 2.0}


def test_a_target_met_at_the_first_look_was_met_some_time_before():
    (hit,) = target_hits(CURVE, {"guessing": 0.3}, higher_is_better=True)
    assert (hit["t_lo"], hit["t_hi"], hit["step"]) == (0.0, 1.0, 10)


def test_a_target_that_is_never_met_is_kept_and_known_to_take_longer_than_the_run():
    (hit,) = target_hits(CURVE, {"perfect": 1.0}, higher_is_better=True)
    assert (hit["t_lo"], hit["t_hi"], hit["step"]) == (3.0, None, None)


def test_lower_is_better_where_the_task_says_so():
    (hit,) = target_hits(CURVE, {"trigram": 0.5}, higher_is_better=False)
    assert (hit["step"], hit["t_hi"]) == (10, 1.0)


def test_of_two_looks_at_one_moment_the_later_counts_and_nan_meets_nothing():
    curve = [point(10, 1.0, 0.2), point(10, 1.0, 0.9), point(20, 2.0, math.nan)]
    (hit,) = target_hits(curve, {"guessing": 0.5}, higher_is_better=True)
    assert (hit["step"], hit["t_hi"]) == (10, 1.0)


def test_a_run_that_was_never_looked_at_says_nothing():
    assert target_hits([point(5, 0.5, None)], {"guessing": 0.5}, higher_is_better=True) == []
