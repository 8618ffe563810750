"""The run directory: one process, one recipe, nothing half written, nothing foreign touched."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from paretorch.errors import ArtefactError, InputError, RunError
from paretorch.training.run import RunDirectory

ROOT = Path(__file__).parents[2]


def python(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_second_process_is_refused_and_the_lock_dies_with_its_owner(tmp_path: Path) -> None:
    code = """
        import os, signal, sys
        from paretorch.training.run import RunDirectory
        held = RunDirectory(sys.argv[1], recipe="r")
        print("locked", flush=True)
        sys.stdin.readline()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "run")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "locked\n"
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match=r"another process is working in .*run; wait for it"):
        RunDirectory(tmp_path / "run", recipe="r", resume=True)
    assert snapshot(tmp_path) == before
    owner.communicate("\n", timeout=60)
    with RunDirectory(tmp_path / "run", recipe="r", resume=True):
        pass


def test_lock_is_released_on_leaving_and_after_a_refusal(tmp_path: Path) -> None:
    with RunDirectory(tmp_path, recipe="r"), pytest.raises(InputError, match="another process"):
        RunDirectory(tmp_path, recipe="r", resume=True)
    with pytest.raises(InputError, match="another recipe"):
        RunDirectory(tmp_path, recipe="other", resume=True)
    with RunDirectory(tmp_path, recipe="r", resume=True):
        pass


def test_existing_run_needs_resume(tmp_path: Path) -> None:
    RunDirectory(tmp_path / "run", recipe="r").close()
    with pytest.raises(InputError, match="already holds a run; pass --resume"):
        RunDirectory(tmp_path / "run", recipe="r")


