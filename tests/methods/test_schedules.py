"""Dense curves, the retraining schedules and their golden figure."""

import dataclasses
import math

import pytest

from paretorch.errors import InputError, NoEffectWarning
from paretorch.methods.schedules import (
    ALLR,
    CLR,
    FT,
    LLR,
    LRW,
    RETRAINING_SCHEDULES,
    SLR,
    Constant,
    Cosine,
    DenseSchedule,
    Linear,
    MultiStep,
    adaptive_factor,
    check_finetune_baseline,
    retraining_schedule,
)

# 200 epochs of 10 steps, 0.1 -> 0.01 -> 0.001 at epochs 90 and 180: the example of the ALLR authors' figure.
PER_EPOCH = 10
STEPPED = MultiStep(num_steps=200 * PER_EPOCH, peak=0.1, milestones=(90 / 200, 180 / 200))
DENSE = DenseSchedule.of(STEPPED)


def cosine_ramp(peak, step, warmup_steps):
    return peak * (1 - math.cos(math.pi * step / warmup_steps)) / 2


def everything(num_steps, **options):
    """Each retraining schedule on the stepped dense run, by name."""
    return {
        name: retraining_schedule(name, num_steps=num_steps, dense=DENSE, norm_drop=0.4, **options)
        for name in RETRAINING_SCHEDULES
    }


# --- curves ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_steps", [10, 37, 1000])
@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_a_line_with_a_ramp_sums_to_half_its_peak_times_its_steps(num_steps, shape):
    schedule = Linear(num_steps=num_steps, peak=0.3, warmup=0.1, warmup_shape=shape)
    assert schedule.warmup_steps >= 1
    assert math.fsum(schedule.trace()) == pytest.approx(0.3 * num_steps / 2, rel=1e-13)


@pytest.mark.parametrize("num_steps", [1, 9, 1000])
def test_a_line_without_a_ramp_sums_to_half_its_peak_times_one_step_more(num_steps):
    assert math.fsum(Linear(num_steps=num_steps, peak=0.3).trace()) == pytest.approx(
        0.3 * (num_steps + 1) / 2, rel=1e-13
    )


def test_curves_take_their_closed_form_at_every_step():
    steps = range(4, 40)
    linear = Linear(num_steps=40, peak=2.0, warmup=0.1)
    cosine = Cosine(num_steps=40, peak=2.0, floor=0.5, warmup=0.1)
    assert [linear(t) for t in steps] == pytest.approx([2 * (40 - t) / 36 for t in steps])
    assert [cosine(t) for t in steps] == pytest.approx(
        [0.5 + 1.5 * math.cos(math.pi * (t - 4) / 72) ** 2 for t in steps]
    )
    assert Constant(num_steps=40, peak=2.0, warmup=0.1).trace()[4:] == (2.0,) * 36


def test_the_ramp_starts_at_zero_and_has_the_asked_shape():
    straight = Constant(num_steps=40, peak=2.0, warmup=0.25)
    curved = Constant(num_steps=40, peak=2.0, warmup=0.25, warmup_shape="cosine")
    assert straight.trace()[:11] == pytest.approx([0.2 * t for t in range(11)])
    assert curved.trace()[:11] == pytest.approx([cosine_ramp(2.0, t, 10) for t in range(11)])
    assert straight(0) == curved(0) == 0.0


def test_the_length_of_the_ramp_is_the_exact_floor_of_the_fraction():
    # 0.29 * 100 is 28.999999999999996 in floating point.
    assert Constant(num_steps=100, peak=1.0, warmup=0.29).warmup_steps == 29
    assert Constant(num_steps=19, peak=1.0, warmup=0.1).warmup_steps == 1
    assert Constant(num_steps=9, peak=1.0, warmup=0.1).warmup_steps == 0


def test_a_multi_step_schedule_drops_at_its_fractions_of_the_whole_phase():
    assert STEPPED.trace() == pytest.approx([0.1] * 900 + [0.01] * 900 + [0.001] * 200)
    ramped = dataclasses.replace(STEPPED, warmup=0.1, factor=0.5)
    assert ramped.trace()[200:] == pytest.approx([0.1] * 700 + [0.05] * 900 + [0.025] * 200)


