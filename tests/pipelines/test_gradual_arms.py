"""Gradual methods as arms of a recipe: their keys, names and refusals, and a whole sweep."""

import json
from pathlib import Path
from typing import Any

import pytest

from paretorch.errors import InputError
from paretorch.evidence.quantities import sparsity
from paretorch.evidence.report import write_report
from paretorch.evidence.sources import load_sources
from paretorch.methods.schedules import Linear
from paretorch.methods.sparsity.gradual.gmp import GMP
from paretorch.methods.sparsity.gradual.schedule import Interval
from paretorch.pipelines.gradual import GradualPruning
from paretorch.pipelines.sweep import Sweep
from paretorch.recipes.arm_methods import METHODS, expand
from paretorch.training.settings import OptimizerSpec, TrainSettings
from tests.methods.sparsity.gradual.problems import NUM_WEIGHTS, STEPS_PER_EPOCH, task
from tests.pipelines.test_gradual import GRADUAL


def test_a_recipe_makes_the_arm_and_names_what_differs() -> None:
    point = {"method": "gmp", "sparsity": [0.5, 0.9], "epochs": 6, "interval_steps": 5, "allocation": "erk"}
    arms = expand([{**point, "include": ["hidden"], "reestimate_batches": 3}])
    assert [arm.label for arm in arms] == [
        "GMP 50 % 6 epochs interval steps 5 erk only hidden batch-norm batches 3",
        "GMP 90 % 6 epochs interval steps 5 erk only hidden batch-norm batches 3",
    ]
    assert len({arm.id for arm in arms}) == 2
    made = arms[1].compression
    assert isinstance(made, GradualPruning)
    assert (made.epochs, made.reestimate_batches, made.lr) == (6, 3, None)
    method = made.method()
    assert isinstance(method, GMP)
    assert (method.sparsity, method.interval, method.allocation) == (0.9, Interval(steps=5), "erk")
    assert (method.include, method.exclude, method.allow_recovering) == (["hidden"], None, False)
    assert made.method_ids() == ["gmp", "bn-reestimate"]
    assert arms[1].factors == {
        "method": "GMP", "sparsity": 0.9, "epochs in all": 6, "interval steps": 5, "allocation": "erk",
        "only": "hidden", "batch-norm batches": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"epochs": 6}, "sparsity is missing"),
        ({"sparsity": 0.9}, "epochs is missing"),
        ({"sparsity": 1.0, "epochs": 6}, "sparsity = 1.0"),
        ({"sparsity": 0.9, "epochs": 6, "interval": 1, "interval_steps": 3}, "in epochs or in steps"),
        ({"sparsity": 0.9, "epochs": 6, "allocation": "globl"}, "unknown allocation 'globl'"),
        ({"sparsity": 0.9, "epochs": 6, "lr": 0.1, "tune_lr": [0.1]}, "either `lr` or `tune_lr`"),
        ({"sparsity": 0.9, "epochs": 6, "tune_lr": [0.1, 0.1]}, "holds a rate twice"),
        ({"sparsity": 0.9, "epochs": 6, "cycles": 2}, "unknown key 'cycles'"),
    ],
)
def test_a_table_that_makes_no_arm_is_refused(point: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        expand([{"method": "gmp", **point}])


def test_epochs_of_fine_tuning_reach_the_arm_and_its_name_and_leave_the_folders_of_others() -> None:
    plain = {"method": "dnw", "sparsity": 0.9, "epochs": 6}
    tuned = expand([{**plain, "finetune_epochs": 2, "finetune_lr": 0.05}])[0]
    assert isinstance(tuned.compression, GradualPruning)
    assert (tuned.compression.epochs, tuned.compression.finetune_epochs, tuned.compression.finetune_lr) == (6, 2, 0.05)
    assert tuned.label == "DNW 90 % 6 epochs fine-tuning epochs 2.0 fine-tuning lr 0.05"
    assert tuned.factors["epochs in all"] == 6
    assert expand([plain])[0].id == expand([{**plain, "finetune_epochs": 0}])[0].id != tuned.id


def sweep(points: list[dict[str, Any]], *, decay: float = 1e-3) -> Sweep:
    return Sweep(
        name="mine",
        task=task(),
        settings=TrainSettings(batch_size=20, optimizer=OptimizerSpec(lr=0.1, weight_decay=decay), device="cpu"),
        seeds=(0, 1),
        dense_epochs=5,
        dense_schedule=lambda steps: Linear(num_steps=steps, peak=0.1),
        arms=expand(points),
        recipe="x",
        recipe_hash="x",
        command="x",
    )


def test_an_optimizer_that_a_method_cannot_work_with_is_refused_before_the_dense_models_are_trained() -> None:
    with pytest.raises(InputError, match=r"arm 'LC 90 % 5 epochs': .*weight decay"):
        sweep([{"method": "lc", "sparsity": 0.9, "epochs": 5}], decay=0.0).check()


@pytest.mark.parametrize("name", sorted(GRADUAL))
def test_a_table_has_the_defaults_of_its_method_and_makes_it_from_its_keys(name: str) -> None:
    table, point = METHODS[name], {"method": name, "sparsity": 0.9, "epochs": 5}
    made = expand([point])[0].compression.method()
    usual = getattr(GRADUAL[name], "func", GRADUAL[name])(sparsity=0.9)
    assert type(made) is type(usual)
    assert made.name == name
    settings = {key: value for key, value in vars(usual).items() if not key.startswith("_")}
    assert {key: vars(made)[key] for key in settings} == settings
    assert vars(table)["made"] is type(made)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        (
            {"method": "dpf", "interval": 0.5, "refresh_steps": 4},
            {"interval": Interval(epochs=0.5), "refresh_steps": 4},
        ),
        ({"method": "dnw", "refresh_steps": 3}, {"refresh_steps": 3}),
        ({"method": "soft-threshold", "initial": -6, "threshold_decay": 0.1}, {"initial": -6, "threshold_decay": 0.1}),
        ({"method": "dst", "penalty": 0.1}, {"alpha": 0.1}),
        (
            {
                "method": "continuous-sparsification",
                "initial": 0.1,
                "final_beta": 100,
                "strength": 3,
                "penalty": 0.1,
                "ending": "threshold",
                "scaled": False,
                "mask_lr": 1.0,
            },
            {
                "initial": 0.1,
                "final_beta": 100,
                "strength": 3,
                "open_penalty": 0.1,
                "exact": False,
                "scaled": False,
                "mask_lr": 1.0,
            },
        ),
        (
            {"method": "rigl", "allocation": "uniform", "interval_steps": 7, "end": 0.5, "alpha": 0.2},
            {"allocation": "uniform", "interval": 7, "end": 0.5, "alpha": 0.2},
        ),
    ],
)
def test_every_key_of_a_table_reaches_the_method_and_the_name(point: dict[str, Any], expected: dict[str, Any]) -> None:
    usual = {"method": point["method"], "sparsity": 0.9, "epochs": 5}
    arms = [*expand([usual]), *(arm for key in point for arm in expand([usual | {key: point[key]}]) if key != "method")]
    assert len({arm.label for arm in arms}) == len({arm.id for arm in arms}) == len(point)
    made = expand([usual | point])[0].compression.method()
    assert {key: getattr(made, key) for key in expected} == expected


