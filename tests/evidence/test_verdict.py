"""Sentences from synthetic sweeps: what must be said, and what must never be said."""
# ruff: noqa: RUF001  (the sentences use typographic minus signs)

import re

import pytest

from paretorch.errors import InputError
from paretorch.evidence.arms import arms_of
from paretorch.evidence.verdict import claim, contrasts, verdict


def only(sentences, pattern):
    found = [sentence for sentence in sentences if re.search(pattern, sentence)]
    assert len(found) == 1, f"{len(found)} sentences match {pattern!r}: {sentences}"
    return found[0]


def pair(record, a, b, *, metric="accuracy", higher_is_better=True):
    """Sentences about schedule A against FT with these qualities."""
    group = {"method": "IMP", "sparsity": 0.9, "epochs": 2.0}
    direction = {"metric": metric, "higher_is_better": higher_is_better}
    runs = [
        record(arm=name, group=group | {"schedule": name}, seed=seed, quality=q, **direction)
        for name, qualities in (("FT", b), ("ALLR", a))
        for seed, q in enumerate(qualities)
    ]
    return verdict(runs)


def test_main_finding_is_the_sparsest_arm_that_keeps_validation_quality(sweep):
    first = verdict(sweep())[0]
    # ALLR at 90 % loses 1.0 of 97.0 points, over 1 % of it; nothing keeps it, the closest is named.
    assert (
        "no arm keeps validation accuracy within 1 % of dense; the closest is IMP with ALLR at 90 % sparsity" in first
    )
    runs = sweep()
    for run in runs:
        if run.arm == "IMP FT 98%":
            run.validation = 0.969
    assert "keeps validation accuracy within 1 % of dense is IMP with FT at 98 % sparsity" in verdict(runs)[0]


def test_sparser_arm_wins_the_main_finding_and_validation_breaks_ties(sweep):
    runs = sweep()
    for run in runs:
        run.validation = {"IMP FT 90%": 0.985, "IMP FT 98%": 0.968, "IMP ALLR 98%": 0.969}.get(run.arm, run.validation)
    assert "within 1 % of dense is IMP with ALLR at 98 % sparsity" in verdict(runs)[0]


def test_main_finding_gives_both_levels_the_difference_and_its_interval(sweep):
    # Qualities: dense .970 .972 .968; ALLR at 90 % is lower by .008 .010 .012; t(0.975, 2) s / sqrt 3 = 0.00497.
    first = verdict(sweep())[0]
    assert "it reaches 96.0 % (± " in first
    assert "dense model's 97.0 % (± 0.5, 3 seeds, low-n)" in first
    assert "1.0 points less than dense (95 % interval −1.5 to −0.5 over 3 seeds)" in first


def test_test_quality_does_not_choose_the_main_finding(sweep):
    runs = sweep()
    for run in runs:
        if run.arm == "IMP FT 98%":
            run.quality = 0.999
    assert "IMP with ALLR at 90 %" in verdict(runs)[0]


def test_comparison_states_setting_levels_difference_interval_and_seeds(record):
    sentence = only(pair(record, [0.912, 0.910, 0.914], [0.850, 0.852, 0.851]), "^At 90 % sparsity")
    # Differences 6.2, 5.8, 6.3: mean 6.1, s = 0.2646, t(0.975, 2) s / sqrt 3 = 0.657.
    assert sentence == (
        "At 90 % sparsity and 2 retraining epochs, IMP with ALLR reaches 91.2 % (± 0.5, 3 seeds, low-n), "
        "6.1 points more than IMP with FT (95 % interval 5.4 to 6.8 over 3 seeds)."
    )


def test_losing_method_is_said_to_lose(record):
    sentence = only(pair(record, [0.85, 0.852, 0.851], [0.912, 0.910, 0.914]), "^At 90 %")
    assert "6.1 points less than IMP with FT (95 % interval −6.8 to −5.4" in sentence


def test_interval_that_contains_zero_claims_nothing(record):
    sentence = only(pair(record, [0.91, 0.90, 0.92], [0.90, 0.91, 0.91]), "^At 90 %")
    assert "contains 0: no difference can be claimed" in sentence
    assert sentence.count("points more") == 1