def test_milestones_at_thirds_are_not_one_step_late():
    schedule = MultiStep(num_steps=300, peak=1.0, milestones=(1 / 3, 2 / 3), factor=0.5)
    assert [schedule(t) for t in (99, 100, 199, 200)] == [1.0, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("step", [-1, 40, 10**9])
def test_a_step_outside_the_phase_is_refused(step):
    with pytest.raises(InputError, match=rf"step {step} is outside this Linear schedule of 40 steps"):
        Linear(num_steps=40, peak=1.0)(step)


def test_a_step_that_is_not_whole_is_refused():
    with pytest.raises(InputError, match=r"whole step; got 1\.5"):
        Linear(num_steps=40, peak=1.0)(1.5)


def test_a_schedule_cannot_be_changed_and_equal_arguments_give_equal_schedules():
    schedule = Linear(num_steps=40, peak=1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.peak = 2.0
    assert schedule == Linear(num_steps=40, peak=1.0)
    assert schedule != Linear(num_steps=40, peak=1.5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Constant(num_steps=-1, peak=1.0), "num_steps .* at least 0; got -1"),
        (lambda: Constant(num_steps=2.5, peak=1.0), r"whole number; got 2\.5"),
        (lambda: Constant(num_steps=5, peak=-0.1), r"peak .* got -0\.1"),
        (lambda: Constant(num_steps=5, peak=math.nan), "peak .* got nan"),
        (lambda: Constant(num_steps=5, peak=1.0, warmup=10), "For 10 % pass 0.1"),
        (lambda: Constant(num_steps=5, peak=1.0, warmup=-0.1), r"got -0\.1"),
        (lambda: Constant(num_steps=5, peak=1.0, warmup_shape="square"), "'square' is unknown"),
        (lambda: Cosine(num_steps=5, peak=1.0, floor=2.0), "floor 2.0 is above peak 1.0"),
        (lambda: Cosine(num_steps=5, peak=1.0, floor=-1.0), r"floor .* got -1\.0"),
        (lambda: MultiStep(num_steps=5, peak=1.0, milestones=()), "at least one; got"),
        (lambda: MultiStep(num_steps=5, peak=1.0, milestones=(90,)), "90 / 200"),
        (lambda: MultiStep(num_steps=5, peak=1.0, milestones=(0.5, 0.2)), "must increase"),
        (lambda: MultiStep(num_steps=5, peak=1.0, milestones=(0.5,), factor=10.0), "factor .* got 10.0"),
        (lambda: FT(num_steps=5, lr=math.inf), "lr .* got inf"),
    ],
)
def test_a_bad_curve_is_refused_with_the_value(build, message):
    with pytest.raises(InputError, match=message):
        build()


# --- the dense run --------------------------------------------------------------------------------------------------


def test_the_floor_of_a_recorded_run_is_taken_after_its_warmup():
    trace = (0.0, 0.05, 0.1, 0.05, 0.02)
    assert DenseSchedule.recorded(trace, warmup_steps=2).floor == 0.02
    assert DenseSchedule.recorded(trace).floor == 0.0
    assert DenseSchedule.recorded([0.3, 0.1, 0.2], warmup_steps=1).peak == 0.3


def test_a_schedule_object_records_its_own_warmup():
    dense = DenseSchedule.of(MultiStep(num_steps=100, peak=0.1, milestones=(0.5,), warmup=0.05))
    assert (dense.peak, dense.num_steps, dense.warmup_steps) == (0.1, 100, 5)
    assert dense.floor == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DenseSchedule.recorded(()), "trace of 0 learning rates"),
        (lambda: DenseSchedule.recorded((0.1, 0.1), warmup_steps=2), "cannot have 2 warm-up steps"),
        (lambda: DenseSchedule.recorded((0.1, math.nan)), "holds nan at step 1"),
        (lambda: DenseSchedule.summary(peak=-1.0), r"peak .* got -1\.0"),
        (lambda: DenseSchedule.summary(peak=0.1, floor=0.2), "floor 0.2 is above its peak 0.1"),
        (lambda: DenseSchedule.summary(peak=0.1, num_steps=0), "at least 1; got 0"),
        (lambda: DenseSchedule(peak=0.1, warmup_steps=3), "give the trace"),
        (lambda: DenseSchedule(peak=0.2, floor=0.1, num_steps=2, trace=(0.1, 0.1)), "contradict the trace"),
    ],
)
def test_a_contradictory_dense_run_is_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


