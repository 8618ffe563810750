"""Retraining with a teacher or an average: who teaches, what the ledger charges, refusals, resumption, and recipes."""

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.methods.averaging.swa import SWA
from paretorch.methods.distillation.settings import DistillationSettings
from paretorch.methods.distillation.teacher import Distillation, state_hash
from paretorch.methods.schedules import DenseSchedule, MultiStep
from paretorch.pipelines.arm import compress
from paretorch.pipelines.compression import Compressed, Compression, Start
from paretorch.pipelines.cutting import CutAndRetrain
from paretorch.pipelines.cutting_step import Units
from paretorch.pipelines.dense import DenseResult, train_dense
from paretorch.pipelines.elastic import Budgets, Elastic, ElasticRun
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.pruned_family import PrunedFamily
from paretorch.pipelines.retraining import Retraining
from paretorch.pipelines.structured import GateSettings, StructuredRun
from paretorch.recipes.arm_methods import arm_at
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer
from tests.pipelines.dying import assert_same_weights, killed_and_resumed
from tests.pipelines.test_cutting import SETTINGS, STEPS_PER_EPOCH, Small, task, trainer
from tests.training.problems import linear_task, plain

TAUGHT = DistillationSettings(temperature=2.0, alpha=0.5)


@pytest.fixture(scope="module")
def dense() -> DenseResult:
    return train_dense(trainer(), MultiStep(num_steps=6 * STEPS_PER_EPOCH, peak=0.1, milestones=(0.5, 0.75)))


def imp(distillation: DistillationSettings | None = TAUGHT, **others: Any) -> IMP:
    settings = {"schedule": "LLR", "distillation": distillation} | others.pop("retraining", {})
    return IMP(**({"sparsity": 0.9, "epochs": 2, "cycles": 2} | others), retraining=Retraining(**settings))


def cut(distillation: DistillationSettings | None = TAUGHT, spread: Any = "uniform") -> CutAndRetrain:
    retraining = Retraining(schedule="LLR", distillation=distillation)
    return CutAndRetrain(units=Units(width=0.5, spread=spread), epochs=1, retraining=retraining)


def run(arm: Compression, dense: DenseResult, directory: RunDirectory | None = None) -> Compressed:
    return arm.run_from(trainer(directory), Start(model=dense.model, schedule=dense.schedule))