def test_tie_claims_nothing(record):
    sentence = only(pair(record, [0.9, 0.8], [0.9, 0.8]), "^At 90 %")
    assert "the same as IMP with FT on average, but the 95 % interval 0.0 to 0.0" in sentence
    assert "no difference can be claimed" in sentence


def test_one_seed_claims_nothing_however_large_the_difference(record):
    sentence = only(pair(record, [0.9], [0.1]), "^At 90 %")
    assert "80.0 points more than IMP with FT in the one seed both ran" in sentence
    assert "no difference can be claimed" in sentence
    assert "(1 seed, low-n)" in sentence


def test_arms_of_different_seeds_are_not_compared(record):
    group = {"method": "IMP", "sparsity": 0.9}
    runs = [record(arm="a", group=group | {"schedule": "FT"}, seed=0, quality=0.9)]
    runs.append(record(arm="b", group=group | {"schedule": "LLR"}, seed=1, quality=0.5))
    assert "shares no finished seed with IMP with FT, so the two are not compared" in only(verdict(runs), "^At 90 %")


def test_lower_is_better_metrics_are_not_percentages_and_say_which_way_is_better(record):
    sentences = pair(record, [4.1, 4.2, 4.0], [5.1, 5.2, 5.1], metric="perplexity", higher_is_better=False)
    sentence = only(sentences, "^At 90 %")
    assert "reaches 4.100 (± 0.25," in sentence
    assert "1.03 lower (better) than IMP with FT" in sentence
    assert "% interval −1.18 to −0.89" in sentence


def test_headline_of_a_loss_prefers_the_lower_one(sweep):
    runs = sweep()
    for run in runs:
        run.metric, run.higher_is_better = "loss", False
        run.quality = run.validation = 1 - run.quality
    assert "the closest is IMP with ALLR at 90 % sparsity" in verdict(runs)[0]
    assert "IMP with ALLR against IMP with FT in 2 settings: better in 2, worse in 0" in "\n".join(verdict(runs))


def test_reference_is_the_simplest_schedule_wherever_it_stands(sweep):
    pairs = contrasts([arm for arm in reversed(arms_of(sweep())) if not arm.is_baseline])
    assert {reference.group["schedule"] for _, reference in pairs} == {"FT"}


def test_settings_are_tallied_with_the_claims_they_allow(sweep):
    sentence = only(verdict(sweep()), "in 2 settings")
    assert "IMP with ALLR against IMP with FT in 2 settings: better in 2, worse in 0, no difference" in sentence
    assert "not adjusted for their number" in sentence


def test_contrasts_differ_in_the_schedule_only_and_take_ft_as_reference(sweep):
    pairs = contrasts([arm for arm in arms_of(sweep()) if not arm.is_baseline])
    assert [(a.label, b.label) for a, b in pairs] == [("IMP ALLR 90%", "IMP FT 90%"), ("IMP ALLR 98%", "IMP FT 98%")]


def test_unequal_training_is_said_beside_the_difference(sweep):
    runs = sweep()
    assert not any("trained for" in sentence for sentence in verdict(runs))
    for run in runs:
        if run.arm == "IMP FT 90%":
            run.phases.insert(1, {"phase": "trial-0", "epochs": 6.0})
    assert only(verdict(runs), "^At 90 %").endswith("; trained for 12 epochs in all against 18 epochs.")


def test_tuned_reference_is_named_so_and_still_compared(sweep):
    runs = sweep()
    for run in runs:
        if run.group.get("schedule") == "FT":
            run.group["tuned"] = True
    assert "points more than IMP with tuned FT (95 %" in only(verdict(runs), "^At 90 %")


def test_reference_with_a_rate_of_its_own_is_still_compared(sweep):
    runs = sweep()
    for run in runs:
        if run.group.get("schedule") == "FT":
            run.group["lr"] = 0.01
    assert "points more than IMP with FT (lr 0.01) (95 %" in only(verdict(runs), "^At 90 %")


def test_missing_dense_baseline_is_said_and_no_loss_is_claimed(sweep):
    sentences = verdict([run for run in sweep() if not run.is_baseline])
    assert sentences[-1].startswith("These runs hold no dense baseline, so nothing can be said about what compression")
    assert not any("than dense" in sentence or "dense model's" in sentence for sentence in sentences)
    assert "settings" in sentences[0]


