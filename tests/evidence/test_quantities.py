"""Readings from records: exact counts, all phases charged, speed only from measured time."""

import pytest

from paretorch.evidence.arms import arms_of
from paretorch.evidence.quantities import (
    best_dense_speeds,
    measured_speeds,
    pruning_field,
    sparsity,
    total_bytes,
    training_epochs,
    training_seconds,
)
from paretorch.evidence.speed_words import speed_sentences

IMP = {"method": "IMP", "sparsity": 0.9}


def latency(p10, **changes):
    entry = {"batch": 1, "p10_s": p10, "p50_s": p10, "p90_s": p10, "threads": 1, "device": "cpu", "quiet": True}
    return {"latency": [entry | changes]}


def test_sparsity_comes_from_the_counts_of_the_last_pruning(record):
    phases = [{"phase": "prune-0", "kept": 50, "pruned": 50}, {"phase": "prune-1", "kept": 10, "pruned": 90, "d1": 0.5}]
    run = record(arm="a", group=IMP | {"sparsity": 0.5}, seed=0, quality=0.9, phases=phases)
    assert sparsity(run) == 0.9
    assert pruning_field(run, "d1") == 0.5
    assert sparsity(record(arm="a", group=IMP, seed=0, quality=0.9)) is None
    assert sparsity(record(arm="dense", group={"method": "dense"}, seed=0, quality=0.9)) == 0.0


def test_training_cost_adds_up_every_phase(record):
    phases = [
        {"phase": "dense", "epochs": 10, "seconds": 40.0},
        {"phase": "p"},
        {"phase": "r", "epochs": 2.5, "seconds": 8},
    ]
    run = record(arm="a", group=IMP, seed=0, quality=0.9, phases=phases)
    assert training_epochs(run) == 12.5
    assert training_seconds(run) == 48.0
    run.cost["seconds"] = 50.0  # the cost also counts scoring and evaluation passes
    assert training_seconds(run) == 50.0
    assert training_epochs(record(arm="a", group=IMP, seed=0, quality=0.9)) is None


def test_bytes_are_known_only_when_payload_and_metadata_are(record):
    run = record(arm="a", group=IMP, seed=0, quality=0.9, cost={"payload_bytes": 100})
    assert total_bytes(run) is None
    run.cost["metadata_bytes"] = 7
    assert total_bytes(run) == 107


def test_speed_of_one_run_keeps_the_interval_of_its_rounds(record, speedups):
    arm = arms_of([record(arm="a", group=IMP, seed=0, quality=0.9, phases=[speedups(1.5)])])[0]
    (speed,) = measured_speeds(arm, None)
    assert (speed.interval.mean, speed.interval.low, speed.interval.high) == (1.5, 1.49, 1.51)
    assert speed.certified
    assert speed.changed


def test_speed_over_seeds_is_a_geometric_mean_with_a_seed_interval(record, speedups):
    runs = [record(arm="a", group=IMP, seed=s, quality=0.9, phases=[speedups(v)]) for s, v in enumerate([1.0, 4.0])]
    (speed,) = measured_speeds(arms_of(runs)[0], None)
    assert speed.interval.mean == pytest.approx(2.0)
    assert speed.seeds == speed.interval.n == 2
    assert not speed.changed  # two seeds this far apart show nothing


@pytest.mark.parametrize(
    ("value", "changed"), [(1.0, False), (1.025, False), (1.04, True), (0.96, True), (0.975, False)]
)
def test_change_of_time_needs_the_whole_interval_outside_two_per_cent(record, speedups, value, changed):
    arm = arms_of([record(arm="a", group=IMP, seed=0, quality=0.9, phases=[speedups(value)])])[0]
    assert measured_speeds(arm, None)[0].changed is changed


def test_one_noisy_seed_takes_the_certificate_away(record, speedups):
    phases = [[speedups(1.0)], [speedups(1.0, quiet=False)]]
    runs = [record(arm="a", group=IMP, seed=s, quality=0.9, phases=p) for s, p in enumerate(phases)]
    (speed,) = measured_speeds(arms_of(runs)[0], None)
    assert not speed.certified
    assert speed.reason == "the load average was 9.0"


def test_separate_timings_divide_dense_by_candidate_and_are_never_certified(record):
    dense = record(arm="dense", group={"method": "dense"}, seed=0, quality=0.9, cost=latency(0.006))
    pruned = record(arm="a", group=IMP, seed=0, quality=0.9, cost=latency(0.003))
    baseline, arm = arms_of([dense, pruned])
    (speed,) = measured_speeds(arm, baseline)
    assert speed.interval.mean == 2.0
    assert not speed.certified
    assert "separately" in speed.reason
    assert not speed.changed
    assert measured_speeds(arm, None) == []


@pytest.mark.parametrize("changes", [{"threads": 2}, {"batch": 64}, {"device": "H100"}])
def test_timings_of_another_setting_are_not_divided(record, changes):
    dense = record(arm="dense", group={"method": "dense"}, seed=0, quality=0.9, cost=latency(0.006))
    pruned = record(arm="a", group=IMP, seed=0, quality=0.9, cost=latency(0.003, **changes))
    baseline, arm = arms_of([dense, pruned])
    assert measured_speeds(arm, baseline) == []


def test_dense_timing_of_another_seed_is_not_used(record):
    dense = record(arm="dense", group={"method": "dense"}, seed=1, quality=0.9, cost=latency(0.006))
    pruned = record(arm="a", group=IMP, seed=0, quality=0.9, cost=latency(0.003))
    baseline, arm = arms_of([dense, pruned])
    assert measured_speeds(arm, baseline) == []


def test_ratios_to_the_best_dense_path_are_read_beside_those_to_eager(sweep):
    runs = sweep(speed=2.0)
    for run in runs:
        for line in run.phases:
            for ratio in line.get("speedups", []):
                slower = {name: ratio[name] / 2 for name in ("value", "low", "high")}
                ratio["best_dense"] = {k: v for k, v in ratio.items() if k != "batch"} | slower | {"path": "onednn"}
    arms = arms_of(runs)
    (eager,) = measured_speeds(arms[-1], arms[0])
    (best,) = best_dense_speeds(arms[-1])
    assert (eager.path, best.path, best.batch, best.seeds) == ("eager", "onednn", 1, 3)
    assert best.interval.mean == pytest.approx(eager.interval.mean / 2)
    assert eager.changed
    assert not best.changed
    (sentence,) = speed_sentences(arms[1:], arms[0])
    assert "over the best dense fp32 path of this machine (onednn) it is between 1.000 and 1.000 over" in sentence
    assert best_dense_speeds(arms_of(sweep())[-1]) == []


def test_many_changed_times_are_counted_and_the_largest_is_named(record, speedups):
    def arm(i):
        return record(arm=f"a{i}", group={"i": i}, seed=0, quality=0.5, phases=[speedups(2.0 + i)])

    (sentence,) = speed_sentences(arms_of([arm(i) for i in range(5)]), None)
    assert "for 5 of 5 arms; the largest ratio, of a4, is 6.000 (5.990 to 6.010)" in sentence
    (sentence,) = speed_sentences(arms_of([arm(0)]), None)
    assert "lies outside 1 ± 2 % for a0: 2.000 (1.990 to 2.010)" in sentence
