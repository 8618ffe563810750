"""Training from scratch with shared templates: budget, folding before and after, artefacts, resuming, refusals."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from paretorch.artefacts.model import load_artefact, save_model
from paretorch.errors import InputError, RunError
from paretorch.methods.averaging.batchnorm import reestimate_batchnorm
from paretorch.methods.schedules import DenseSchedule, Linear
from paretorch.methods.sharing.fold import fold_
from paretorch.methods.sharing.layers import SharedConv2d
from paretorch.methods.sharing.similarity import layer_similarity
from paretorch.methods.sharing.soft_sharing import SoftSharing
from paretorch.pipelines.arm import compress
from paretorch.pipelines.batches import training_batches
from paretorch.pipelines.compression import Compressed, Start
from paretorch.pipelines.dense import DenseResult
from paretorch.pipelines.shared import SharedTraining
from paretorch.training.run import RunDirectory
from tests.methods.sharing.networks import CONVS, images, network
from tests.methods.sharing.test_soft_sharing import shared_network, trainer

SWEEP = DenseSchedule.of(Linear(num_steps=12, peak=0.05))
PER_EPOCH = 3
TEMPLATES = 4 * 4 * 9  # numbers in a template of the network


def run(directory: RunDirectory | None = None, *, templates: int = 2, **settings: Any) -> Compressed:
    """Two epochs of three steps."""
    method = settings.pop("sharing", partial(SoftSharing, templates=templates))
    compression = SharedTraining(**{"sharing": method, "epochs": 2, **settings})
    return compression.run_from(trainer(directory=directory), Start(model=network(), schedule=SWEEP))


def test_the_whole_budget_is_trained_and_charged_and_nothing_of_the_dense_run() -> None:
    compression = SharedTraining(sharing=partial(SoftSharing, templates=2), epochs=3, fold=0.9)
    assert not compression.from_dense
    assert compression.method_ids() == ["soft-sharing", "bn-reestimate"]
    words = "train from scratch with 2 templates per group of layers, 9 steps, then fold layers of similarity 0.9"
    assert compression.plan(trainer()) == (words, 9)
    one = SharedTraining(sharing=partial(SoftSharing, templates=1), epochs=3)
    assert one.plan(trainer())[0] == "train from scratch with 1 template per group of layers, 9 steps"
    named = partial(SoftSharing, templates={"a": 1, "b": 2}, groups={"a": ["2", "5"], "b": ["8", "0"]})
    assert SharedTraining(sharing=named, epochs=3).plan(trainer()) == (
        "train from scratch with templates for groups of layers (1 for a, 2 for b), 9 steps",
        9,
    )
    trained, entry = run(epochs=3).entries
    assert (trained["phase"], trained["kind"], trained["steps"], trained["samples"]) == ("share", "share", 9, 72)
    assert (entry["phase"], entry["validation"]) == ("templates", trained["validation"])
    assert "steps" not in entry
    assert trained["lr_peak"] == 0.05
    assert run(lr=0.01).entries[0]["lr_peak"] == 0.01


def test_the_arm_is_the_method_in_a_phase_of_that_schedule() -> None:
    result = run()
    own = trainer()
    model = own.model()
    trace = SWEEP.trace
    assert trace is not None
    method = SoftSharing(templates=2)
    own.fit(model, phase="share", num_steps=6, schedule=lambda step: trace[2 * step], methods=[method])
    assert model.state_dict().keys() == result.model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, result.model.state_dict()[name]), name
    entry = result.entries[1]
    (found,) = layer_similarity(model).values()
    assert entry["similarity"] == {"conv2d-4x4x3x3": found.to_dict()}
    plain = sum(parameter.numel() for parameter in network().parameters())
    assert entry["params_unshared"] == plain
    assert entry["params"] == plain - 3 * TEMPLATES + 2 * TEMPLATES + 3 * 2


def test_a_shared_model_is_saved_and_comes_back(tmp_path: Path) -> None:
    result = run()
    save_model(tmp_path / "model", result.model, constructor=network, edits=list(result.edits))
    loaded = load_artefact(tmp_path / "model", constructor=network).model.eval()
    assert isinstance(loaded.get_submodule("5"), SharedConv2d)
    assert torch.equal(loaded(images()), result.model.eval()(images()))


def test_one_template_folds_into_one_weight_and_the_model_computes_what_it_did(tmp_path: Path) -> None:
    before = run(templates=1).model.eval()
    result = run(templates=1, fold=0.95, reestimate_batches=0)
    after, (trained, entry) = result.model.eval(), result.entries
    torch.testing.assert_close(after(images()), before(images()), rtol=1e-10, atol=1e-12)
    assert entry["validation"] == entry["validation_raw"] == trained["validation"]
    assert entry["validation_reestimated"] is None
    assert list(entry["folding"]["clusters"].values()) == [list(CONVS)]
    assert entry["params"] == sum(parameter.numel() for parameter in after.parameters())
    assert entry["params"] < entry["params_unshared"] - 2 * TEMPLATES + 4
    save_model(tmp_path / "model", after, constructor=network, edits=list(result.edits))
    loaded = load_artefact(tmp_path / "model", constructor=network).model.eval()
    assert torch.equal(loaded(images()), after(images()))
    assert loaded.get_submodule("2").weight is loaded.get_submodule("8").weight


def test_statistics_of_a_folded_model_are_estimated_again_and_both_accuracies_are_in_the_ledger() -> None:
    own, expected = trainer(), run().model
    with torch.no_grad():
        folding = fold_(expected, threshold=0.01, norms={"2": "3", "5": "6", "8": "9"})
    assert len(folding.clusters) == 1, "so that something changes"
    raw = own.evaluate(expected)["accuracy"]
    batches = training_batches(own, name="templates", count=2, augmented=True)
    reestimate_batchnorm(expected, batches, forward=lambda model, batch: model(batch["inputs"]))
    result = run(fold=0.01, reestimate_batches=2)
    entry = result.entries[1]
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(result.model.state_dict()[name], value)
    assert entry["validation_raw"] == raw
    assert entry["validation"] == entry["validation_reestimated"] == own.evaluate(expected)["accuracy"]
    assert entry["batchnorm_layers"] == 3


def test_folding_layers_that_are_not_alike_is_said_to_store_more() -> None:
    with pytest.warns(UserWarning, match="too few layers are alike"):
        result = run(fold=1.0)
    (note,) = result.notes
    folding = result.entries[1]["folding"]
    assert f"left {folding['params_after']} parameters where the templates had {folding['params_before']}" in note


def dying(monkeypatch: pytest.MonkeyPatch, fatal: int) -> None:
    """Let a run directory's so-manieth write be the end of the process."""
    writes = 0

    def counted(real: Callable[..., None]) -> Callable[..., None]:
        def write(self: RunDirectory, *args: object) -> None:
            nonlocal writes
            writes += 1
            if writes == fatal:
                raise ConnectionError("stands for a process that dies")
            real(self, *args)

        return write

    monkeypatch.setattr(RunDirectory, "save", counted(RunDirectory.save))
    monkeypatch.setattr(RunDirectory, "append", counted(RunDirectory.append))


