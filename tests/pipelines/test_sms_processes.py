"""Copies in worker processes: bit for bit those of one process, also after a worker or the parent was killed."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from paretorch.artefacts.model import load_model
from paretorch.errors import InputError, NotFiniteError
from paretorch.pipelines.compression import Compressed
from paretorch.pipelines.sms import SMS, RePrune
from paretorch.training.run import RunDirectory
from paretorch.training.seeding import stream_seed
from tests.pipelines.sms_problem import SEED, SOURCE, Small, counted, same, start, trainer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals"),
]


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """Workers have one thread, and bits depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def soup(**settings: Any) -> SMS:
    return SMS(**{"sparsity": 0.7, "epochs": 2, "copies": 3, "guard": False, **settings})


def run(folder: Path, compression: SMS | RePrune, **given: Any) -> Compressed:
    with RunDirectory(folder, recipe="x", resume=True) as directory:
        return compression.run_from(trainer(directory, **given), start())


def test_two_workers_and_one_process_make_the_same_soup_bit_for_bit(tmp_path: Path) -> None:
    for name, compression in (("sms", soup(cycles=2)), ("reprune", RePrune(sparsity=0.7, epochs=2, copies=2))):
        here = run(tmp_path / f"{name}-1", compression)
        there = run(tmp_path / f"{name}-2", compression, workers=2)
        assert same(here.model, there.model)
        assert counted(here.entries) == counted(there.entries)
        assert here.edits[-1].masks == there.edits[-1].masks
        assert [line["workers"] for line in (here.entries[-1], there.entries[-1])] == [1, 2]
        assert all(line["wall_s"] > 0 for line in (here.entries[-1], there.entries[-1]))


def test_a_worker_killed_in_mid_phase_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = soup(cycles=2).run_from(trainer(), start())
    marker = tmp_path / "killed"
    trouble = {"kind": "killed", "step": 7, "num_steps": [12], "marker": str(marker)}
    with caplog.at_level(logging.INFO, logger="paretorch"):
        killed = run(tmp_path / "run", soup(cycles=2), workers=2, often=True, **trouble)
    assert marker.exists()
    assert "its worker died of SIGKILL" in caplog.text
    assert "resumed phase retrain-0 at step 7 of 12" in caplog.text
    assert same(killed.model, whole.model)
    assert counted(killed.entries) == counted(whole.entries)


def test_a_copy_that_diverges_in_a_worker_is_named(tmp_path: Path) -> None:
    seeds = [stream_seed(stream_seed(SEED, "copy", 2), "retrain-0")]
    trouble = {"kind": "infinite", "step": 3, "num_steps": [24], "seeds": seeds}
    with pytest.raises(NotFiniteError, match=r"copy 2 of cycle 0: penalty of 'trouble' = .*at step 3 of phase"):
        run(tmp_path / "run", soup(), workers=2, **trouble)


def test_a_worker_that_cannot_build_the_task_says_so_by_the_copy(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", recipe="x") as directory:
        given = trainer(directory, workers=2)
        object.__setattr__(given.task.source, "reference", "tests.pipelines.sms_problem:gone")
        with pytest.raises(InputError, match=r"copy \d of cycle 0: .*has no function or class 'gone'"):
            soup().run_from(given, start())


RECIPE = f"""
name = "soup"
task = "{SOURCE}"
task_options = {{ slow_s = 0.02 }}
seeds = [0]

[train]
batch_size = 20
device = "cpu"
checkpoint_seconds = 0

[dense]
epochs = 1

[[arm]]
method = "sms"
sparsity = 0.7
epochs = 4
copies = 3
guard = false
"""


def command(recipe: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    words = ["-c", "from paretorch.cli import main; main()", "run", str(recipe), "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, *words, "--workers", "2", *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def finished(out: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    (folder,) = (out / "runs").glob("sms-allr-*")
    record = json.loads((folder / "record.json").read_text())
    return load_model(folder / "model", constructor=Small).state_dict(), record


def test_a_parent_that_is_killed_and_resumed_makes_the_same_soup(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    assert command(tmp_path / "recipe.toml", tmp_path / "whole").wait(300) == 0
    process = command(tmp_path / "recipe.toml", tmp_path / "cut")
    deadline = time.monotonic() + 120
    while not list((tmp_path / "cut").glob("runs/sms-copies-*/copies/*/checkpoints/current.safetensors")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not list((tmp_path / "cut").glob("runs/sms-allr-*/record.json"))
    assert command(tmp_path / "recipe.toml", tmp_path / "cut", "--resume").wait(300) == 0
    (weights, record), (others, other) = finished(tmp_path / "whole"), finished(tmp_path / "cut")
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert record["quality"] == other["quality"]
    phases = [[line for line in one["phases"] if line["phase"] != "measure"] for one in (record, other)]
    assert counted(phases[0]) == counted(phases[1])