def test_dense_alone_compares_nothing(sweep):
    sentences = verdict([run for run in sweep() if run.is_baseline])
    assert sentences == [
        "On digits the dense model reaches 97.0 % (± 0.5, 3 seeds, low-n) accuracy; "
        "there is nothing to compare it with."
    ]


def test_single_arm_without_baseline_states_its_level(record):
    sentences = verdict([record(arm="a", group={"method": "IMP", "sparsity": 0.9}, seed=0, quality=0.5)])
    assert sentences[0] == "IMP at 90 % sparsity reaches 50.0 % (1 seed, low-n)."


def test_missing_validation_is_said_and_the_least_sparse_arm_shown(sweep):
    runs = sweep()
    for run in runs:
        run.validation = None
    assert "validation results are missing, so the least compressed arm is shown: IMP with" in verdict(runs)[0]
    assert "at 90 % sparsity" in verdict(runs)[0]


def test_unchanged_latency_is_stated_with_its_ratio(sweep):
    sentence = only(verdict(sweep()), "batch size 1")
    assert "is between 1.001 and 1.001 over 4 arms" in sentence
    assert "the latency did not change measurably" in sentence
    assert "not certified" not in sentence


def test_noisy_timing_is_called_not_certified_with_its_reason(sweep):
    sentence = only(verdict(sweep(quiet=False)), "batch size 1")
    assert "not certified for 4 of 4 arms (for example, the load average was 9.0)" in sentence
    assert "no change of latency can be claimed" in sentence
    assert "did not change" not in sentence


def test_measured_change_is_named_with_its_interval(sweep):
    sentence = only(verdict(sweep(speed=1.5)), "batch size 1")
    assert "lies outside 1 ± 2 % for IMP FT 90%: 1.501 (1.499 to 1.503)" in sentence
    assert "did not change" not in sentence


def test_fewer_macs_are_theoretical_and_never_faster(sweep):
    runs = sweep()
    for run in runs:
        run.phases = [line for line in run.phases if "speedups" not in line]
    sentences = verdict(runs)
    macs = only(sentences, "multiply-accumulates")
    assert macs.startswith("Theoretical only:")
    assert "50.0 times fewer" in macs  # 80 000 dense against 80 * 20 left at 98 %
    assert not re.search(r"faster|speed-?up|acceler", " ".join(sentences).replace("nothing is said about speed", ""))
    assert only(sentences, "Latency was not measured")


def test_training_cost_charges_dense_training_to_the_compressed_arms(sweep):
    sentence = only(verdict(sweep()), "^Training cost")
    assert "12 epochs for the compressed arms against 10 epochs for the dense model, 1.20 times" in sentence


def test_failed_runs_are_named_and_left_out(sweep):
    runs = sweep()
    runs[3].status, runs[3].quality = "diverged", None
    runs[4].status = "out_of_memory"
    sentence = only(verdict(runs), "did not finish")
    assert sentence == (
        "2 runs did not finish and are left out of every mean: "
        "IMP FT 90%-s0 (diverged) and IMP FT 90%-s1 (out of memory)."
    )
    assert "in the one seed both ran" in only(verdict(runs), "^At 90 %")


def test_dense_runs_that_all_failed_are_no_baseline(sweep):
    runs = sweep()
    for run in runs:
        if run.is_baseline:
            run.status = "diverged"
    assert verdict(runs)[0].startswith("No dense run finished with a test result")


def test_every_mean_in_a_sentence_carries_its_number_of_seeds(sweep):
    for sentence in verdict(sweep()):
        if "reaches" in sentence:
            assert re.search(r"reaches [\d.]+ % \(± [\d.]+, 3 seeds, low-n\)", sentence), sentence


def test_claim_needs_an_interval_that_excludes_zero():
    from paretorch.evidence.statistics import Interval

    assert claim(Interval(0.1, 0.05, 0.15, 3)) == "more"
    assert claim(Interval(-0.1, -0.15, -0.05, 3)) == "less"
    assert claim(Interval(0.1, -0.05, 0.25, 3)) == "none"
    assert claim(Interval(0.1, None, None, 1)) == "none"
    assert claim(None) == "none"


def test_no_records_have_no_verdict():
    with pytest.raises(InputError, match="no run records"):
        verdict([])
