"""The Fashion-MNIST recipe on the real data: exact sparsities, and kill -9 in the middle of a retraining phase."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from paretorch.artefacts.model import load_model

pytestmark = pytest.mark.slow

RECIPE = """
name = "fashion-mnist-short"
task = "fashion-mnist"
seeds = [0]
[task_options]
train_limit = 12800
[train]
batch_size = 128
lr = 0.1
weight_decay = 1e-4
checkpoint_seconds = 0.2
[dense]
epochs = 2
[[arm]]
sparsity = [0.9, 0.98]
epochs = 2
cycles = 2
schedule = "ALLR"
"""
NUM_WEIGHTS = 784 * 300 + 300 * 100 + 100 * 10


def start(folder: Path, data: Path, *options: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "recipe.toml").write_text(RECIPE)
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from paretorch.cli import main; main()",
            "run",
            "recipe.toml",
            "--out",
            "out",
            *options,
        ],
        cwd=folder,
        env=os.environ | {"PARETORCH_DATA": str(data)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = os.environ.get("PARETORCH_DATA")
    if not data or not (Path(data) / "fashion_mnist").is_dir():
        pytest.skip("needs data: PARETORCH_DATA has no folder fashion_mnist")
    folder = tmp_path_factory.mktemp("whole")
    finish(start(folder, Path(data)))
    return folder / "out" / "runs"


def test_sparsities_are_exact_to_the_integer_in_ledger_record_and_reloaded_model(uninterrupted: Path) -> None:
    folders = sorted(uninterrupted.glob("imp-*"))
    assert len(folders) == 2
    for folder in folders:
        record = json.loads((folder / "record.json").read_text())
        target = round(NUM_WEIGHTS * record["group"]["sparsity"])
        ledger = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
        assert [line["pruned"] for line in ledger if line["kind"] == "prune"][-1] == target
        assert [line["zeros"] for line in ledger if line["kind"] == "retrain"][-1] == target
        model = load_model(folder / "model")
        weights = [module.weight for module in model.modules() if isinstance(module, torch.nn.Linear)]
        assert sum(int((weight == 0).sum()) for weight in weights) == target
        assert record["quality"] > 0.75


def test_a_kill_in_the_middle_of_a_retraining_phase_changes_no_bit(uninterrupted: Path, tmp_path: Path) -> None:
    data = Path(os.environ["PARETORCH_DATA"])
    process = start(tmp_path / "killed", data)
    deadline = time.monotonic() + 300
    runs = tmp_path / "killed" / "out" / "runs"
    while not list(runs.glob("imp-*/checkpoints/current.safetensors")):
        assert process.poll() is None, "the run ended before it could be killed in a retraining phase"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(runs.glob("imp-*/checkpoints/current.safetensors")), "it was not in the middle of a phase"
    assert len(list(runs.glob("imp-*/record.json"))) < 2
    finish(start(tmp_path / "killed", data, "--resume"))
    compared = 0
    for path in uninterrupted.glob("*/model/model.safetensors"):
        assert path.read_bytes() == (runs / path.relative_to(uninterrupted)).read_bytes(), path
        compared += 1
    assert compared == 3