@pytest.mark.parametrize(
    "schedule",
    [Linear(num_steps=5000, peak=0.1), Linear(num_steps=20, peak=0.1, warmup=0.2), Cosine(num_steps=20, peak=0.1)],
)
def test_fine_tuning_after_a_decay_to_zero_is_refused_as_a_baseline(schedule):
    dense = DenseSchedule.of(schedule)
    with pytest.raises(InputError, match=r"near zero .* tuned learning rate"):
        check_finetune_baseline(dense)
    with pytest.warns(NoEffectWarning, match="hardly moves the weights"):
        retraining_schedule("FT", num_steps=10, dense=dense)


@pytest.mark.parametrize(
    "dense",
    [
        DENSE,
        DenseSchedule.of(MultiStep(num_steps=90, peak=0.1, milestones=(30 / 90, 60 / 90, 80 / 90))),
        DenseSchedule.of(Cosine(num_steps=200, peak=0.1, floor=0.001)),
        DenseSchedule.of(Constant(num_steps=50, peak=0.1, warmup=0.1)),
        DenseSchedule.recorded((0.1, 0.1, 0.1, 0.001)),
        DenseSchedule.summary(peak=1.0, floor=0.001),
    ],
)
def test_fine_tuning_after_a_schedule_that_ends_above_zero_is_a_baseline(dense):
    check_finetune_baseline(dense)
    assert retraining_schedule("FT", num_steps=10, dense=dense)(9) == dense.floor


def test_a_floor_below_a_two_thousandth_of_the_peak_is_near_zero():
    assert DenseSchedule.summary(peak=1.0, floor=0.0004).ended_near_zero
    assert not DenseSchedule.summary(peak=1.0, floor=0.0006).ended_near_zero


def test_a_baseline_with_an_unknown_floor_is_refused():
    with pytest.raises(InputError, match="lowest learning rate is unknown"):
        check_finetune_baseline(DenseSchedule.summary(peak=0.1))


# --- retraining schedules -------------------------------------------------------------------------------------------


def test_the_figure_of_the_authors_is_reproduced():
    # T = 200 epochs, T_rt = 60: 6 + 54 * 90 / 200 = 30.3 and 6 + 54 * 180 / 200 = 54.6 are SLR's drops.
    schedules = everything(60 * PER_EPOCH)
    slr = schedules["SLR"].trace()
    assert slr[:60] == pytest.approx([cosine_ramp(0.1, t, 60) for t in range(60)])
    assert slr[60:] == pytest.approx([0.1] * 243 + [0.01] * 243 + [0.001] * 54)
    assert schedules["LRW"].trace() == pytest.approx([0.01] * 400 + [0.001] * 200)
    assert schedules["FT"].trace() == pytest.approx([0.001] * 600)
    assert schedules["CLR"].trace()[60:] == pytest.approx(
        [0.001 + 0.099 * (1 + math.cos(math.pi * u / 540)) / 2 for u in range(540)]
    )
    assert schedules["LLR"].trace()[60:] == pytest.approx([0.1 * (1 - u / 540) for u in range(540)])
    assert schedules["ALLR"].trace()[60:] == pytest.approx([0.04 * (1 - u / 540) for u in range(540)])


@pytest.mark.parametrize("num_steps", [1, 7, 10, 333, 2000])
def test_learning_rates_are_never_negative_nor_above_the_peak_and_reach_it_after_the_ramp(num_steps):
    for name, schedule in everything(num_steps).items():
        trace = schedule.trace()
        assert len(trace) == num_steps
        assert min(trace) >= 0
        assert max(trace) <= 0.1
        if name in ("SLR", "CLR", "LLR"):
            assert schedule(schedule.warmup_steps) == 0.1
            assert schedule.warmup_steps == num_steps // 10
    allr = everything(num_steps)["ALLR"]
    assert allr(allr.warmup_steps) == allr.factor * 0.1


