"""What may be claimed: the sentences, every refusal, every warning."""

import re

import numpy as np
import pytest

from paretorch.errors import InputError
from paretorch.evidence.claims import claim
from paretorch.evidence.families import families_of
from paretorch.evidence.speedup import compare_families
from tests.evidence.synthetic import family, noisy_pair, runs

LEFT_OUT = {"control:smaller": None, "control:random": None}
ONCE = (
    "The ratio of the times of a step is the same for every seed, so it was measured once and the intervals do not "
    "hold its uncertainty; time the arms again for each seed."
)


def judge(new, old, *, mode="claim", controls=LEFT_OUT, **options):
    return claim(compare_families(new, old, **options), mode=mode, controls=controls)


def faster(**options):
    """A candidate whose steps take two thirds of the time, exactly."""
    return family("new", step_s=0.01, **options), family("old", step_s=0.015)


# --- what is said ---------------------------------------------------------------------------------------------------


def test_a_claim_says_less_time_and_the_ratio_at_three_qualities():
    new, old = noisy_pair(0, gain=1.5)
    found = compare_families(new, old)
    verdict = claim(found, mode="claim", controls=LEFT_OUT)
    assert verdict.claimed
    assert (verdict.refusals, verdict.warnings) == ((), ())
    a, levels = found.average, [f"{at.ratio.mean:.3f} ({at.ratio.low:.3f} to {at.ratio.high:.3f})" for at in found.at]
    low, one, two, three, high = (
        f"{100 * q:.1f} %" for q in (found.range[0], *(at.quality for at in found.at), found.range[1])
    )
    assert verdict.lines[0] == (
        f"new takes {round(100 * (1 - 1 / a.mean))} % less training time than old to equal accuracy: speed-up "
        f"{a.mean:.3f} ({a.low:.3f} to {a.high:.3f}) on average from {low} to {high}; {levels[0]} at {one}, "
        f"{levels[1]} at {two} and {levels[2]} at {three} (95 % intervals)."
    )


def test_two_thirds_of_the_time_is_33_per_cent_less_and_one_and_a_half_times_the_time_is_50_per_cent_more():
    new, old = faster()
    assert judge(new, old).lines[0].startswith("new takes 33 % less training time than old to equal accuracy: ")
    assert judge(old, new).lines[0].startswith("old takes 50 % more training time than new to equal accuracy: ")
    assert judge(old, new).claimed  # a difference is claimed in either direction


def test_the_second_line_says_why():
    new, old = faster()
    assert judge(new, old).lines[1] == (
        "Why: at 81.6 % the ratio of old over new is 1.000 (1.000 to 1.000) in steps (statistical) times 1.500 (1.500 "
        "to 1.500) in seconds per step (hardware); 5 paired seeds (exact test by signs: p = 0.062, the least there "
        "can be); 6 durations over a span of 32; tuning: 1 trial for new and 1 trial for old."
    )


def test_the_exact_test_stands_beside_a_claim_and_is_the_count_of_signs():
    new, old = noisy_pair(0, gain=1.5, seeds=range(6))
    assert "6 paired seeds (exact test by signs: p = 0.031, the least there can be);" in judge(new, old).lines[1]
    assert "exact test" not in judge(*noisy_pair(0)).lines[1]


def test_tuning_says_its_trials_its_cost_and_what_so_many_trials_are_expected_to_reach():
    ours = {"trials": 2, "values": [0.7, 0.9], "costs": [10.0, 12.0]}
    theirs = {"trials": 3, "values": [0.6, 0.7, 0.8], "costs": [5.0, 5.0, 5.0]}
    new, old = family("new", step_s=0.01, tuning=ours), family("old", step_s=0.015, tuning=theirs)
    verdict = judge(new, old)
    # The best of 2 of {.6, .7, .8} is .7 once and .8 twice in three draws; a study that served many runs counts once.
    assert verdict.lines[1].endswith(
        "tuning: 2 trials for new (22 s) and 3 trials for old (15 s); expected best validation accuracy of 2 trials: "
        "90.0 % and 76.7 %."
    )
    assert verdict.claimed


