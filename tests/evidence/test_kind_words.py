"""What verdicts say of masks and of cuts: each kind by itself, both together, and no speed that was not measured."""

from dataclasses import replace

import pytest

from paretorch.evidence.arms import arms_of
from paretorch.evidence.names import name_of, series_name
from paretorch.evidence.verdict import closing, verdict
from tests.evidence.cut_runs import cut_records


def masks(sweep, **more):
    return [record for record in sweep(**more) if record.group["method"] == "IMP"]


def dense(sweep):
    return [record for record in sweep() if record.is_baseline]


def about(sentences: list[str], kind: str) -> str:
    (found,) = [sentence for sentence in sentences if sentence.startswith(f"{kind} models")]
    return found


def test_masks_only_are_named_with_what_stays_and_no_change_of_time(sweep) -> None:
    found = closing(sweep())
    assert len(found) == 2
    assert about(found, "Masked") == (
        "Masked models (4 arms): weights are zero, tensors keep their shapes; left of the dense model's: non-zero "
        "parameters 10.9 % to 18.2 %, stored bytes 100 % and MACs (counted) 100 %. Measured dense time over theirs: "
        "1.001 at batch size 1, no change can be claimed."
    )


def test_cuts_only_are_named_with_smaller_tensors_and_the_measured_ratio_with_its_interval(sweep) -> None:
    found = closing(dense(sweep) + cut_records(seeds=(0,)))
    assert len(found) == 2
    assert about(found, "Cut") == (
        "Cut models (1 arm): tensors are smaller; left of the dense model's: non-zero parameters 50 %, stored bytes "
        "50 % and MACs (counted) 50 %. Measured dense time over theirs: 1.300 (1.250 to 1.360) at batch size 1. Time "
        "falls less than MACs do."
    )


def test_both_kinds_are_named_each_with_its_own_time(sweep) -> None:
    found = closing(
        sweep() + cut_records(part=0.5, seeds=(0,)) + cut_records(part=0.25, seeds=(0,), speed=(1.5, 1.4, 1.6))
    )
    assert [sentence.split(" (")[0] for sentence in found[1:]] == ["Masked models", "Cut models"]
    assert "no change can be claimed" in about(found, "Masked")
    assert "parameters 25 % to 50 %" in about(found, "Cut")
    assert "2 of 2 faster, the most 1.500 (1.400 to 1.600) (cut ALLR 25% params) at batch size 1." in about(
        found, "Cut"
    )


def test_a_cut_that_is_slower_or_no_different_is_said_so(sweep) -> None:
    slower = closing(dense(sweep) + cut_records(seeds=(0,), speed=(0.8, 0.75, 0.85)))
    assert "0.800 (0.750 to 0.850) at batch size 1." in about(slower, "Cut")
    same = closing(dense(sweep) + cut_records(seeds=(0,), speed=(1.01, 0.97, 1.05)))
    assert "1.010 (0.970 to 1.050) at batch size 1, no change can be claimed." in about(same, "Cut")


def test_faster_and_slower_arms_are_both_counted(sweep) -> None:
    runs = cut_records(part=0.5, seeds=(0,)) + cut_records(part=0.25, seeds=(0,), speed=(0.5, 0.4, 0.6))
    sentence = about(closing(dense(sweep) + runs), "Cut")
    assert "1 of 2 faster, the most 1.300" in sentence
    assert "1 of 2 slower, the most 0.500" in sentence


def test_time_that_falls_as_far_as_the_counts_is_not_said_to_fall_less(sweep) -> None:
    for high in (2.0, 2.1):
        found = closing(dense(sweep) + cut_records(seeds=(0,), speed=(1.9, 1.8, high)))
        assert "Time falls less" not in about(found, "Cut")
    assert "Time falls less" in about(closing(dense(sweep) + cut_records(seeds=(0,), speed=(1.9, 1.8, 1.99))), "Cut")


def test_a_noisy_machine_is_named(sweep) -> None:
    found = closing(dense(sweep) + cut_records(seeds=(0,), quiet=False))
    assert about(found, "Cut").count("at batch size 1, not certified.") == 1


def test_nothing_is_said_of_speed_where_no_time_was_measured(sweep) -> None:
    sentences = verdict(dense(sweep) + cut_records(speed=None)) + closing(dense(sweep) + cut_records(speed=None))
    assert any("Their latency was not measured" in sentence for sentence in sentences)
    assert not any("speed-up" in sentence or "faster" in sentence for sentence in sentences)


def test_without_a_dense_model_nothing_is_said_of_what_is_left(sweep) -> None:
    assert len(closing(masks(sweep) + cut_records())) == 1


def test_the_arm_of_the_main_finding_is_the_one_that_removed_most_of_either_kind(sweep) -> None:
    good = cut_records(part=0.05, quality=0.97)
    assert (
        "the most compressed arm that keeps validation accuracy within 1 % of dense is cut with ALLR at 5 % of the"
        in (verdict(sweep() + good)[0])
    )
    assert "sparsest" not in verdict(sweep() + cut_records(part=0.5, quality=0.97))[0]
    assert "sparsest" in verdict(sweep(dense=(0.97, 0.97, 0.97)))[0] or "closest" in verdict(sweep())[0]


def test_a_cut_is_no_reduction_by_zeros(sweep) -> None:
    assert not any("Theoretical only" in sentence for sentence in verdict(dense(sweep) + cut_records(part=0.1)))
    both = [sentence for sentence in verdict(sweep() + cut_records(part=0.001)) if "Theoretical only" in sentence]
    assert "50.0 times fewer" in both[0]


@pytest.mark.parametrize(
    ("key", "words"), [("activations", "activations"), ("params", "parameters"), ("macs", "MACs"), ("width", "widths")]
)
def test_cut_arms_of_several_sizes_are_one_series(key: str, words: str) -> None:
    runs = [
        replace(run, group={name: value for name, value in run.group.items() if name != "params"} | {key: part})
        for part in (0.5, 0.25)
        for run in cut_records(part=part)
    ]
    first, second = arms_of(runs)
    assert series_name(first) == series_name(second) == "cut with ALLR at 2 retraining epochs"
    assert name_of(first) == f"cut with ALLR at 50 % of the {words} and 2 retraining epochs"