@pytest.mark.parametrize("num_steps", [10, 57, 1000])
def test_llr_sums_to_half_its_peak_times_its_steps(num_steps):
    assert math.fsum(LLR(num_steps=num_steps, peak=0.1).trace()) == pytest.approx(0.05 * num_steps, rel=1e-13)


def test_allr_with_factor_one_is_llr_bitwise():
    llr = retraining_schedule("LLR", num_steps=321, dense=DENSE)
    assert retraining_schedule("ALLR", num_steps=321, dense=DENSE, norm_drop=1.0).trace() == llr.trace()
    assert (
        retraining_schedule("ALLR", num_steps=321, dense=DENSE, norm_drop=0.0, budget_ratio=1.0).trace() == llr.trace()
    )
    assert retraining_schedule("ALLR", num_steps=321, dense=DENSE, norm_drop=0.9).trace() != llr.trace()


def test_lrw_with_as_many_steps_as_the_dense_run_replays_all_of_it():
    assert retraining_schedule("LRW", num_steps=2000, dense=DENSE).trace() == STEPPED.trace()
    assert retraining_schedule("LRW", num_steps=7, dense=DENSE).trace() == STEPPED.trace()[-7:]


def test_slr_without_a_ramp_and_with_as_many_steps_is_the_dense_schedule_bitwise():
    assert retraining_schedule("SLR", num_steps=2000, dense=DENSE, warmup=0.0).trace() == STEPPED.trace()


def test_slr_replaces_the_warmup_of_the_dense_run_by_its_peak():
    warm = MultiStep(num_steps=100, peak=0.1, milestones=(0.5,), warmup=0.2)
    slr = retraining_schedule("SLR", num_steps=100, dense=DenseSchedule.of(warm), warmup=0.0)
    assert slr.trace() == pytest.approx([0.1] * 50 + [0.01] * 50)


def test_slr_stretches_a_dense_run_that_was_shorter():
    dense = DenseSchedule.recorded((4.0, 2.0, 1.0))
    assert retraining_schedule("SLR", num_steps=6, dense=dense, warmup=0.0).trace() == (4.0, 4.0, 2.0, 2.0, 1.0, 1.0)


def test_clr_ends_at_the_floor_to_second_order():
    clr = CLR(num_steps=1000, peak=0.1, floor=0.001)
    assert 0 < clr(999) - 0.001 < 0.1 * (math.pi / 900) ** 2


def test_a_tuned_learning_rate_takes_the_place_of_the_dense_one():
    assert retraining_schedule("FT", num_steps=5, lr=0.02).trace() == (0.02,) * 5
    assert retraining_schedule("LLR", num_steps=100, lr=0.02).peak == 0.02
    assert retraining_schedule("CLR", num_steps=100, dense=DENSE, lr=0.02)(10) == 0.02
    slr = retraining_schedule("SLR", num_steps=600, dense=DENSE, lr=0.02)
    assert slr.trace()[60:] == pytest.approx([0.02] * 243 + [0.002] * 243 + [0.0002] * 54)


def test_the_ramp_of_every_restarting_schedule_follows_the_argument():
    for name in ("SLR", "CLR", "LLR", "ALLR"):
        schedule = retraining_schedule(name, num_steps=100, dense=DENSE, norm_drop=1.0, warmup=0.2)
        assert schedule.trace()[:20] == pytest.approx([cosine_ramp(0.1, t, 20) for t in range(20)])


def test_names_are_found_in_any_case_and_give_their_class():
    classes = {"ft": FT, "Lrw": LRW, "SLR": SLR, "clr": CLR, "llr": LLR, "allr": ALLR}
    for name, kind in classes.items():
        assert type(retraining_schedule(name, num_steps=10, dense=DENSE, norm_drop=0.5)) is kind


def test_a_phase_of_no_steps_is_legal_and_empty():
    for schedule in everything(0, budget_ratio=0.1).values():
        assert schedule.trace() == ()


