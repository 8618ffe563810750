"""A recipe with an arm that cuts, from the command line to the reloaded model."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import Result

from paretorch.artefacts.model import load_model
from paretorch.training.settings import TrainSettings
from paretorch.training.tasks.digits import digits
from paretorch.training.trainer import Trainer
from tests.test_cli import paretorch

TINY = """
name = "tiny"
task = "digits"
seeds = [0, 1]
[train]
batch_size = 100
lr = 0.1
[dense]
epochs = 2
[[arm]]
sparsity = 0.5
epochs = 1
schedule = "LLR"
[[arm]]
method = "cut"
params = [0.5, 0.2]
epochs = 1
schedule = "ALLR"
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The recipe, run once for all tests that only look."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.toml").write_text(TINY)
    result = paretorch("run", "tiny.toml", "--out", "out", cwd=folder)
    assert result.exit_code == 0, result.output
    return folder / "out", result


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((out / "runs").glob("cut-*/record.json"))]


def test_a_run_ends_by_naming_masks_and_cuts(finished: tuple) -> None:
    _, result = finished
    finding, masks, cuts = result.stdout.strip().splitlines()[-3:]
    assert finding.startswith("On digits, ")
    assert masks.startswith("Masked models (1 arm): weights are zero")
    assert cuts.startswith("Cut models (2 arms): tensors are smaller")
    assert "Measured dense time over theirs: " in cuts
    assert "speed-up" not in masks + cuts


def test_every_cut_leaves_a_record_with_its_widths_and_a_size_within_its_budget(finished: tuple) -> None:
    out, _ = finished
    found = records(out)
    assert len(found) == 2 * 2
    for record in found:
        cut = next(line for line in record["phases"] if line.get("kind") == "cut")
        assert record["cost"]["params"] == record["cost"]["nonzeros"] == cut["params"]
        assert cut["params"] <= record["group"]["params"] * cut["params_full"]
        assert record["cost"]["macs_dense"] == cut["macs"] < cut["macs_full"]
        assert [one["full"] for one in cut["widths"]] == [64, 32]
        assert record["cost"]["steps"] == 3 * 11
        assert "group-importance" in record["methods"]


def test_only_the_first_seed_is_timed_beside_the_dense_model(finished: tuple) -> None:
    out, _ = finished
    timed = {record["seed"]: any("speedups" in line for line in record["phases"]) for record in records(out)}
    assert timed == {0: True, 1: False}


def test_the_saved_models_reload_at_their_size_and_reach_the_recorded_quality(finished: tuple) -> None:
    out, _ = finished
    task = digits()
    trainer = Trainer(task, TrainSettings(batch_size=100))
    for path in (out / "runs").glob("cut-*/record.json"):
        record = json.loads(path.read_text())
        model = load_model(path.parent / "model")
        assert sum(parameter.numel() for parameter in model.parameters()) == record["cost"]["params"]
        assert trainer.evaluate(model, task.test_set())["accuracy"] == pytest.approx(record["quality"], abs=1e-9)


def test_the_report_holds_the_profiles(finished: tuple) -> None:
    out, _ = finished
    page = (out / "report.html").read_text()
    assert 'id="plot-widths"' in page
    for record in records(out):
        for one in next(line for line in record["phases"] if line.get("kind") == "cut")["widths"]:
            assert f"<td>{one['full']}</td>" in page
            assert str(one["width"]) in page


def test_resuming_a_finished_sweep_changes_nothing(finished: tuple) -> None:
    out, _ = finished
    before = {path: path.read_bytes() for path in (out / "runs").rglob("*") if path.is_file()}
    result = paretorch("run", "tiny.toml", "--out", "out", "--resume", cwd=out.parent)
    assert result.exit_code == 0, result.output
    assert {path: path.read_bytes() for path in before} == before


def test_the_plan_is_printed_without_training(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    result = paretorch("run", "tiny.toml", "--dry-run", cwd=tmp_path)
    assert "cut ALLR 20 % params 1 epochs: cut to 20 % of the parameters, retrain, 11 steps" in result.stdout
    assert f"in all: {2 * (22 + 11 + 2 * 11)} optimizer steps" in result.stdout


@pytest.mark.slow
def test_a_sweep_killed_while_it_retrains_a_cut_model_and_resumed_has_the_same_weights(
    finished: tuple, tmp_path: Path
) -> None:
    out, _ = finished
    text = TINY.replace("[train]", "[train]\ncheckpoint_seconds = 0")
    (tmp_path / "tiny.toml").write_text(text)
    command = [sys.executable, "-c", "from paretorch.cli import main; main()", "run", "tiny.toml", "--out", "killed"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("killed/runs/cut-*/ledger.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    result = paretorch("run", "tiny.toml", "--out", "killed", "--resume", cwd=tmp_path)
    assert result.exit_code == 0, result.output
    for path in (out / "runs").glob("cut-*/model"):
        # checkpoint_seconds is no part of an arm, so that its folder has the same name
        other = load_model(tmp_path / "killed" / "runs" / path.parent.name / "model").state_dict()
        for name, tensor in load_model(path).state_dict().items():
            assert torch.equal(tensor, other[name]), f"{path.parent.name}: {name}"
