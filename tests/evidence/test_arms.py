"""Grouping over seeds: what is averaged, what is counted, what is refused."""

import pytest

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.arms import arms_of, baseline_of, difference

IMP = {"method": "IMP", "sparsity": 0.9}


def test_runs_of_one_arm_are_averaged_and_sorted_by_seed(record):
    arms = arms_of([record(arm="a", group=IMP, seed=s, quality=q) for s, q in [(2, 0.9), (0, 0.7), (1, 0.8)]])
    assert [run.seed for run in arms[0].runs] == [0, 1, 2]
    assert arms[0].quality.mean == pytest.approx(0.8)
    assert arms[0].quality.n == 3


def test_arms_keep_the_order_in_which_they_first_appear(record):
    arms = arms_of([record(arm=a, group={"method": a}, seed=s, quality=0.5) for s in (0, 1) for a in ("z", "a", "m")])
    assert [arm.label for arm in arms] == ["z", "a", "m"]


def test_failed_runs_are_kept_and_not_averaged(record):
    runs = [record(arm="a", group=IMP, seed=0, quality=0.9)]
    runs.append(record(arm="a", group=IMP, seed=1, quality=None, status="diverged"))
    runs.append(record(arm="a", group=IMP, seed=2, quality=0.1, status="censored"))
    arm = arms_of(runs)[0]
    assert len(arm.runs) == 3
    assert (arm.quality.mean, arm.quality.n) == (0.9, 1)


def test_unknown_quality_of_every_run_gives_no_mean(record):
    arm = arms_of([record(arm="a", group=IMP, seed=0, quality=None)])[0]
    assert arm.quality is None


def test_difference_is_paired_over_shared_finished_seeds_only(record):
    a = [record(arm="a", group=IMP, seed=s, quality=q) for s, q in [(0, 0.9), (1, 0.8), (3, 0.1)]]
    b = [record(arm="b", group={"method": "b"}, seed=s, quality=q) for s, q in [(0, 0.5), (1, 0.5), (2, 0.9)]]
    a.append(record(arm="a", group=IMP, seed=2, quality=0.9, status="diverged"))
    first, second = arms_of(a + b)
    gap = difference(first, second)
    assert (gap.mean, gap.n) == (pytest.approx(0.35), 2)
    assert difference(second, first).mean == pytest.approx(-0.35)


def test_arms_without_a_shared_seed_have_no_difference(record):
    first, second = arms_of(
        [record(arm="a", group=IMP, seed=0, quality=0.9), record(arm="b", group={"method": "b"}, seed=1, quality=0.8)]
    )
    assert difference(first, second) is None


def test_baseline_is_the_dense_arm_wherever_it_stands(record):
    runs = [record(arm="a", group=IMP, seed=0, quality=0.9)]
    assert baseline_of(arms_of(runs)) is None
    runs.append(record(arm="full", group={"method": "dense"}, seed=0, quality=0.9))
    assert baseline_of(arms_of(runs)).label == "full"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"workload": "cifar"}, r"differ in workload: \['digits', 'cifar'\]"),
        ({"metric": "loss"}, "differ in metric"),
        ({"higher_is_better": False}, "differ in higher_is_better"),
        ({"group": {"method": "other"}, "arm": "a"}, "label 'a' stands for different factors"),
        ({"seed": 0, "arm": "a", "group": IMP}, "arm 'a' has seed 0 twice, in 'a-s0' and 'second'"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(record, changes, match):
    first = record(arm="a", group=IMP, seed=0, quality=0.9)
    second = {"arm": "b", "group": IMP, "seed": 1, "quality": 0.8, "run_id": "second"}
    with pytest.raises(NotComparableError, match=match):
        arms_of([first, record(**second | changes)])


def test_two_dense_arms_and_no_records_are_refused(record):
    runs = [record(arm=a, group={"method": "dense", "width": a}, seed=0, quality=0.9) for a in ("small", "large")]
    with pytest.raises(NotComparableError, match=r"2 arms call themselves dense: \['small', 'large'\]"):
        baseline_of(arms_of(runs))
    with pytest.raises(InputError, match="at least one finished run"):
        arms_of([])
