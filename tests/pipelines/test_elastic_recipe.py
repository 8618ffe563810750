"""Recipes of elastic trainings: their keys, what arms share, what records say, and the recipe that ships."""

from pathlib import Path
from typing import Any

import pytest

from paretorch.artefacts.model import load_model
from paretorch.errors import InputError
from paretorch.evidence.records import RunRecord
from paretorch.pipelines import pricing
from paretorch.pipelines.elastic import Elastic
from paretorch.recipes import Recipe, load_recipe
from paretorch.recipes.arm_methods import expand

SMALL: dict[str, Any] = {
    "name": "small",
    "task": "digits",
    "seeds": [0],
    "task_options": {"hidden": [24, 24]},
    "train": {"batch_size": 64, "lr": 0.1, "momentum": 0.9},
    "dense": {"epochs": 2, "schedule": "linear"},
}
DPOD = {"method": "dpod", "params": [0.6, 0.3], "elastic_epochs": 3, "epochs": 1, "calibration_examples": 64}
ELASTIC = DPOD | {"method": "elastic", "sampler": "uniform"}


def members(*tables: dict[str, Any]) -> list[Elastic]:
    found = [arm.compression for arm in expand(tables)]
    assert all(isinstance(compression, Elastic) for compression in found)
    return found  # type: ignore[return-value]


def test_arms_that_differ_in_budget_and_fine_tuning_share_one_training() -> None:
    longer = DPOD | {"params": 0.45, "epochs": [1, 2], "schedule": "LLR"}
    found = members(DPOD, longer)
    assert len({member.shared_key for member in found}) == 1
    plan = found[0].run.shrink
    assert plan is not None
    assert (plan.target, plan.keep_at) == (0.3, (0.6, 0.45))
    apart = members(DPOD, DPOD | {"elastic_epochs": 4}, ELASTIC, DPOD | {"quantum": 4}, DPOD | {"window": [0.1, 0.6]})
    assert len({member.shared_key for member in apart}) == 5


def test_a_shared_training_of_full_widths_serves_several_footprints() -> None:
    found = members(ELASTIC, {**ELASTIC, "params": 0.5, "macs": 0.4})
    assert len({member.shared_key for member in found}) == 1
    assert found[-1].budgets.given() == {"params": 0.5, "macs": 0.4}


def test_labels_and_factors_tell_arms_apart() -> None:
    tables = [DPOD, ELASTIC, DPOD | {"tolerance": 0.1}, ELASTIC | {"start": "dense", "full_pass": True}]
    arms = expand(tables)
    assert len({arm.label for arm in arms}) == len({arm.id for arm in arms}) == 8
    assert len({repr(arm.factors) for arm in arms}) == 8
    assert arms[0].label == "DPOD (reconstructed) CLR 60 % params 3 elastic + 1 epochs calibration examples 64"
    assert arms[0].factors["method"] == "DPOD (reconstructed)"
    assert arms[2].factors["method"] == "elastic uniform"
    assert not arms[0].compression.from_dense
    assert arms[6].compression.from_dense


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (DPOD | {"macs": 0.5}, r"shrinks by one footprint; give one of params, macs and activations"),
        ({"method": "elastic", "elastic_epochs": 1, "epochs": 1}, "say how small the model shall be"),
        (DPOD | {"params": 1.0}, "leaves nothing to shrink"),
        (DPOD | {"sampler": "normal"}, "'normal' is no sampler of widths; choose from single-layer"),
        (DPOD | {"window": [0.7, 0.2]}, "start < stop"),
        (DPOD | {"schedule": "ALLR"}, "ALLR takes its rate"),
        (DPOD | {"elastic_schedule": "ALLR"}, "ALLR takes its rate"),
        (DPOD | {"lr": 0.1, "tune_lr": [0.1]}, "either `lr` or `tune_lr`"),
        (DPOD | {"minutes": 1}, "either as epochs or as minutes; got both"),
        (ELASTIC | {"tolerance": 0.1}, "tolerance"),
    ],
)
def test_keys_that_do_not_fit_are_refused_with_the_number_of_the_arm(table: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=rf"(?s)\[\[arm\]\] number 1.*{words}"):
        expand([table])


def test_a_sweep_refuses_before_training_what_the_model_cannot_give(tmp_path: Path) -> None:
    recipe = Recipe.model_validate(SMALL | {"arm": [DPOD | {"params": 0.01}]})
    with pytest.raises(InputError, match=r"arm 'DPOD .*': shrinking to 0.01 of params .* cannot be reached"):
        recipe.sweep(data=None, command="x").run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[RunRecord]]:
    out = tmp_path_factory.mktemp("sweep") / "out"
    recipe = Recipe.model_validate(SMALL | {"arm": [DPOD, ELASTIC | {"macs": 0.5}]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pricing, "BATCH_SIZES", (1,))
        patch.setattr(pricing, "SECONDS_PER_ROUND", 1e-4)
        return out, recipe.sweep(data=None, command="x").run(out)


@pytest.mark.slow
def test_records_are_charged_for_the_whole_elastic_training_and_say_who_shares_it(
    records: tuple[Path, list[RunRecord]],
) -> None:
    out, (dense, *family) = records
    per_epoch = dense.cost["steps"] // 2
    for record in family:
        assert record.status == "ok"
        assert record.cost["steps"] == 4 * per_epoch  # no dense training: it started from scratch
        phases = {phase["phase"]: phase for phase in record.phases}
        assert list(phases) == ["elastic", "tables", "cut", "retrain", "measure"]
        assert phases["elastic"]["shared_by"] == 2
        assert any("Phases trained once for 2 arms" in note for note in record.notes)
        assert phases["cut"]["loss"] == min(entry["loss"] for entry in phases["cut"]["candidates"])
        assert record.cost["params"] == phases["cut"]["params"] <= record.group["params"] * dense.cost["params"]
        assert 0 < phases["cut"]["validation_raw"] <= 1
    assert sorted(path.name for path in (out / "runs").iterdir() if path.name.startswith("elastic-")) != []
    macs = [record.cost["macs_dense"] for record in family[2:]]
    assert all(count <= 0.5 * dense.cost["macs_dense"] for count in macs)


@pytest.mark.slow
def test_saved_models_are_small_dense_models_that_load(records: tuple[Path, list[RunRecord]]) -> None:
    out, (_, *family) = records
    for record in family:
        model = load_model(out / "runs" / record.run_id / "model")
        assert sum(p.numel() for p in model.parameters()) == record.cost["params"]
        assert all((parameter != 0).any() for parameter in model.parameters())


def test_the_recipe_that_ships_trains_each_elastic_model_once() -> None:
    lines = load_recipe("elastic-digits").sweep(data=None, command="x").plan()
    shared = [line for line in lines if "once for" in line]
    assert len(shared) == 3
    assert all("once for 3 arms" in line for line in shared)
