"""Runs that are not the sample a claim takes them for: missing, copied, of other batches, or a control that failed."""

from dataclasses import replace

import numpy as np
import pytest

from paretorch.errors import InputError
from paretorch.evidence.claims import claim
from paretorch.evidence.families import families_of
from paretorch.evidence.sampled import fewest_trials
from paretorch.evidence.speedup import compare_families
from tests.evidence.synthetic import family, runs
from tests.evidence.test_claims import LEFT_OUT, judge


def against(new, old, smaller):
    controls = LEFT_OUT | {"control:smaller": compare_families(new, smaller)}
    return claim(compare_families(new, old), mode="claim", controls=controls)


def made(records):
    return families_of(records)[records[0].family]


def test_fewer_steps_of_a_larger_batch_are_no_claim_and_the_samples_are_the_same():
    new, old = family("new", batch=128, steps=50), family("old")
    verdict = judge(new, old, axis="steps")
    assert not verdict.claimed
    assert verdict.refusals == (
        "A step of new has 128 examples and one of old 64, so their steps are different amounts of work; compare "
        "samples or seconds.",
    )
    assert compare_families(new, old, axis="samples").average.mean == pytest.approx(1)


def test_a_run_copied_under_five_seeds_is_one_run():
    one = runs("new", gain=1.5, seeds=[0], rng=np.random.default_rng(0))
    copies = [replace(run, seed=seed, run_id=f"{run.run_id}-{seed}") for seed in range(5) for run in one]
    verdict = judge(made(copies), family("old"))
    assert not verdict.claimed
    assert verdict.refusals == (
        "new has the same qualities in seeds 0, 1, 2, 3 and 4, digit for digit, so they are one run and not several; "
        "run them with seeds that change the result.",
    )


def test_a_run_that_is_missing_may_be_the_one_that_did_badly():
    kept = [run for run in runs("new", gain=1.5) if (run.seed, run.duration["epochs"]) != (2, 32.0)]
    verdict = judge(made(kept), family("old"))
    assert not verdict.claimed
    assert verdict.refusals == (
        "new has no run of seed 2 at 32, where other seeds have one, and what is missing may be what "
        "did badly; run it, or leave that duration out for every seed.",
    )


def test_a_control_that_never_ended_well_is_not_beaten():
    lost = [replace(run, status="diverged", quality=None) for run in runs("small")]
    verdict = against(family("new", gain=1.5), family("old"), made(lost))
    assert not verdict.claimed
    assert verdict.refusals == (
        "No run of the control smaller ended well in seeds 0, 1, 2, 3 and 4, so nobody knows whether it is beaten; "
        "make it train, or say that it was left out.",
    )
    assert "smaller unknown" in verdict.lines[2]


def test_a_control_that_was_tuned_less_is_beaten_with_a_warning():
    tuned = {"tuning": {"trials": 3}}
    arms = family("new", gain=1.5, **tuned), family("old", **tuned)
    verdict = against(*arms, family("small", gain=0.7))
    assert verdict.claimed
    assert verdict.warnings == (
        "The control smaller was tuned with 1 trial and new with 3, so beating it may be tuning.",
    )
    assert against(*arms, family("small", gain=0.7, **tuned)).warnings == ()


def test_a_baseline_counts_as_tuned_only_where_every_run_was():
    records = runs("old", tuning={"trials": 3})
    old = made([replace(records[0], tuning={}), *records[1:]])
    assert (old.trials, fewest_trials(old)) == (3, 1)
    verdict = judge(family("new", gain=1.5, tuning={"trials": 3}), old)
    assert "The candidate was tuned with 3 trials and the baseline with 1," in verdict.refusals[0]


def test_a_trial_count_that_a_failed_run_does_not_hold_is_not_held_against_the_others():
    records = runs("old", tuning={"trials": 3})
    old = made([replace(records[0], tuning={}, status="diverged", quality=None), *records[1:]])
    assert fewest_trials(old) == 3
    assert judge(family("new", gain=1.5, tuning={"trials": 3}), old).claimed


@pytest.mark.parametrize("qualities", [[], [float("nan")], [0.8, float("inf")]])
def test_qualities_that_are_none_are_refused(qualities):
    with pytest.raises(InputError, match="one or more finite numbers, or None"):
        compare_families(family("new"), family("old"), qualities=qualities)