@pytest.mark.slow
def test_a_sweep_holds_gradual_and_budgeted_arms_beside_others_each_charged_for_what_it_trained(tmp_path: Path) -> None:
    own = {"rigl": {"interval_steps": 10}}
    points: list[dict[str, Any]] = [
        {"method": name, "sparsity": [0.5, 0.9], "epochs": 5, **own.get(name, {})} for name in sorted(GRADUAL)
    ]
    points += [
        {"method": "bimp", "sparsity": 0.9, "epochs": 5, "dense_epochs": 3},
        {"sparsity": 0.9, "epochs": 2},
    ]
    arms = sweep(points)
    assert any("then 1 x (prune, retrain), 24 steps" in line for line in arms.plan())
    records = arms.run(tmp_path)
    compressed = [record for record in records if not record.is_baseline]
    assert len(compressed) == 2 * (2 * len(GRADUAL) + 2)
    for record in compressed:
        epochs = 7 if record.group["method"] == "IMP" else 5  # IMP retrains the dense model, which is charged to it
        assert record.cost["steps"] == epochs * STEPS_PER_EPOCH, record.arm
        biases = 24 + 3 + 24 + 24
        found = sparsity(record)
        assert found is not None
        assert record.cost["nonzeros"] <= NUM_WEIGHTS - round(found * NUM_WEIGHTS) + biases
        assert found >= record.group["sparsity"] - 0.5 / NUM_WEIGHTS
    again = arms.run(tmp_path, resume=True)
    assert [record.to_dict() for record in again] == [record.to_dict() for record in records]
    (loaded,) = load_sources([tmp_path]).values()
    assert len(loaded) == len(records)
    page = write_report(loaded, tmp_path / "report.html", command="x").read_text(encoding="utf-8")
    assert "epochs in all 5" in page
    assert "retraining epochs" in page  # of IMP alone
    ledger = (tmp_path / "runs" / f"{arms.arms[0].id}-s0" / "ledger.jsonl").read_text().splitlines()
    assert [json.loads(line)["phase"] for line in ledger] == ["gradual", "zeros"]