def test_run_that_appears_between_the_look_and_the_lock_needs_resume_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may make and leave the directory after this one found it empty."""
    look, looks = RunDirectory._check_contents, []

    def look_and_be_overtaken(self: RunDirectory, recipe: str, resume: bool) -> None:
        look(self, recipe, resume)
        looks.append(recipe)
        if len(looks) == 1:
            RunDirectory(tmp_path / "run", recipe="theirs").close()

    monkeypatch.setattr(RunDirectory, "_check_contents", look_and_be_overtaken)
    with pytest.raises(InputError, match="already holds a run"):
        RunDirectory(tmp_path / "run", recipe="ours")
    assert (tmp_path / "run" / "recipe.toml").read_text() == "theirs"


@pytest.mark.parametrize("recipe", ["a = 1\n", "a = 1\r\nb = 2\r\n", 'name = "Größe ∈ M"\n', ""])
def test_same_recipe_may_resume_whatever_its_line_ends_and_letters(tmp_path: Path, recipe: str) -> None:
    RunDirectory(tmp_path / "run", recipe=recipe).close()
    RunDirectory(tmp_path / "run", recipe=recipe, resume=True).close()
    with pytest.raises(InputError, match=r"the run of another recipe; compare it with .*recipe.toml"):
        RunDirectory(tmp_path / "run", recipe=recipe + "c = 3", resume=True)


def test_recipe_resumes_under_another_locale(tmp_path: Path) -> None:
    RunDirectory(tmp_path / "run", recipe="größer").close()
    done = python(
        "import sys; from paretorch.training.run import RunDirectory;"
        "RunDirectory(sys.argv[1], recipe='gr\\xf6\\xdfer', resume=True)",
        tmp_path / "run",
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("resume", [False, True])
def test_foreign_folder_is_refused_and_not_touched(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match=r"is no run directory: it holds \['thesis'\]"):
        RunDirectory(tmp_path, recipe="r", resume=resume)
    assert snapshot(tmp_path) == before


def test_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    with pytest.raises(InputError, match="run is a file; a run needs a directory"):
        RunDirectory(tmp_path / "run", recipe="r")
    with pytest.raises(InputError, match="cannot create the run directory"):
        RunDirectory(tmp_path / "run" / "below", recipe="r")


def test_directory_whose_lock_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run" / "lock").mkdir(parents=True)  # a folder of somebody else's gives the same kind of error
    with pytest.raises(InputError, match="cannot lock the run directory"):
        RunDirectory(tmp_path / "run", recipe="a")


def test_directory_left_by_a_kill_before_its_recipe_was_written_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "lock").touch()
    (tmp_path / ".recipe.toml.0a1b2c3d.partial").write_text("hal")
    (tmp_path / "checkpoints" / ".current.safetensors.0a1b2c3d.partial").write_text("hal")
    with RunDirectory(tmp_path, recipe="r"):
        assert not list(tmp_path.rglob("*.partial"))


def test_ledger_keeps_entries_in_order_and_numbers_exact(tmp_path: Path) -> None:
    entries = [{"phase": "dense", "loss": 0.1 + 0.2, "steps": 3}, {"phase": "prune-1", "curve": [{"lr": 1e-300}]}]
    with RunDirectory(tmp_path, recipe="r") as directory:
        assert directory.ledger() == []
        for entry in entries:
            directory.append(entry)
        assert directory.ledger() == entries
        assert directory.finished("prune-1") == entries[1]
        assert directory.finished("retrain-1") is None
        with pytest.raises(RunError, match="phase 'dense' is already in"):
            directory.append({"phase": "dense"})
    assert [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()] == entries


@pytest.mark.parametrize(
    "content", [b'{"phase": "dense"}\n{"phase": "pru', b"\xff\xfe", b"5\n", b'{"steps": 3}\n', b'[["phase", 1]]\n']
)
def test_damaged_ledger_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    with RunDirectory(tmp_path, recipe="r") as directory:
        (tmp_path / "ledger.jsonl").write_bytes(content)
        with pytest.raises(ArtefactError, match=r"ledger\.jsonl is damaged"):
            directory.ledger()


def test_ledger_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with RunDirectory(tmp_path, recipe="r") as directory:
        directory.append({"phase": "dense"})
        monkeypatch.setattr(os, "replace", die)
        with pytest.raises(Killed):
            directory.append({"phase": "prune"})
        monkeypatch.undo()
        assert directory.ledger() == [{"phase": "dense"}]


def test_checkpoints_come_back_and_go(tmp_path: Path) -> None:
    with RunDirectory(tmp_path, recipe="r") as directory:
        assert directory.load("current") is None
        directory.save("current", {"step": 3, "weights": {0: torch.arange(3.0)}})
        loaded = directory.load("current")
        assert loaded["step"] == 3
        assert torch.equal(loaded["weights"][0], torch.arange(3.0))
        directory.remove("current")
        directory.remove("current")
        assert directory.load("current") is None


FULL_DISK = """
    import json, resource, sys
    from paretorch.errors import RunError
    from paretorch.training.run import RunDirectory
    from paretorch.training.trainer import Trainer
    from tests.training.problems import normed_task, plain

    def limit(size):  # no file may grow beyond it, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def train(folder, full_at=None):
        def schedule(step):
            if step == full_at:
                limit(3000)
            return 0.1

        with RunDirectory(folder, recipe="r", resume=True) as directory:
            settings = plain(16, momentum=0.9, checkpoint_seconds=0)
            trainer = Trainer(normed_task(), settings, seed=1, directory=directory)
            model = trainer.model()
            try:
                trainer.fit(model, phase="dense", num_steps=6, schedule=schedule)
            except RunError as error:
                report["checkpoint"] = str(error)
                try:
                    directory.append({"phase": "dense", "text": "x" * 5000})
                except RunError as error:
                    report["ledger"] = str(error)
                limit(resource.RLIM_INFINITY)
                report["left"] = [path.name for path in directory.path.rglob("*.partial")]
                report["entries"] = directory.ledger()
                report["step"] = directory.load("current")["progress"]["step"]
            return [p.tolist() for p in model.parameters()]

    report = {}
    train(sys.argv[1], full_at=3)
    report["same"] = train(sys.argv[1]) == train(sys.argv[2])
    print(json.dumps(report))
"""


def test_full_disk_is_reported_and_the_earlier_checkpoint_and_ledger_stay_usable(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    with RunDirectory(tmp_path / "run", recipe="r") as directory:
        directory.append({"phase": "earlier"})
    done = python(FULL_DISK, tmp_path / "run", tmp_path / "other")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    for name, file in (("checkpoint", "current.safetensors"), ("ledger", "ledger.jsonl")):
        assert f"cannot write {tmp_path}" in report[name]
        assert file in report[name]
        assert "The earlier file is intact." in report[name]
    assert report["left"] == []
    assert report["entries"] == [{"phase": "earlier"}]
    assert report["step"] == 3
    assert report["same"], "resumed from the checkpoint before the disk was full, the weights differ"


def test_other_processes_of_a_distributed_run_read_and_never_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunDirectory(tmp_path / "run", recipe="r") as first:
        first.save("current", {"step": 1})
        first.append({"phase": "dense"})
        before = snapshot(tmp_path)
        monkeypatch.setenv("RANK", "1")
        with RunDirectory(tmp_path / "run", recipe="r", resume=False) as second:
            assert second.load("current") == {"step": 1}
            assert second.finished("dense") is not None
            second.save("current", {"step": 2})
            second.append({"phase": "prune"})
            second.remove("current")
        RunDirectory(tmp_path / "never", recipe="r").close()
    assert snapshot(tmp_path) == before