def equal(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("make", [imp, cut])
def test_the_ledger_charges_one_pass_of_the_teacher_per_training_example(make: Any, dense: DenseResult) -> None:
    lines = [entry for entry in run(make(), dense).entries if entry["kind"] == "retrain"]
    assert lines
    for line in lines:
        assert line["teacher_samples"] == line["samples"] > 0
        assert line["distillation"] | {"features": []} == {
            "teacher": "dense",
            "temperature": 2.0,
            "alpha": 0.5,
            "features": [],
            "feature_weight": 1.0,
        }
    untaught = run(make(None), dense).entries
    assert not any("teacher_samples" in entry or "distillation" in entry for entry in untaught)


@pytest.mark.parametrize("make", [imp, cut])
def test_a_teacher_changes_the_model_and_one_without_a_part_changes_no_bit(make: Any, dense: DenseResult) -> None:
    taught, untaught = run(make(), dense), run(make(None), dense)
    silent = run(make(replace(TAUGHT, alpha=0.0)), dense)
    assert not equal(taught.model, untaught.model)
    assert equal(silent.model, untaught.model)
    assert not any("teacher_samples" in entry for entry in silent.entries)


def test_the_dense_model_teaches_in_every_cycle_and_stays_as_it_was(
    dense: DenseResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers: list[str] = []
    begin = Distillation.start

    def noted(self: Distillation, run: Any) -> None:
        teachers.append(state_hash(self.teacher))
        begin(self, run)

    monkeypatch.setattr(Distillation, "start", noted)
    before = state_hash(dense.model)
    run(imp(cycles=3, epochs=3), dense)
    assert teachers == [before] * 3
    assert state_hash(dense.model) == before


class Wide(nn.Module):
    """A larger model of the same task."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def test_another_module_may_teach(dense: DenseResult) -> None:
    taught = run(imp(replace(TAUGHT, teacher=Wide())), dense)
    assert not equal(taught.model, run(imp(), dense).model)
    line = taught.entries[1]
    assert line["distillation"]["teacher"] == "Wide, 771 parameters, whose own training is not counted"


@pytest.mark.parametrize("fatal_write", [2, 9, 16])
def test_a_taught_and_averaged_run_that_dies_at_a_write_ends_bitwise_the_same(
    dense: DenseResult, tmp_path: Path, fatal_write: int
) -> None:
    own = partial(run, imp(retraining={"average_from": 0.0}), dense)
    expected = own()
    resumed, _ = killed_and_resumed(own, tmp_path / "run", fatal_write=fatal_write)
    assert_same_weights(resumed.model, expected.model)


def test_a_cut_model_matches_features_where_its_shapes_allow_it(dense: DenseResult) -> None:
    taught = run(cut(replace(TAUGHT, features=("output",))), dense)
    assert taught.entries[-1]["distillation"]["features"] == ["output"]
    assert not equal(taught.model, run(cut(), dense).model)


def test_features_that_a_cut_makes_narrower_are_refused_by_name_before_anything_is_trained(dense: DenseResult) -> None:
    arm = cut(replace(TAUGHT, features=("first",)))
    message = r"module 'first' gives \(20, 12\) in the student and \(20, 24\) in the teacher"
    with pytest.raises(InputError, match=message):
        arm.check(trainer(), trainer().model(), dense=dense.schedule)
    with pytest.raises(InputError, match=message):
        run(arm, dense)
    ranked = cut(replace(TAUGHT, features=("first",)), spread="global")
    ranked.check(trainer(), trainer().model(), dense=dense.schedule)  # widths depend on the trained weights
    with pytest.raises(InputError, match="module 'first' gives"):
        run(ranked, dense)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher": nn.Linear(8, 2)}, r"teacher's logits have shape \(20, 2\), the student's \(20, 3\)"),
        ({"features": ("hidden",)}, "Small has no module 'hidden'"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_before_anything_is_trained(
    dense: DenseResult, settings: dict[str, Any], message: str
) -> None:
    arm = imp(replace(TAUGHT, **settings))
    with pytest.raises(InputError, match=message):
        arm.check(trainer(), trainer().model(), dense=dense.schedule)
    with pytest.raises(InputError, match=message):
        run(arm, dense)


def test_regression_is_refused_by_name_before_anything_is_trained() -> None:
    own = Trainer(linear_task(), plain(8), seed=0)
    schedule = DenseSchedule.of(MultiStep(num_steps=9, peak=0.1, milestones=(0.5,)))
    with pytest.raises(InputError, match="distillation needs class scores, and the `logits` of SupervisedTask are Non"):
        imp(sparsity=0.3).check(own, own.model(), dense=schedule)


@pytest.mark.parametrize("make", [imp, cut])
def test_what_is_timed_beforehand_is_the_step_with_its_teacher(make: Any) -> None:
    _, methods = make().rehearsal(trainer())
    (taught,) = (method for method in methods if isinstance(method, Distillation))
    assert equal(taught.teacher, trainer().model())
    assert not any(isinstance(method, Distillation) for method in make(None).rehearsal(trainer())[1])


def test_taught_and_untaught_steps_are_timed_apart_and_schedules_together(dense: DenseResult) -> None:
    def key(arm: IMP) -> str:
        point = {"sparsity": 0.9, "epochs": 1}
        family = PrunedFamily(
            name="one",
            role="",
            durations=(1.0,),
            task=task(),
            settings=SETTINGS,
            arms={1.0: replace(arm_at(point, ""), compression=arm)},
        )
        return family.rehearsed(trainer())["retrain"].key("retrain")

    untaught, taught = key(imp(None)), key(imp())
    assert untaught != taught
    assert key(imp(replace(TAUGHT, temperature=9.0))) == taught
    assert key(imp(retraining={"schedule": "SLR"})) == taught
    assert key(imp(replace(TAUGHT, features=("norm",)))) != taught
    assert key(imp(replace(TAUGHT, teacher=Wide()))) != taught


def test_a_budget_in_minutes_is_timed_with_the_teacher(dense: DenseResult, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[list[str]] = []

    def rehearse(self: Trainer, model: nn.Module, *, num_steps: int, methods: Any) -> float:
        timed.append([method.name for method in methods])
        return 60.0

    monkeypatch.setattr(Trainer, "rehearse", rehearse)
    run(imp(epochs=None, minutes=2.0, cycles=1), dense)
    run(imp(None, epochs=None, minutes=2.0, cycles=1), dense)
    assert timed == [["distillation"], []]


def test_tuning_charges_the_teacher_for_the_trials_that_were_not_chosen(dense: DenseResult) -> None:
    result = compress(imp(cycles=1), [0.1, 0.01], trainer(), dense)
    (trial,) = result.trials
    assert trial["teacher_samples"] == trial["samples"] == 480
    (untaught,) = compress(imp(None, cycles=1), [0.1, 0.01], trainer(), dense).trials
    assert "teacher_samples" not in untaught


@pytest.mark.parametrize("settings", [{"distillation": TAUGHT}, {"average_from": 0.5}])
def test_training_that_compresses_by_itself_takes_neither_teacher_nor_average(settings: dict[str, Any]) -> None:
    training = Retraining(schedule="SLR", **settings)
    with pytest.raises(InputError, match="training with gates takes no"):
        StructuredRun(gates=GateSettings(target=0.5), epochs=1, training=training)
    with pytest.raises(InputError, match="the elastic training takes no"):
        ElasticRun(epochs=1, training=training)


def test_a_model_out_of_elastic_training_is_taught_by_the_weights_it_is_cut_out_of(dense: DenseResult) -> None:
    arms = [
        Elastic(
            run=ElasticRun(epochs=1),
            budgets=Budgets(params=0.5),
            epochs=1,
            finetuning=Retraining(schedule="CLR", distillation=distillation),
        )
        for distillation in (None, TAUGHT)
    ]
    arms[1].check(trainer(), trainer().model(), dense=dense.schedule)
    start = arms[0].train_shared(trainer(), dense)
    assert arms[0].shared_key == arms[1].shared_key
    untaught, taught = (arm.run_from(trainer(), start) for arm in arms)
    assert taught.entries[-1]["teacher_samples"] == taught.entries[-1]["samples"]
    assert not equal(taught.model, untaught.model)


# Averages


def test_a_phase_ends_with_the_mean_of_its_weights_at_the_epochs_that_are_averaged(
    dense: DenseResult, tmp_path: Path
) -> None:
    arm = IMP(sparsity=0.5, epochs=4, retraining=Retraining(schedule="LLR", average_from=0.5))
    moments: list[dict[str, torch.Tensor]] = []
    add = SWA._take

    def noted(self: SWA, run: Any) -> None:
        counted = self.mean.count
        add(self, run)
        if self.mean.count > counted:
            moments.append(copy.deepcopy(run.model.state_dict()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SWA, "_take", noted)
        result = run(arm, dense)
    assert len(moments) == 2, "the ends of the third and of the fourth epoch"
    for name in ("first.weight", "second.weight", "output.bias"):
        mean = sum(state[name].double() for state in moments) / len(moments)
        torch.testing.assert_close(result.model.state_dict()[name].double(), mean, rtol=1e-6, atol=1e-8)
    assert not torch.equal(result.model.norm.running_mean, moments[-1]["norm.running_mean"])
    line = result.entries[-1]
    assert line["average_from"] == 0.5
    assert int((result.model.first.weight == 0).sum()) > 0
    assert (
        sum(int((result.model.get_parameter(f"{n}.weight") == 0).sum()) for n in ("first", "second", "output"))
        == (line["zeros"])
    )


def test_the_average_is_validated_and_named_among_the_methods(dense: DenseResult) -> None:
    arm = imp(None, retraining={"average_from": 0.0})
    assert arm.method_ids() == ["magnitude", "masks", "bn-reestimate", "llr", "swa"]
    assert imp().method_ids() == ["magnitude", "masks", "bn-reestimate", "llr", "distillation"]
    result = run(arm, dense)
    expected = trainer().evaluate(result.model)["accuracy"]
    assert result.entries[-1]["validation"] == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"average_from": 1.0}, r"in \[0, 1\); got 1.0"),
        ({"average_from": -0.5}, "got -0.5"),
        ({"average_from": 0.5, "keep_optimizer": True}, "momentum of other weights than the average"),
    ],
)
def test_an_average_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        imp(None, retraining=settings)


def test_the_model_of_these_tests_has_the_layers_they_name() -> None:
    assert {"first", "norm", "output"} <= {name for name, _ in Small().named_modules()}
