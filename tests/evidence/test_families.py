"""Families of durations: what a run is charged, which points a curve holds, which runs do not belong together."""

import math

import pytest

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.families import charge, decay_warning, duration_of, families_of, trial_charge
from tests.evidence.synthetic import EPOCHS, family, run, runs, truth

TRIAL = {"phase": "trial-lr-1", "kind": "trial", "steps": 50, "epochs": 0.5, "samples": 3200, "seconds": 7.0}


# --- charges --------------------------------------------------------------------------------------------------------


def test_counts_are_summed_over_all_phases_and_without_the_dense_one_after_it():
    record = run("a", 0, 4, 0.9, dense=10)
    assert [charge(record, axis) for axis in ("steps", "epochs", "samples")] == [1400, 14, 89600]
    assert [charge(record, axis, scope="after_dense") for axis in ("steps", "epochs", "samples")] == [400, 4, 25600]


def test_seconds_are_steps_times_the_interleaved_step_where_there_is_one():
    assert charge(run("a", 0, 4, 0.9, step_s=0.02), "seconds") == pytest.approx(8.0)
    assert charge(run("a", 0, 4, 0.9, step_s=None), "seconds") == pytest.approx(1.1 * 4.0)
    mixed = run("a", 0, 4, 0.9, step_s=0.02)
    mixed.phases.append({"phase": "score", "seconds": 3.0})
    assert charge(mixed, "seconds") == pytest.approx(11.0)  # a pass without optimizer steps is charged as it took


def test_trials_that_were_not_chosen_are_charged_on_their_own():
    record = run("a", 0, 4, 0.9)
    before = charge(record, "seconds"), charge(record, "steps")
    record.phases.insert(0, TRIAL)
    assert (charge(record, "seconds"), charge(record, "steps")) == before
    assert (trial_charge(record, "seconds"), trial_charge(record, "steps")) == (7.0, 50.0)
    assert trial_charge(run("a", 0, 4, 0.9), "seconds") == 0.0


def test_operations_are_those_of_a_step_times_the_steps():
    record = run("a", 0, 4, 0.9, flops_step={"forward": 10, "backward": 20, "uncounted": [], "batch": 64})
    assert charge(record, "flops") == 400 * 30


def test_operations_of_a_teacher_are_not_counted_so_that_a_run_with_one_is_refused():
    record = run("a", 0, 4, 0.9, flops_step={"forward": 10, "backward": 20, "uncounted": [], "batch": 64})
    record.phases[-1]["teacher_samples"] = 64
    with pytest.raises(InputError, match="had a teacher, whose operations its steps do not count"):
        charge(record, "flops")
    assert charge(record, "steps") == 400


def test_energy_is_what_the_meter_read_of_the_run_or_of_its_phases():
    record = run("a", 0, 4, 0.9, dense=10, energy={"joules": 12.5})
    assert charge(record, "energy_j") == 12.5
    with pytest.raises(InputError, match="does not say how many energy_j"):
        charge(record, "energy_j", scope="after_dense")
    record.phases[1]["energy"] = {"joules": 4.5}
    assert charge(record, "energy_j", scope="after_dense") == 4.5


def test_what_a_record_does_not_hold_is_refused_and_not_zero():
    bare = run("a", 0, 4, 0.9)
    for axis, message in (("flops", "did not count the operations"), ("energy_j", "no reading of an energy meter")):
        with pytest.raises(InputError, match=message):
            charge(bare, axis)
    del bare.phases[0]["samples"]
    with pytest.raises(InputError, match="does not say how many samples"):
        charge(bare, "samples")
    with pytest.raises(InputError, match="does not say how many steps"):
        charge(run("a", 0, 4, 0.9, phases=[]), "steps")


@pytest.mark.parametrize(("axis", "scope"), [("hours", "total"), ("steps", "retrain")])
def test_an_unknown_axis_or_scope_is_refused(axis, scope):
    with pytest.raises(InputError, match="axis is one of"):
        charge(run("a", 0, 4, 0.9), axis, scope=scope)


def test_a_duration_is_its_epochs_else_its_steps():
    assert duration_of(run("a", 0, 4, 0.9)) == 4.0
    assert duration_of(run("a", 0, 4, 0.9, duration={"steps": 400})) == 400.0
    assert duration_of(run("a", 0, 4, 0.9, duration={})) == 400.0


# --- families -------------------------------------------------------------------------------------------------------


def test_records_are_grouped_by_label_seed_and_rising_duration():
    records = runs("a", seeds=(2, 0)) + runs("b", seeds=(1,)) + [run("", 0, 4, 0.5)]
    found = families_of(reversed(records))
    assert set(found) == {"a", "b"}
    assert found["a"].seeds == (0, 2)
    assert [duration_of(r) for r in found["a"].records[2]] == list(EPOCHS)
    assert len(found["a"].runs) == 12


