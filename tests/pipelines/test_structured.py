"""Training with gates as an arm: the ledger, the artefact, resuming, recipes and bad input."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from paretorch.artefacts.model import load_artefact, save_model
from paretorch.errors import InputError, RunError
from paretorch.methods.schedules import Linear
from paretorch.pipelines.compression import Compressed, Start
from paretorch.pipelines.dense import DenseResult, train_dense
from paretorch.pipelines.retraining import Retraining
from paretorch.pipelines.structured import GateSettings, StructuredRun
from paretorch.recipes.arm_methods import expand
from paretorch.training.run import RunDirectory
from tests.pipelines.test_cutting import Small, size, task, trainer


@pytest.fixture(scope="module")
def dense() -> DenseResult:
    return train_dense(trainer(), Linear(num_steps=36, peak=0.1))


def arm(
    *, epochs: float = 6, from_dense: bool = False, training: Retraining | None = None, **gates: Any
) -> StructuredRun:
    settings = GateSettings(**{"target": 0.5, "cost": "params", "window": 10, **gates})
    return StructuredRun(
        gates=settings, epochs=epochs, from_dense=from_dense, training=training or Retraining(schedule="SLR")
    )


def run(arm: StructuredRun, dense: DenseResult, directory: RunDirectory | None = None) -> Compressed:
    return arm.run_from(trainer(directory), Start(model=copy.deepcopy(dense.model), schedule=dense.schedule))


@pytest.mark.parametrize("from_dense", [False, True])
def test_the_arm_ends_with_a_model_of_about_the_wanted_size_as_its_ledger_says(
    dense: DenseResult, from_dense: bool
) -> None:
    before = copy.deepcopy(dense.model.state_dict())
    result = run(arm(from_dense=from_dense), dense)
    trained, cut = result.entries
    assert (trained["phase"], trained["kind"], trained["steps"]) == ("gates", "gates", 72)
    assert cut["kind"] == "cut"
    assert size(result.model) == cut["params"]
    assert cut["params_full"] == size(dense.model)
    assert cut["params"] / cut["params_full"] == pytest.approx(0.5, abs=0.12)
    assert {row["group"]: row["width"] for row in cut["widths"]} == {
        "first": result.model.first.out_features,
        "second": result.model.second.out_features,
    }
    assert cut["batchnorm_layers"] == 1
    assert cut["validation"] == cut["validation_reestimated"] == trainer().evaluate(result.model)["accuracy"]
    assert all(torch.equal(value, before[name]) for name, value in dense.model.state_dict().items())


def test_the_saved_model_reloads_at_its_size_and_computes_the_same(dense: DenseResult, tmp_path: Path) -> None:
    result = run(arm(epochs=3), dense)
    save_model(tmp_path / "model", result.model, constructor=Small, edits=list(result.edits))
    loaded = load_artefact(tmp_path / "model", constructor=Small).model.eval()
    assert size(loaded) == result.entries[1]["params"] < size(Small())
    inputs = task().test_set().tensors["inputs"]
    assert torch.equal(loaded(inputs), result.model.eval()(inputs))


def test_a_finished_run_is_read_back_and_other_units_in_its_ledger_are_refused(
    dense: DenseResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for _ in range(2):
        with RunDirectory(tmp_path / "run", recipe="", resume=True) as directory:
            results.append(run(arm(epochs=2), dense, directory))
    first, again = results
    assert first.entries[1] == again.entries[1]
    assert first.edits == again.edits
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))
    monkeypatch.setattr("paretorch.pipelines.structured.hash_of", lambda cut: "another")
    with (
        RunDirectory(tmp_path / "run", recipe="", resume=True) as directory,
        pytest.raises(RunError, match="the gates leave other units than the ledger"),
    ):
        run(arm(epochs=2), dense, directory)


def test_layers_that_are_pinned_keep_their_width(dense: DenseResult) -> None:
    result = run(arm(pins=("first",), target=0.7, strength=600.0), dense)
    assert result.model.first.out_features == 24
    assert result.model.second.out_features < 12


def test_a_recipe_makes_the_arm_and_names_what_differs() -> None:
    point = {"method": "structured-cs", "params": [0.5, 0.25], "epochs": 3, "gates_lr": 0.2, "start": "dense"}
    arms = expand([point])
    assert [one.label for one in arms] == [
        "structured CS SLR about 50 % params 3 epochs start dense gates lr 0.2",
        "structured CS SLR about 25 % params 3 epochs start dense gates lr 0.2",
    ]
    made = arms[1].compression
    assert isinstance(made, StructuredRun)
    assert made.gates == GateSettings(target=0.25, cost="params", lr=0.2)
    assert made.from_dense
    assert made.method_ids() == ["structured-cs", "bn-reestimate", "slr"]
    words, steps = made.plan(trainer())
    assert words == "train with gates from the dense model to about 25 % of the parameters, 36 steps"
    assert steps == 36


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"epochs": 3}, r"give either params or macs, not \[\]"),
        ({"epochs": 3, "params": 0.5, "macs": 0.5}, r"not \['params', 'macs'\]"),
        ({"epochs": 0, "params": 0.5}, "gates are found by training; a budget of 0 finds none"),
        ({"epochs": 3, "params": 0.5, "schedule": "ALLR"}, "with gates choose SLR, LLR or CLR"),
        ({"epochs": 3, "params": 1.0}, r"params.*less than 1"),
        ({"params": 0.5}, "either as epochs or as minutes; got neither"),
    ],
)
def test_a_table_that_makes_no_arm_is_refused(point: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        expand([{"method": "structured-cs", **point}])


def test_a_target_that_no_model_meets_is_refused_before_training(dense: DenseResult) -> None:
    with pytest.raises(InputError, match=r"a target of 0\.01 of the params cannot be reached"):
        arm(target=0.01).check(trainer(), Small(), dense=dense.schedule)
    arm().check(trainer(), Small(), dense=dense.schedule)


def test_a_training_of_less_than_a_step_is_refused_before_the_dense_one(dense: DenseResult) -> None:
    short = replace(arm(), epochs=0.01)
    with pytest.raises(InputError, match=r"0\.01 epochs are less than one optimizer step; an epoch has 12"):
        short.check(trainer(), Small(), dense=dense.schedule)
