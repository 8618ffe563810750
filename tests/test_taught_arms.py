"""Keys of `[[arm]]` for teachers and averages: what they build, the names of arms, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from paretorch.errors import InputError
from paretorch.methods.distillation.settings import DistillationSettings
from paretorch.pipelines.pruned_family import PrunedFamily
from paretorch.recipes.arm_methods import arm_at, expand
from paretorch.training.trainer import Trainer
from tests.test_contest import PRUNED, by_name, made

POINT: dict[str, Any] = {"sparsity": 0.9, "epochs": 2, "schedule": "LLR"}
CUT: dict[str, Any] = {"method": "cut", "width": 0.5, "epochs": 2, "schedule": "LLR"}


@pytest.mark.parametrize("point", [POINT, CUT])
@pytest.mark.parametrize(
    "setting",
    [
        {"distill": [False, True]},
        {"distill": True, "temperature": [4.0, 2.0]},
        {"distill": True, "distill_weight": [0.9, 0.5]},
        {"distill": True, "features": ["norm"], "feature_weight": [1.0, 2.0]},
        {"average_from": [0.5, 0.75]},
    ],
)
def test_arms_that_differ_in_their_teaching_never_look_alike(point: dict[str, Any], setting: dict[str, Any]) -> None:
    first, second = expand([point | setting])
    assert first.label != second.label
    assert first.factors != second.factors
    assert first.id != second.id


def test_features_are_a_list_by_nature() -> None:
    (arm,) = expand([POINT | {"distill": True, "features": ["first", "norm"]}])
    assert arm.compression.retraining.distillation.features == ("first", "norm")
    other = arm_at(POINT | {"distill": True, "features": ["first"]}, "")
    assert (other.label, other.id) != (arm.label, arm.id)
    assert other.factors != arm.factors


def test_an_arm_without_a_teacher_is_named_as_before_there_were_any() -> None:
    arm = arm_at({"sparsity": 0.9, "epochs": 2, "schedule": "LLR"}, "")
    assert (arm.id, arm.label) == ("imp-llr-0b0d37ae", "IMP LLR 90 % 2 epochs")
    assert arm_at(POINT | {"distill": False}, "").id == arm.id
    assert arm.factors == {"method": "IMP", "schedule": "LLR", "epochs": 2, "cycles": 1, "sparsity": 0.9}


def test_every_key_of_a_teacher_reaches_the_pipeline_and_the_label() -> None:
    keys = {
        "distill": True,
        "temperature": 3.0,
        "distill_weight": 0.4,
        "features": ["norm"],
        "feature_weight": 0.5,
        "average_from": 0.75,
    }
    arm = arm_at(POINT | keys, "")
    retraining = arm.compression.retraining
    assert retraining.distillation == DistillationSettings(
        temperature=3.0, alpha=0.4, features=("norm",), feature_weight=0.5
    )
    assert retraining.average_from == 0.75
    assert arm.label == (
        "IMP LLR 90 % 2 epochs averaged from 0.75 teacher dense temperature 3.0 teacher's part 0.4 features norm "
        "features' weight 0.5"
    )
    assert arm_at(POINT | {"distill": True}, "").compression.retraining.distillation == DistillationSettings()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"temperature": 2.0}, "temperature belongs to a teacher, and there is none without distill = true"),
        ({"distill": False, "features": ["norm"], "distill_weight": 0.3}, "distill_weight and features belong to"),
        ({"distill": True, "temperature": 0.0}, "temperature = 0.0"),
        ({"distill": True, "distill_weight": 1.5}, "distill_weight = 1.5"),
        ({"distill": True, "features": ["norm", "norm"]}, "names a module twice"),
        ({"distill": True, "feature_weight": 2.0}, "feature_weight = 2.0 belongs to features, and none are named"),
        ({"distill": 1}, "distill = 1"),
        ({"average_from": 1.0}, "average_from = 1.0"),
        ({"distil": True}, "unknown key 'distil'; did you mean 'distill'"),
        ({"method": "structured-cs", "macs": 0.5, "distill": True}, "unknown key 'distill'"),
    ],
)
def test_keys_that_make_no_sense_are_refused_by_name(keys: dict[str, Any], message: str) -> None:
    point = POINT if "method" not in keys else {"epochs": 2}
    with pytest.raises(InputError, match=message):
        expand([point | keys])


def test_a_comparison_in_operations_refuses_a_teacher_that_they_would_not_count(tmp_path: Path) -> None:
    text = PRUNED.replace('name = "A"', 'name = "A"\ndistill = true')
    families = by_name(made(tmp_path, text)).values()
    own = next(iter(families))
    found = {
        family.name: family.rehearsed(Trainer(own.task, own.settings))["retrain"].same
        for family in families
        if isinstance(family, PrunedFamily)
    }
    assert [name for name, same in found.items() if "taught by" in same] == ["A", "A, random weights"]
    with pytest.raises(InputError, match="counts the operations of the student's steps and not those of its teacher"):
        made(tmp_path, text.replace("[compare]", '[compare]\naxis = "flops"'))
