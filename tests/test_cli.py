"""The command line: what it prints, what it writes, and exit codes for everything that can be wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from paretorch.cli import app

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
sparsity = [0.5, 0.9]
epochs = 1
schedule = "LLR"
[[arm]]
sparsity = 0.9
epochs = 1
schedule = "FT"
tune_lr = [0.1, 0.01]
"""
NUM_WEIGHTS = 64 * 64 + 64 * 32 + 32 * 10


def paretorch(*arguments: str, cwd: Path) -> Result:
    """Run the command in this process, in a folder of its own and without a data folder."""
    before = Path.cwd()
    os.chdir(cwd)
    try:
        return CliRunner(env={"PARETORCH_DATA": None}).invoke(app, arguments)
    finally:
        os.chdir(before)


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Run the command in a process that can be killed."""
    return subprocess.Popen(
        [sys.executable, "-c", "from paretorch.cli import main; main()", *arguments],
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def refused(result: Result, *words: str, code: int = 2) -> None:
    """One paragraph on stderr that holds `words`, no other exception than the exit, and the exit code."""
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    message = result.stderr[result.stderr.index("paretorch: ") :].strip()
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A tiny recipe, run once for all tests that only look."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.toml").write_text(TINY)
    result = paretorch("run", "tiny.toml", "--out", "out", cwd=folder)
    assert result.exit_code == 0, result.output
    return folder, result


def test_a_run_ends_with_the_front_the_report_the_finding_and_what_the_zeros_brought(finished: tuple) -> None:
    folder, result = finished
    assert "IMP LLR 90 %" in result.stdout
    assert "Report: out/report.html" in result.stdout
    finding, kinds = result.stdout.strip().splitlines()[-2:]
    assert finding.startswith("On digits,")
    assert kinds.startswith("Masked models (3 arms): weights are zero")
    assert (folder / "out" / "report.html").stat().st_size > 100_000


def test_every_run_leaves_a_record_with_exact_counts(finished: tuple) -> None:
    folder, _ = finished
    records = [json.loads(path.read_text()) for path in sorted((folder / "out" / "runs").glob("*/record.json"))]
    assert len(records) == 2 * (1 + 3)
    for record in records:
        if record["group"]["method"] == "dense":
            continue
        prune = next(line for line in record["phases"] if line.get("kind") == "prune")
        assert prune["pruned"] == round(NUM_WEIGHTS * record["group"]["sparsity"])
        assert record["cost"]["nonzeros"] <= record["cost"]["params"] - prune["pruned"]


def test_tuning_trials_are_charged_to_the_arm(finished: tuple) -> None:
    folder, _ = finished
    records = [json.loads(path.read_text()) for path in (folder / "out" / "runs").glob("*/record.json")]
    samples = {
        (record["arm"].split()[1], record["seed"]): record["cost"]["samples"]
        for record in records
        if " " in record["arm"]
    }
    per_epoch = 11 * 100
    assert samples["LLR", 0] == (2 + 1) * per_epoch
    assert samples["FT", 0] == (2 + 2 * 1) * per_epoch


def test_the_saved_models_reload_with_their_zeros(finished: tuple) -> None:
    from paretorch.artefacts.model import load_model

    folder, _ = finished
    for record in (folder / "out" / "runs").glob("imp-*/record.json"):
        model = load_model(record.parent / "model")
        zeros = sum(int((layer.weight == 0).sum()) for layer in model if hasattr(layer, "weight"))
        assert zeros == round(NUM_WEIGHTS * json.loads(record.read_text())["group"]["sparsity"])


def test_running_again_without_resume_is_refused_and_with_it_changes_nothing(finished: tuple) -> None:
    folder, first = finished
    before = {path: path.read_bytes() for path in (folder / "out").rglob("record.json")}
    refused(paretorch("run", "tiny.toml", "--out", "out", cwd=folder), "--resume")
    again = paretorch("run", "tiny.toml", "--out", "out", "--resume", cwd=folder)
    assert again.exit_code == 0, again.output
    assert again.stdout == first.stdout
    assert {path: path.read_bytes() for path in (folder / "out").rglob("record.json")} == before


def test_a_changed_recipe_is_not_resumed(finished: tuple) -> None:
    folder, _ = finished
    (folder / "changed.toml").write_text(TINY.replace("epochs = 2", "epochs = 3"))
    refused(paretorch("run", "changed.toml", "--out", "out", "--resume", cwd=folder), "another recipe")


def test_a_report_of_chosen_runs_can_be_written_later(finished: tuple) -> None:
    folder, _ = finished
    result = paretorch("report", "out", "-o", "again.html", cwd=folder)
    assert result.exit_code == 0, result.output
    assert (folder / "again.html").exists()
    refused(paretorch("report", str(folder / "tiny.toml"), cwd=folder))
    refused(paretorch("report", "nowhere", cwd=folder), "nowhere")


def test_runs_of_two_tasks_stand_side_by_side_in_one_report(finished: tuple, tmp_path: Path) -> None:
    folder, _ = finished
    text = TINY.replace('"digits"', '"regression"').replace("seeds = [0, 1]", "seeds = [0]").split("[[arm]]")[0]
    (tmp_path / "other.toml").write_text(text)
    assert paretorch("run", "other.toml", "--out", "out", cwd=tmp_path).exit_code == 0
    result = paretorch("report", str(folder / "out"), "out", cwd=tmp_path)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "digits" in page
    assert "regression" in page
    refused(paretorch("report", "out", "out/runs/dense-s0", str(folder / "nowhere"), cwd=tmp_path), "nowhere")


def test_one_run_gets_a_page_of_its_own(finished: tuple, tmp_path: Path) -> None:
    folder, _ = finished
    result = paretorch("report", str(folder / "out" / "runs" / "dense-s0"), cwd=tmp_path)
    assert result.exit_code == 0, result.output
    assert "dense-s0" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("seeds = [0, 1]", "seeds = [1, 1]"), ["seeds = [1, 1]"]),
        (("epochs = 2", "epochs = 0.001"), ["0.001 epochs", "less than one optimizer step"]),
        (("[dense]", 'device = "cuda:1"\n[dense]'), ["cuda:1", "CUDA_VISIBLE_DEVICES=1"]),
    ],
)
def test_a_recipe_that_cannot_be_run_is_refused_before_work(
    tmp_path: Path, change: tuple[str, str], words: list[str]
) -> None:
    (tmp_path / "tiny.toml").write_text(TINY.replace(*change))
    refused(paretorch("run", "tiny.toml", "--out", "out", cwd=tmp_path), *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("moment", [1.5, 3.0])
def test_a_sweep_killed_at_any_moment_and_resumed_has_the_same_weights(
    finished: tuple, tmp_path: Path, moment: float
) -> None:
    folder, _ = finished
    (tmp_path / "tiny.toml").write_text(TINY)
    process = start("run", "tiny.toml", "--out", "out", cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("runs/*/checkpoints")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(moment / 10)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resumed = paretorch("run", "tiny.toml", "--out", "out", "--resume", cwd=tmp_path)
    assert resumed.exit_code == 0, resumed.output
    for path in (folder / "out").rglob("model.safetensors"):
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes()


def test_a_second_process_in_the_same_folder_is_refused(finished: tuple) -> None:
    from filelock import FileLock

    folder, _ = finished
    with FileLock(folder / "out" / "lock"):
        refused(paretorch("run", "tiny.toml", "--out", "out", "--resume", cwd=folder), "another process")


def test_an_interrupted_run_exits_130_with_its_state_saved(tmp_path: Path) -> None:
    text = TINY.replace("epochs = 2", "epochs = 20000").replace("lr = 0.1", "lr = 0.1\ncheckpoint_seconds = 1", 1)
    (tmp_path / "long.toml").write_text(text)
    process = start("run", "long.toml", "--out", "out", cwd=tmp_path)
    current = tmp_path / "out" / "runs" / "dense-s0" / "checkpoints" / "current.safetensors"
    deadline = time.monotonic() + 120
    while not current.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    before = current.read_bytes()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in errors
    assert "Traceback" not in errors
    assert current.read_bytes() != before


def test_the_plan_is_printed_without_training(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    result = paretorch("run", "tiny.toml", "--dry-run", cwd=tmp_path)
    assert result.exit_code == 0, result.output
    assert "2 seeds x (1 dense model + 3 arms)" in result.stdout
    assert "in all: 132 optimizer steps" in result.stdout  # 2 x (22 + 11 + 11 + 2 x 11)
    assert list(tmp_path.iterdir()) == [tmp_path / "tiny.toml"]


TASK = """
import torch
from paretorch import SupervisedTask