def test_searches_of_single_runs_are_counted_and_their_expectations_averaged():
    records = runs("new", step_s=0.01)
    for one in records:
        one.tuning = {"trials": 2, "values": [0.5, 0.7 + 0.01 * one.seed], "costs": [1.0, 1.0]}
    old = family("old", step_s=0.015, tuning={"trials": 2, "values": [0.6, 0.8], "costs": [3.0, 3.0]})
    line = judge(families_of(records)["new"], old).lines[1]
    assert "2 trials for new in each of 5 searches (10 s) and 2 trials for old (6 s)" in line
    assert line.endswith("expected best validation accuracy of 2 trials: 72.0 % and 80.0 %.")


def test_trials_that_failed_have_no_expectation():
    ours = {"trials": 2, "values": [-float("inf"), -float("inf")], "costs": [1.0, 1.0]}
    new, old = (
        family("new", step_s=0.01, tuning=ours),
        family("old", step_s=0.015, tuning=ours | {"values": [0.5, 0.6]}),
    )
    assert judge(new, old).lines[1].endswith("; too many trials failed to say what 2 trials reach.")


def test_trials_in_the_ledger_are_the_cost_of_tuning_where_no_other_is_recorded():
    records = runs("new", step_s=0.01)
    records[0].phases.append({"phase": "trial-lr-1", "kind": "trial", "steps": 5, "seconds": 7.5})
    verdict = judge(families_of(records)["new"], faster()[1])
    assert "1 trial for new (7.5 s) and 1 trial for old." in verdict.lines[1]


def test_the_third_line_says_quality_at_equal_cost():
    verdict = judge(family("new", gain=1.5), family("old"), axis="epochs")
    assert verdict.lines[2] == (
        "At equal cost, accuracy of new minus that of old, in points: +6.2 (6.2 to 6.2) at 1 epoch; +1.8 (1.8 to 1.8) "
        "at 5.66 epochs; +0.5 (0.5 to 0.5) at 32 epochs. Controls: smaller left out, random left out."
    )


def test_controls_are_beaten_not_beaten_or_left_out():
    new, old = faster()
    smaller = compare_families(new, family("small", step_s=0.02))
    chance = compare_families(new, family("chance", step_s=0.01))
    verdict = judge(new, old, controls={"control:smaller": smaller, "control:random": chance, "control:dense": None})
    assert verdict.lines[2].endswith(
        "Controls: smaller beaten (2.000 (2.000 to 2.000)), random not beaten (1.000 (1.000 to 1.000)), dense left out."
    )
    assert verdict.claimed  # of the baseline; what the control says is a warning
    assert verdict.warnings == ("new does not beat random; what it gains over old may be had without it.", ONCE)


def test_a_control_that_may_be_as_good_is_not_beaten():
    new, old = noisy_pair(0, gain=1.5)
    near = families_of(runs("near", gain=1.38, rng=np.random.default_rng(3), within=0.01))["near"]
    control = compare_families(new, near)
    assert control.average.mean > 1 > control.average.low
    verdict = judge(new, old, controls={"control:smaller": control, "control:random": None})
    assert "smaller not beaten (" in verdict.lines[2]


def test_a_control_that_never_comes_near_is_beaten_and_one_that_is_always_better_is_not():
    new, old = faster()
    records = {shift: runs("other", step_s=0.01) for shift in (-0.5, 0.5)}
    for shift, made in records.items():
        for one in made:
            one.quality += shift
    bad, good = (compare_families(new, families_of(made)["other"]) for made in records.values())
    assert bad.range is good.range is None
    verdict = judge(new, old, controls={"control:smaller": bad, "control:random": good})
    assert "Controls: smaller beaten, random not beaten." in verdict.lines[2]


def test_no_evidence_says_the_interval_that_contains_one():
    found = compare_families(*noisy_pair(0))
    verdict = claim(found, mode="claim", controls=LEFT_OUT)
    assert not verdict.claimed
    assert verdict.refusals == ()
    a = found.average
    assert verdict.lines[0].startswith(
        f"No evidence: the 95 % interval of the speed-up, {a.low:.3f} to {a.high:.3f}, contains 1 (p = "
        f"{found.p_value:.2g}), so no difference in training time to equal accuracy can be claimed. The point estimate "
        f"of the speed-up is {a.mean:.3f} on average from "
    )
    assert "Not significant on its own: the ratio at " in verdict.lines[2]
    assert ", not significant" in verdict.lines[2]