@pytest.mark.parametrize("fatal", [1, 4, 6, 7, 8])
def test_a_run_that_dies_at_any_write_is_resumed_bitwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fatal: int
) -> None:
    settings: dict[str, Any] = {"sharing": partial(SoftSharing, templates=2, recurrence=0.1), "fold": 0.5}
    expected = run(**settings)
    with monkeypatch.context() as patch:
        dying(patch, fatal)
        with pytest.raises(ConnectionError), RunDirectory(tmp_path / "run", recipe="x") as directory:
            run(directory, **settings)
    with RunDirectory(tmp_path / "run", recipe="x", resume=True) as directory:
        resumed = run(directory, **settings)
        assert [entry["phase"] for entry in directory.ledger()] == ["share", "templates"]
    with RunDirectory(tmp_path / "run", recipe="x", resume=True) as directory:
        again = run(directory, **settings)
    for found in (resumed, again):
        assert found.edits == expected.edits
        for key, value in expected.model.state_dict().items():
            assert torch.equal(value, found.model.state_dict()[key]), key
        ours, theirs = ({**one.entries[1], "seconds": None} for one in (found, expected))
        assert ours == theirs


def test_a_run_that_folds_otherwise_than_its_ledger_records_is_refused(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", recipe="x") as directory:
        run(directory, templates=1, fold=0.5)
    with (
        RunDirectory(tmp_path / "run", recipe="x", resume=True) as directory,
        pytest.raises(RunError, match="fold otherwise, than the ledger of this run records"),
    ):
        run(directory, templates=1)


def test_a_ledger_whose_last_digits_another_machine_computed_is_gone_on_with(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"sharing": partial(SoftSharing, templates=2, recurrence=0.1), "fold": 0.3}
    with RunDirectory(tmp_path / "run", recipe="x") as directory:
        first = run(directory, **settings)
    file = tmp_path / "run" / "ledger.jsonl"
    line = json.loads(file.read_text().splitlines()[1])
    folding = line["folding"]
    assert folding["max_change"] > 0
    folding["max_change"] *= 1 + 1e-9
    folding["absorbed"] = {key: [norm, factor * (1 + 1e-12)] for key, (norm, factor) in folding["absorbed"].items()}
    matrix = line["similarity"]["conv2d-4x4x3x3"]["matrix"]
    matrix[0][1] += 1e-6
    file.write_text(file.read_text().splitlines()[0] + "\n" + json.dumps(line) + "\n")
    with RunDirectory(tmp_path / "run", recipe="x", resume=True) as directory:
        again = run(directory, **settings)
    assert again.edits == first.edits
    assert again.entries[1]["folding"] == folding


@pytest.mark.parametrize("threshold", [0.9, 0.31])
def test_a_ledger_that_was_folded_at_another_threshold_is_refused(tmp_path: Path, threshold: float) -> None:
    with RunDirectory(tmp_path / "run", recipe="x") as directory:
        run(directory, templates=1, fold=0.3)
    with (
        RunDirectory(tmp_path / "run", recipe="x", resume=True) as directory,
        pytest.raises(RunError, match="the threshold or the installed version changed"),
    ):
        run(directory, templates=1, fold=threshold)


def test_rates_to_choose_from_scale_the_curve_and_every_trial_is_charged(tmp_path: Path) -> None:
    compression = SharedTraining(sharing=partial(SoftSharing, templates=2), epochs=2)
    dense = DenseResult(model=network(), schedule=SWEEP, entry={})
    with RunDirectory(tmp_path / "run", recipe="x") as directory:
        best = compress(compression, (0.05, 1e-9), trainer(directory=directory), dense)
    (left,) = best.trials
    assert {left["lr_peak"], best.trained.entries[0]["lr_peak"]} == {0.05, 1e-9}
    assert left["steps"] == 2 * PER_EPOCH


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "positive, finite number of epochs; got 0"),
        ({"fold": 1.5}, r"in \(0, 1\], or None; got 1.5"),
        ({"reestimate_batches": -1}, "must not be negative"),
        ({"sharing": SoftSharing}, "shares nothing by itself"),
        ({"sharing": partial(SoftSharing, templates=2, fold=0.9)}, "fold=0.9 stands in the method"),
        ({"sharing": partial(SoftSharing, templates=2, power=3)}, "power must be 1 or 2"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SharedTraining(**{"sharing": partial(SoftSharing, templates=2), "epochs": 2, **settings})


@pytest.mark.parametrize(
    ("settings", "make", "message"),
    [
        ({"epochs": 0.1}, network, "0.1 epochs are less than one optimizer step; an epoch has 3"),
        ({"sharing": partial(SoftSharing, templates=4)}, network, "no 4 layers of one shape"),
        ({}, shared_network, r"shares templates already, in the groups \['conv2d-4x4x3x3'\]"),
        ({"sharing": partial(SoftSharing, templates=2, groups={"a": ["9"]})}, network, "is called '9'"),
    ],
)
def test_what_the_task_cannot_do_is_refused_before_anything_is_trained(
    settings: dict[str, Any], make: Callable[[], Any], message: str
) -> None:
    own = trainer(make=make)
    compression = SharedTraining(**{"sharing": partial(SoftSharing, templates=2), "epochs": 2, **settings})
    with pytest.raises(InputError, match=message):
        compression.check(own, own.model(), dense=SWEEP)


def test_a_check_leaves_the_model_and_a_comparison_is_refused_with_the_reason() -> None:
    own = trainer()
    model = own.model()
    compression = SharedTraining(sharing=partial(SoftSharing, templates=2), epochs=2)
    compression.check(own, model, dense=SWEEP)
    assert repr(model) == repr(network())
    with pytest.raises(InputError, match="cannot be an arm of a comparison"):
        compression.rehearsal(own)
