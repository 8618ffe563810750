"""What a reader of a claim is warned of: one test per sentence."""

import re

from paretorch.evidence.families import families_of
from tests.evidence.synthetic import family, noisy_pair, run, runs
from tests.evidence.test_claims import ONCE, judge


def test_a_learning_rate_that_did_not_come_down_is_a_warning():
    new, old = family("new", step_s=0.01), family("old", step_s=0.015, curves=[{"lr": 0.1}, {"lr": 0.05}])
    verdict = judge(new, old)
    assert verdict.claimed
    assert verdict.warnings == (
        "old: 30 of 30 runs ended too high. The learning rate of old-1ep-s0 ended at 50 % of its highest value, so its "
        "schedule had not come down; let it end below 5 % at every duration.",
        ONCE,
    )


def test_runs_that_failed_are_named():
    records = runs("new", step_s=0.01)
    records[5] = run("new", 0, 32, None, step_s=0.01, status="out_of_memory")
    verdict = judge(families_of(records)["new"], family("old", step_s=0.015))
    assert verdict.warnings == (
        "new: 1 of 30 runs did not end well and count as not reaching anything: new-32ep-s0 (out of memory).",
        ONCE,
    )


def test_seeds_that_one_arm_ran_alone_are_named():
    new, old = family("new", step_s=0.01, seeds=range(7)), family("old", step_s=0.015)
    assert judge(new, old).warnings == (
        "new alone has seeds 5 and 6; they are left out, since runs are compared in pairs.",
        ONCE,
    )


def test_steps_that_are_the_same_for_both_arms_need_no_second_measurement():
    assert judge(family("new", gain=1.5), family("old")).warnings == ()


def test_a_small_ratio_from_single_runs_is_called_no_evidence_and_a_large_one_is_not():
    small, large = (
        judge(family("new", step_s=0.01, seeds=(0,)), family("old", step_s=s, seeds=(0,))) for s in (0.0119, 0.0121)
    )
    assert small.warnings == (
        "This is a single run of each arm; seed noise alone makes ratios up to 1.2 common, so this one is no evidence.",
    )
    assert large.warnings == ()
    assert not large.claimed


def test_counts_from_two_machines_are_compared_with_a_warning():
    new = family("new", gain=1.5, env={"host": "ffffffff"})
    verdict = judge(new, family("old", env={"host": "ab12cd34"}), axis="steps")
    assert verdict.claimed
    assert verdict.warnings == (
        "The runs come from different environments (host: ab12cd34, ffffffff); steps can be compared across them, "
        "times cannot.",
    )


def test_lines_hold_no_number_that_is_not_finite():
    for seed in range(3):
        for line in judge(*noisy_pair(seed, within=0.02)).lines:
            assert not re.search(r"\b(nan|inf)\b", line)