def test_the_curve_of_a_seed_holds_one_point_per_run():
    points = family("a").curve(3, axis="steps").points
    assert points == tuple((100.0 * e, truth(e) + 0.003) for e in EPOCHS)


def test_a_run_that_diverged_is_no_point_and_its_duration_still_counts():
    records = runs("a", seeds=(0,))
    records[-1] = run("a", 0, 32, None, status="diverged")
    found = families_of(records)["a"]
    assert found.curve(0, axis="epochs").time_to(truth(20)) == math.inf
    assert len(found.curve(0).points) == 5
    assert found.durations == tuple(float(e) for e in EPOCHS)
    assert found.finished(0) == (1.0, 2.0, 4.0, 8.0, 16.0)


def test_a_seed_of_which_every_run_diverged_reaches_nothing():
    records = runs("a", seeds=(0,)) + [run("a", 1, e, None, status="diverged") for e in EPOCHS]
    assert families_of(records)["a"].curve(1).points == ()


def test_the_durations_are_those_that_every_seed_has_run():
    records = runs("a", seeds=(0,)) + runs("a", seeds=(1,), epochs=(2, 4, 8))
    assert families_of(records)["a"].durations == (2.0, 4.0, 8.0)


def test_a_run_that_ended_well_without_a_quality_is_an_error():
    with pytest.raises(InputError, match="'a-4ep-s0' ended well and has no test quality"):
        families_of([run("a", 0, 4, None)])["a"].curve(0)


def test_an_unknown_seed_is_refused():
    with pytest.raises(InputError, match=r"has no seed 7; it has \[0, 1, 2, 3, 4\]"):
        family("a").curve(7)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"workload": "images"}, "workload"),
        ({"metric": "loss"}, "metric"),
        ({"task": {"examples": [10, 5, 5]}}, "task"),
        ({"role": "baseline"}, "role"),
        ({"methods": ["imp"]}, "methods"),
        ({"higher_is_better": False}, "higher_is_better"),
    ],
)
def test_runs_that_differ_in_more_than_seed_and_duration_are_no_family(change, name):
    with pytest.raises(NotComparableError, match=f"family 'a' differ in {name}"):
        families_of([run("a", 0, 4, 0.9), run("a", 0, 8, 0.9, **change)])


def test_a_repeated_run_is_not_a_new_sample():
    with pytest.raises(NotComparableError, match=r"seed 0 at duration 4 twice, in 'a-4ep-s0' and 'again'"):
        families_of([run("a", 0, 4, 0.9), run("a", 0, 4, 0.91, run_id="again")])


def test_records_without_any_family_are_refused():
    with pytest.raises(InputError, match="no record belongs to a family"):
        families_of([run("", 0, 4, 0.9)])


def test_trials_are_the_most_that_any_run_had_and_one_when_nothing_was_tuned():
    assert family("a").trials == 1
    assert family("a", tuning={"trials": 4}).trials == 4


def test_the_batch_follows_from_the_duration():
    assert family("a", batch=32).batch == 32
    assert family("a", duration={"epochs": 1.0}, epochs=(1,)).batch is None


# --- learning rates that did not come down --------------------------------------------------------------------------


def lr_curve(*rates, phase="dense"):
    return [{"step": i, "lr": rate, "phase": phase} for i, rate in enumerate(rates)]


def test_a_schedule_that_ends_high_is_named_and_one_that_comes_down_is_not():
    high = decay_warning(run("a", 0, 4, 0.9, curves=lr_curve(0.1, 0.2, 0.1)))
    assert "a-4ep-s0 ended at 50 % of its highest" in high
    assert decay_warning(run("a", 0, 4, 0.9, curves=lr_curve(0.1, 0.2, 0.01))) is None  # exactly 5 %
    assert decay_warning(run("a", 0, 4, 0.9, curves=lr_curve(0.1, 0.2, 0.0101))) is not None


def test_the_end_is_held_against_the_highest_rate_of_the_whole_run():
    curves = lr_curve(0.5, 0.001) + lr_curve(0.01, 0.01, phase="retrain-0")
    assert decay_warning(run("a", 0, 4, 0.9, curves=curves)) is None  # a constant rate at 2 % of the dense run's peak
    curves = lr_curve(0.5, 0.001) + lr_curve(0.1, 0.1, phase="retrain-0")
    assert "ended at 20 %" in decay_warning(run("a", 0, 4, 0.9, curves=curves))


@pytest.mark.parametrize("curves", [[], lr_curve(0.1), lr_curve(0.0, 0.0), [{"step": 1}, {"step": 2}]])
def test_nothing_is_said_where_the_learning_rate_is_not_known(curves):
    assert decay_warning(run("a", 0, 4, 0.9, curves=curves)) is None