class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(4, 2)

def make(size: int = 60):
    x = torch.randn(size, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    return SupervisedTask(Net, train=(x, y), test=(x, y), name="mine")

def broken():
    return 3

def exploding():
    x = torch.full((60, 4), float("nan"))
    y = torch.zeros(60, dtype=torch.long)
    return SupervisedTask(Net, train=(x, y), test=(x, y))

def unprunable():
    x = torch.randn(60, 4)
    y = torch.zeros(60, dtype=torch.long)
    return SupervisedTask(lambda: torch.nn.BatchNorm1d(4), train=(x, y), test=(x, y))
"""


def test_a_run_is_not_resumed_with_a_task_file_that_was_changed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TASK)
    text = TINY.replace("batch_size = 100", "batch_size = 10").replace("seeds = [0, 1]", "seeds = [0]")
    (tmp_path / "tiny.toml").write_text(text)
    arguments = ("run", "tiny.toml", "--task", "mine.py:make", "--out", "out")
    assert paretorch(*arguments, cwd=tmp_path).exit_code == 0
    assert paretorch(*arguments, "--resume", cwd=tmp_path).exit_code == 0
    (tmp_path / "mine.py").write_text(TASK.replace("size: int = 60", "size: int = 80"))
    refused(paretorch(*arguments, "--resume", cwd=tmp_path), "another recipe")


def test_a_users_own_task_file_runs_under_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TASK)
    (tmp_path / "tiny.toml").write_text(TINY.replace("batch_size = 100", "batch_size = 10"))
    result = paretorch("run", "tiny.toml", "--task", "mine.py:make", "--out", "out", cwd=tmp_path)
    assert result.exit_code == 0, result.output
    record = json.loads(next((tmp_path / "out" / "runs").glob("imp-*/record.json")).read_text())
    assert record["workload"] == "mine"


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("mine.py:missing", ["has no function or class 'missing'"]),
        ("absent.py:make", ["no task file"]),
        ("mine.py:broken", ["int", "paretorch.Task"]),
        ("syntax.py:make", ["does not import", "SyntaxError"]),
        ("digit", ["did you mean 'digits'"]),
        ("fashion-mnist", ["data folder", "--data"]),
    ],
)
def test_a_task_that_cannot_be_made_is_refused_before_work(tmp_path: Path, task: str, words: list[str]) -> None:
    (tmp_path / "mine.py").write_text(TASK)
    (tmp_path / "syntax.py").write_text("def make(:\n")
    (tmp_path / "tiny.toml").write_text(TINY)
    refused(paretorch("run", "tiny.toml", "--task", task, "--out", "out", cwd=tmp_path), *words)
    assert not (tmp_path / "out").exists()


def test_a_missing_data_folder_is_refused_with_the_remedy(tmp_path: Path) -> None:
    result = paretorch("run", "fashion-mnist", "--data", "nowhere", "--out", "out", cwd=tmp_path)
    refused(result, "nowhere/fashion_mnist", "download")


def test_a_loss_that_is_not_finite_ends_the_run_with_exit_1_and_its_state(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TASK)
    (tmp_path / "tiny.toml").write_text(TINY.replace("batch_size = 100", "batch_size = 10"))
    result = paretorch("run", "tiny.toml", "--task", "mine.py:exploding", "--out", "out", cwd=tmp_path)
    refused(result, "nan", "step 0", "'dense'", code=1)
    assert (tmp_path / "out" / "runs" / "dense-s0" / "checkpoints" / "current.safetensors").exists()


def test_a_model_without_prunable_layers_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TASK)
    (tmp_path / "tiny.toml").write_text(TINY.replace("batch_size = 100", "batch_size = 10"))
    result = paretorch("run", "tiny.toml", "--task", "mine.py:unprunable", "--out", "out", cwd=tmp_path)
    refused(result, "BatchNorm1d", "arm 'IMP LLR 50 % 1 epochs'")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('schedule = "FT"\ntune_lr = [0.1, 0.01]', 'schedule = "FT"'), ["FT", "near zero", "linear"]),
        (('schedule = "LLR"', 'schedule = "LRW"\ncycles = 1\nexclude = ["nothing*"]'), ["nothing*"]),
        (("epochs = 1\nschedule", "epochs = 5\nschedule"), ["LRW"]),
    ],
)
def test_an_arm_that_cannot_work_is_refused_before_anything_is_trained(
    tmp_path: Path, change: tuple[str, str], words: list[str]
) -> None:
    text = TINY.replace("[dense]", '[dense]\nschedule = "linear"')
    if "LRW" in words:
        text = text.replace('schedule = "LLR"', 'schedule = "LRW"')
    (tmp_path / "tiny.toml").write_text(text.replace(*change))
    result = paretorch("run", "tiny.toml", "--out", "out", cwd=tmp_path)
    refused(result, *[word for word in words if word != "linear"])
    assert not (tmp_path / "out").exists()


def test_a_corrupt_checkpoint_is_refused_by_name(finished: tuple, tmp_path: Path) -> None:
    import shutil

    folder, _ = finished
    shutil.copytree(folder, tmp_path / "copy")
    run = next((tmp_path / "copy" / "out" / "runs").glob("dense-s0"))
    path = run / "checkpoints" / "dense.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    result = paretorch("run", "tiny.toml", "--out", "out", "--resume", cwd=tmp_path / "copy")
    refused(result, "dense.safetensors")


def test_a_full_disk_ends_the_run_with_exit_1_and_keeps_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));"
        "from paretorch.cli import main; sys.argv = ['paretorch', 'run', 'tiny.toml', '--out', 'out']; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", limited], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "dense.safetensors" in result.stderr
    assert (tmp_path / "out" / "recipe.toml").read_text().startswith(TINY)
    resumed = paretorch("run", "tiny.toml", "--out", "out", "--resume", cwd=tmp_path)
    assert resumed.exit_code == 0, resumed.output


def test_a_search_takes_no_workers(tmp_path: Path) -> None:
    refused(paretorch("run", "digits", "--search", "--workers", "2", cwd=tmp_path), "--workers")
