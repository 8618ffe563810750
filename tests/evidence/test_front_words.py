"""Whole fronts of a sweep in words: the areas are those of the fronts, paired over seeds."""

import math

import pytest

from paretorch.evidence.arms import arms_of, baseline_of
from paretorch.evidence.front_words import front_sentences
from paretorch.evidence.records import RunRecord

DENSE = 1000
SPARSITIES = (0.5, 0.8, 0.9)


def run(arm, seed, quality, *, nonzeros, references=None, **group):
    return RunRecord(
        run_id=f"{arm}-s{seed}",
        arm=arm,
        group=group,
        seed=seed,
        workload="digits",
        metric="accuracy",
        quality=quality,
        references=references or {},
        cost={"nonzeros": nonzeros},
    )


def sweep(gap, *, seeds=(0, 1, 2), references=None):
    """ALLR better than FT by `gap[seed]` at every sparsity."""
    runs = [run("dense", s, 0.95, nonzeros=DENSE, method="dense", references=references) for s in seeds]
    for seed in seeds:
        for sparsity in SPARSITIES:
            for schedule, more in (("FT", 0.0), ("ALLR", gap[seed])):
                label, kept = f"{schedule} {sparsity}", round(DENSE * (1 - sparsity))
                group = {"method": "IMP", "schedule": schedule, "sparsity": sparsity}
                quality = 0.9 - 0.2 * sparsity + more
                runs.append(run(label, seed, quality, nonzeros=kept, references=references, **group))
    arms = arms_of(runs)
    return arms, baseline_of(arms)


def test_the_difference_is_that_of_the_areas_by_hand():
    # A constant gain in quality adds gap * ln(dense / kept) at the sparsest point and nothing else beyond it.
    (sentence,) = front_sentences(*sweep({0: 0.019, 1: 0.02, 2: 0.021}, references={"guessing": 0.1}))
    mean = 0.02 * math.log(DENSE / 100)
    assert f"covers {mean:.2g} more than that of IMP with FT" in sentence
    assert "from 10.0 %; 95 % interval" in sentence
    assert "over 3 seeds, low-n" in sentence
    assert "no difference" not in sentence


def test_a_difference_that_may_be_zero_is_not_claimed():
    (sentence,) = front_sentences(*sweep({0: 0.03, 1: -0.03, 2: 0.01}))
    assert "which contains 0: no difference can be claimed" in sentence


def test_the_weakest_reference_is_the_corner_and_not_the_best():
    (sentence,) = front_sentences(*sweep({0: 0.01, 1: 0.02, 2: 0.03}, references={"guessing": 0.1, "linear": 0.99}))
    assert "from 10.0 %" in sentence


@pytest.mark.parametrize("drop", ["dense", "one front", "one seed"])
def test_without_two_fronts_and_two_seeds_and_a_dense_model_nothing_is_said(drop):
    arms, baseline = sweep({0: 0.01, 1: 0.02, 2: 0.03}, seeds=(0,) if drop == "one seed" else (0, 1, 2))
    if drop == "one front":
        arms = [arm for arm in arms if not arm.label.startswith("ALLR 0.9")]
    assert front_sentences(arms, None if drop == "dense" else baseline) == []


def test_a_setting_that_a_seed_did_not_finish_costs_its_front_and_is_not_forgiven():
    whole, baseline = sweep({0: 0.019, 1: 0.02, 2: 0.021}, references={"guessing": 0.1})
    arms, _ = sweep({0: 0.019, 1: 0.02, 2: 0.021}, references={"guessing": 0.1})
    for arm in arms:
        if arm.label.startswith("ALLR"):
            arm.runs[0].status = "diverged"
    (before,), (after,) = front_sentences(whole, baseline), front_sentences(arms, baseline)
    assert "over 3 seeds" in after
    assert "covers 0.046 more" in before
    assert " less than that of IMP with FT" in after


def test_fronts_of_other_settings_are_not_compared():
    arms, baseline = sweep({0: 0.01, 1: 0.02, 2: 0.03})
    more = run("FT 0.7", 0, 0.8, nonzeros=300, method="IMP", schedule="FT", sparsity=0.7)
    assert front_sentences([*arms, *arms_of([more])], baseline) == []