@pytest.mark.parametrize(("factor", "claimed"), [(1.019, False), (1 / 1.019, False), (1.021, True), (1 / 1.021, True)])
def test_a_time_ratio_within_two_per_cent_is_never_claimed_however_narrow_its_interval(factor, claimed):
    verdict = judge(family("new", step_s=0.01), family("old", step_s=0.01 * factor))
    assert verdict.claimed is claimed
    if not claimed:
        assert f"A time ratio of {factor:.3f} lies within the 2 %".lower() in verdict.lines[0].lower()


def test_a_ratio_of_steps_needs_no_such_margin():
    assert judge(family("new", gain=1.015), family("old"), axis="steps").claimed


@pytest.mark.parametrize("axis", ["steps", "samples", "epochs", "flops", "energy_j"])
def test_speed_is_said_of_time_only(axis):
    def made(label, **options):
        records = runs(label, flops_step={"forward": 1, "backward": 2}, **options)
        for one in records:
            one.energy = {"joules": 5.0 * one.duration["steps"], "source": "nvml", "scope": "gpu"}
        return families_of(records)[label]

    for gain in (1.5, 1.0):
        verdict = judge(made("new", gain=gain), made("old"), axis=axis)
        words = " ".join((*verdict.lines, *verdict.warnings)).lower()
        assert "speed" not in words
        assert "faster" not in words
        assert "time to" not in words
        noun = {"flops": "operations", "energy_j": "energy"}.get(axis, axis)
        assert noun in verdict.lines[0]
    assert re.match(r"new takes 3\d % (fewer|less) ", judge(made("new", gain=1.5), made("old"), axis=axis).lines[0])


def test_a_level_that_a_seed_does_not_reach_says_so_and_gives_a_bound():
    new, old = family("new", gain=3.0), family("old")
    found = compare_families(new, old, qualities=[0.9, 0.937, 0.99])
    line = claim(found, mode="claim", controls=LEFT_OUT).lines[0]
    bound = found.at[1].at_least
    assert f"at least {bound:.3f} at 93.7 % (5 of 5 seeds of old did not reach it)" in line
    assert "no bound at 99.0 % (5 of 5 seeds of new did not reach it and 5 of 5 seeds of old did not reach it)" in line


# --- refusals -------------------------------------------------------------------------------------------------------


def refused(verdict, sentence):
    assert not verdict.claimed
    assert sentence in verdict.refusals
    assert verdict.lines[0].startswith("No evidence: ")
    assert sentence[1:] in verdict.lines[0]
    return True


@pytest.mark.parametrize(
    ("epochs", "held"),
    [((1, 2, 4, 32), "4 durations over a span of 32"), ((1, 2, 3, 4, 5), "5 durations over a span of 5")],
)
def test_too_few_durations_or_too_short_a_span_is_a_point_estimate(epochs, held):
    new, old = family("new", step_s=0.01, epochs=epochs), family("old", step_s=0.015, epochs=epochs)
    verdict = judge(new, old)
    assert refused(
        verdict,
        f"The curves hold {held}, which gives a point estimate and no claim; run at least 5 durations, the longest at "
        "least 8 times the shortest.",
    )
    assert "The point estimate of the speed-up is 1.500 on average from " in verdict.lines[0]


def test_five_durations_over_a_span_of_eight_are_enough():
    epochs = (1, 2, 3, 5, 8)
    assert judge(family("new", step_s=0.01, epochs=epochs), family("old", step_s=0.015, epochs=epochs)).claimed


@pytest.mark.parametrize(
    ("seeds", "sentence"),
    [
        (1, "There is 1 paired seed; run at least 5."),
        (2, "There are 2 paired seeds; run at least 5."),
        (
            3,
            "There are 3 paired seeds, which are enough only where one run takes over 300 s, and the longest took 48 "
            "s; run at least 5.",
        ),
        (
            4,
            "There are 4 paired seeds, which are enough only where one run takes over 300 s, and the longest took 48 "
            "s; run at least 5.",
        ),
    ],
)
def test_too_few_seeds_are_refused(seeds, sentence):
    new, old = (family(label, step_s=s, seeds=range(seeds)) for label, s in (("new", 0.01), ("old", 0.015)))
    assert refused(judge(new, old), sentence)