# --- the adaptive factor --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm_drop", "budget_ratio", "factor"),
    [(0.3, 0.1, 0.3), (0.1, 0.3, 0.3), (0.5, 1.7, 1.0), (1.2, 0.0, 1.0), (0.0, 0.0, 0.0)],
)
def test_the_factor_is_the_larger_of_damage_and_budget_and_at_most_one(norm_drop, budget_ratio, factor):
    assert adaptive_factor(norm_drop=norm_drop, budget_ratio=budget_ratio) == factor


@pytest.mark.parametrize(("num_steps", "factor"), [(100, 0.3), (800, 0.4), (2000, 1.0), (5000, 1.0)])
def test_allr_never_goes_below_the_budget_ratio_and_is_full_from_the_dense_length_on(num_steps, factor):
    allr = retraining_schedule("ALLR", num_steps=num_steps, dense=DENSE, norm_drop=0.3)
    assert allr.factor == factor
    assert allr.peak == factor * 0.1


def test_a_budget_ratio_in_epochs_overrides_the_ratio_of_the_steps():
    allr = retraining_schedule("ALLR", num_steps=200, dense=DENSE, norm_drop=0.3, budget_ratio=0.8)
    assert (allr.factor, allr.budget_ratio) == (0.8, 0.8)


def test_allr_without_the_dense_length_warns_and_follows_the_norm_drop_alone():
    dense = DenseSchedule.summary(peak=0.1)
    with pytest.warns(UserWarning, match="budget ratio is taken as 0"):
        allr = retraining_schedule("ALLR", num_steps=200, dense=dense, norm_drop=0.3)
    assert allr.factor == 0.3


def test_allr_that_would_change_nothing_says_so():
    with pytest.warns(NoEffectWarning, match="learning rate is 0 throughout"):
        retraining_schedule("ALLR", num_steps=200, dense=DENSE, norm_drop=0.0, budget_ratio=0.0)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_a_factor_from_a_bad_number_is_refused(value):
    with pytest.raises(InputError, match="norm_drop must be"):
        adaptive_factor(norm_drop=value, budget_ratio=0.5)
    with pytest.raises(InputError, match="budget_ratio must be"):
        adaptive_factor(norm_drop=0.5, budget_ratio=value)


ENDS = DenseSchedule.summary(peak=0.1, floor=0.01, num_steps=100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "LRR", "dense": DENSE}, "'LRR' is not a retraining schedule; choose from FT, LRW"),
        ({"name": "LRW", "dense": ENDS}, "LRW needs the dense run's learning rate at every step"),
        ({"name": "SLR", "dense": ENDS}, "SLR needs the dense run's learning rate at every step"),
        ({"name": "LRW", "dense": DENSE, "num_steps": 2001}, "last 2001 steps .* only 2000"),
        ({"name": "ALLR", "dense": DENSE}, "ALLR needs the norm drop"),
        ({"name": "CLR", "dense": DenseSchedule.summary(peak=0.1)}, "CLR needs the dense run's lowest"),
        (
            {"name": "CLR", "dense": DenseSchedule.summary(peak=0.1, floor=0.01), "lr": 0.001},
            "dense run, 0.01, which is above its own peak 0.001; give a higher lr, or choose LLR",
        ),
        ({"name": "FT", "dense": DenseSchedule.summary(peak=0.1)}, "FT needs the dense run's lowest"),
        ({"name": "FT"}, "give dense=.* or lr="),
        ({"name": "LLR"}, "LLR is defined relative to the dense run"),
        ({"name": "FT", "dense": DENSE, "warmup": 0.1}, "FT has no warm-up"),
        ({"name": "LRW", "dense": DENSE, "warmup": 0.1}, "LRW has no warm-up"),
        ({"name": "LRW", "dense": DENSE, "lr": 0.1}, "LRW takes its learning rate from the dense run"),
        ({"name": "ALLR", "dense": DENSE, "lr": 0.1, "norm_drop": 0.1}, r"got lr=0\.1"),
        ({"name": "SLR", "dense": DenseSchedule.recorded((0.0, 0.0))}, "0 throughout"),
    ],
)
def test_what_a_schedule_needs_is_checked_when_it_is_built(arguments, message):
    with pytest.raises(InputError, match=message):
        retraining_schedule(**{"num_steps": 10, **arguments})