@pytest.mark.parametrize(("step_s", "claimed"), [(0.0937, False), (0.0938, True)])
def test_three_seeds_are_enough_where_a_run_takes_over_five_minutes_and_are_printed_low_n(step_s, claimed):
    # The longest run has 3200 steps: 299.8 s, or 300.2 s.
    new, old = (family(label, step_s=s, seeds=range(3)) for label, s in (("new", 0.05), ("old", step_s)))
    verdict = judge(new, old)
    assert verdict.claimed is claimed
    assert "; 3 paired seeds, low-n; " in verdict.lines[1]


def test_three_long_runs_are_judged_by_their_seconds_on_every_axis():
    new, old = (family(label, gain=g, step_s=0.1, seeds=range(3)) for label, g in (("new", 1.5), ("old", 1.0)))
    assert judge(new, old, axis="steps").claimed
    for record in (*new.runs, *old.runs):
        for phase in record.phases:
            del phase["step_s"], phase["seconds"]
    assert "the longest took an unknown time" in judge(new, old, axis="steps").lines[0]


def test_a_candidate_that_was_tuned_more_than_its_baseline_is_refused():
    new, old = family("new", step_s=0.01, tuning={"trials": 4}), family("old", step_s=0.015)
    assert refused(
        judge(new, old),
        "The candidate was tuned with 4 trials and the baseline with 1, so part of the difference may be tuning; give "
        "the baseline 4 as well.",
    )
    assert judge(family("new", step_s=0.01), family("old", step_s=0.015, tuning={"trials": 4})).claimed


def test_a_screening_claims_nothing():
    assert refused(
        judge(*faster(), mode="screening"),
        "These are points of a screening, read from one run each; run the full grid of durations.",
    )


@pytest.mark.parametrize(
    ("controls", "missing"),
    [
        ({}, "The controls smaller and random are missing; "),
        ({"control:smaller": None}, "The control random is missing; "),
        ({"control:random": None, "control:dense": None}, "The control smaller is missing; "),
    ],
)
def test_a_control_that_is_missing_is_refused(controls, missing):
    assert refused(
        judge(*faster(), controls=controls),
        f"{missing}run the same durations of a smaller model and of the random version of the method, or say that a "
        "control was left out.",
    )


def test_times_that_were_not_taken_in_turns_are_refused():
    new, old = family("new", gain=1.5, step_s=None), family("old", step_s=None)
    assert refused(
        judge(new, old),
        "The steps of the two arms were not timed in turns, and a machine drifts between timings by tens of per cent; "
        "time the steps interleaved, or compare steps.",
    )
    assert judge(new, old, axis="steps").claimed


def test_arms_that_share_no_quality_are_refused():
    records = runs("new")
    for one in records:
        one.quality += 0.5
    verdict = judge(families_of(records)["new"], family("old"))
    assert refused(
        verdict,
        "There is no quality that every seed of both arms passes through, so there is nothing to compare at; add "
        "shorter runs of the better arm and longer runs of the other.",
    )
    assert verdict.lines[1].startswith("Why: without a common quality nothing can be split; ")


def test_every_reason_is_said():
    new, old = (family(label, step_s=s, seeds=range(2), epochs=(1, 2)) for label, s in (("new", 0.01), ("old", 0.02)))
    verdict = judge(new, old, mode="screening", controls={})
    assert len(verdict.refusals) == 4
    assert all(sentence[1:] in verdict.lines[0] for sentence in verdict.refusals)


def test_an_unknown_mode_and_a_control_of_another_candidate_are_errors():
    new, old = faster()
    with pytest.raises(InputError, match=r"mode is one of \('claim', 'screening'\), got 'final'"):
        judge(new, old, mode="final")
    with pytest.raises(InputError, match="'control:random' compares 'old' in seconds, the claim is about 'new'"):
        judge(new, old, controls=LEFT_OUT | {"control:random": compare_families(old, new)})
    with pytest.raises(InputError, match="compares 'new' in steps, the claim is about 'new' in seconds"):
        judge(new, old, controls=LEFT_OUT | {"control:random": compare_families(new, old, axis="steps")})
