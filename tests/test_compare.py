"""`paretorch compare`: refusals, verdicts, and comparisons that are stopped, killed and resumed in real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from paretorch import compare as comparing
from paretorch.cli import app
from paretorch.compare import Compared, compare, judge
from paretorch.errors import InputError, ParetorchError, RunError
from paretorch.pipelines import comparison as comparisons
from paretorch.recipes import CompareTable, load_recipe
from paretorch.training.executor import Job, Outcome
from paretorch.training.worker import find_function
from tests.evidence.families import family

RECIPE = """
name = "small"
task = "digits"
seeds = [0]
[task_options]
hidden = [8]
[train]
batch_size = 20
lr = 0.1
checkpoint_seconds = 0.1
[dense]
epochs = 1
[compare]
candidate = "LLR"
baseline = "FT"
durations = [0.5, 4]
smaller = { hidden = [4] }
[[arm]]
name = "LLR"
sparsity = 0.9
schedule = "LLR"
[[arm]]
name = "FT"
sparsity = 0.9
schedule = "FT"
tune_lr = [0.01, 0.03]
"""
SWEEP = RECIPE.partition("[compare]")[0] + "[[arm]]\nsparsity = 0.9\nepochs = 1\n"
RUNS = [f"{name}-{d}ep-s0" for d in ("0.5", "4") for name in ("llr", "ft", "smaller-model", "llr-random-weights")]


def paretorch(*arguments: str, cwd: Path) -> Result:
    """Run the command in this process, in a folder of its own and without a data folder."""
    before = Path.cwd()
    os.chdir(cwd)
    try:
        return CliRunner(env={"PARETORCH_DATA": None}).invoke(app, arguments)
    finally:
        os.chdir(before)


def refused(result: Result, *words: str, code: int = 2) -> None:
    """One paragraph on stderr that holds `words`, no other exception than the exit, and the exit code."""
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    message = result.stderr[result.stderr.index("paretorch: ") :].strip()
    assert "\n" not in message
    for word in words:
        assert word in message


class Inline:
    """`LocalProcesses` in this process: what is submitted is run when it is collected."""

    submitted: list[Job]
    broken: dict[str, Exception]

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise InputError(f"workers must be at least 1; got {workers}")
        self.waiting: list[Job] = []

    def __enter__(self) -> "Inline":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, job: Job) -> None:
        self.submitted.append(job)
        self.waiting.append(job)

    def collect(self) -> Iterator[Outcome]:
        while self.waiting:
            job, error = self.waiting.pop(0), None
            try:
                if job.id in self.broken:
                    raise self.broken[job.id]
                find_function(job.function)(**json.loads(json.dumps(job.arguments)))
            except ParetorchError as raised:
                error = raised
            name = None if error is None else type(error).__name__
            yield Outcome(job=job, error=error and str(error), error_class=name, attempts=1, seconds=0.0)


def fake_times(recipes: Any, *, seeds: Any) -> dict[str, dict[str, list[float]]]:
    return {name: {str(seed): [0.01 * n] for seed in seeds} for n, name in enumerate(recipes, start=1)}


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> type[Inline]:
    """Comparisons without processes, and without really timing steps."""
    monkeypatch.setattr(comparing, "LocalProcesses", Inline)
    monkeypatch.setattr(comparisons, "time_in_turns", fake_times)
    comparing._comparison.cache_clear()
    Inline.submitted, Inline.broken = [], {}
    return Inline


def written(folder: Path, text: str = RECIPE, name: str = "small.toml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def tiny(text: str = RECIPE) -> str:
    """Eight runs in less than three seconds."""
    return text.replace("batch_size = 20", "batch_size = 100").replace("[0.5, 4]", "[0.5, 1]")


# What it does, in order.


def test_steps_are_timed_alone_first_then_dense_models_and_then_everything_else(
    inline: type[Inline], tmp_path: Path
) -> None:
    compared = compare(written(tmp_path, tiny()), tmp_path / "out", workers=1, command="typed")
    jobs = [job.id for job in inline.submitted]
    assert jobs[:2] == ["timing", "dense-s0"]
    assert sorted(jobs[2:]) == sorted(run.replace("4ep", "1ep") for run in RUNS)
    assert set(compared.families) == {"LLR", "FT", "smaller model", "LLR, random weights"}
    assert compared.speedup.candidate.label == "LLR"
    assert compared.speedup.baseline.label == "FT"
    assert compared.speedup.scope == "after_dense"
    assert set(compared.controls) == {"control:smaller", "control:random"}
    assert {run.command for run in compared.families["FT"].runs} == {"typed"}
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("record.json")}
    again = compare(written(tmp_path, tiny()), tmp_path / "out", resume=True, command="typed")
    assert again.verdict == compared.verdict
    assert {path: path.read_bytes() for path in before} == before


def test_runs_that_fail_are_named_at_the_end_and_the_others_are_complete(inline: type[Inline], tmp_path: Path) -> None:
    inline.broken = {"ft-0.5ep-s0": RunError("the disk is full")}
    with pytest.raises(
        RunError, match=r"1 of 8 runs failed and the others are complete; --resume .*ft-0.5ep-s0: the disk"
    ):
        compare(written(tmp_path, tiny()), tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("record.json"))) == 7
    inline.broken = {}
    assert compare(written(tmp_path, tiny()), tmp_path / "out", resume=True).families["FT"].durations == (0.5, 1.0)


def test_bad_input_ends_a_comparison_at_once(inline: type[Inline], tmp_path: Path) -> None:
    inline.broken = {"llr-0.5ep-s0": InputError("no such thing")}
    with pytest.raises(InputError, match=r"^llr-0.5ep-s0: no such thing$"):
        compare(written(tmp_path, tiny()), tmp_path / "out")
    assert not list((tmp_path / "out").rglob("record.json"))


def test_a_recipe_that_is_changed_while_it_runs_is_noticed(inline: type[Inline], tmp_path: Path) -> None:
    """Workers read it again, and half of the runs would be another comparison."""
    path = written(tmp_path, tiny())

    class Changed(Inline):
        def submit(self, job: Job) -> None:
            (tmp_path / "small.toml").write_text(tiny().replace("lr = 0.1", "lr = 0.2"))
            super().submit(job)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(comparing, "LocalProcesses", Changed)
        with pytest.raises(InputError, match=r"timing: recipe .*small.toml or its task was changed while .*--resume"):
            compare(path, tmp_path / "out")


def test_damaged_times_are_named_with_the_remedy(inline: type[Inline], tmp_path: Path) -> None:
    path = written(tmp_path, tiny())
    compare(path, tmp_path / "out")
    (tmp_path / "out" / "timing.json").write_text("{")
    (tmp_path / "out" / "runs" / "ft-1ep-s0" / "record.json").unlink()
    with pytest.raises(ParetorchError, match=r"timing\.json is damaged .*; remove it, and the steps are timed again"):
        compare(path, tmp_path / "out", resume=True)
    (tmp_path / "out" / "timing.json").unlink()
    compare(path, tmp_path / "out", resume=True)


def test_the_command_prints_the_verdict_the_refusals_and_where_the_report_is(
    inline: type[Inline], tmp_path: Path
) -> None:
    written(tmp_path, tiny())
    result = paretorch("compare", "small.toml", "--out", "out", "--workers", "1", cwd=tmp_path)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("No evidence: the curves hold 2 durations")
    assert lines[1].startswith("Why: ")
    assert "Controls: smaller" in lines[2]
    assert any(line.startswith("There is 1 paired seed; run at least 5") for line in lines[3:])
    assert lines[-1] == "Report: out/report.html"
    assert "LLR" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    refused(paretorch("compare", "small.toml", "--out", "out", cwd=tmp_path), "already holds a run", "--resume")
    written(tmp_path, tiny().replace("lr = 0.1", "lr = 0.2"), "other.toml")
    refused(paretorch("compare", "other.toml", "--out", "out", "--resume", cwd=tmp_path), "another recipe")
    written(tmp_path, SWEEP, "sweep.toml")
    refused(paretorch("run", "sweep.toml", "--out", "out", "--resume", cwd=tmp_path), "another recipe")


# Refusals before any work.


@pytest.mark.parametrize(
    ("old", "new", "arguments", "words"),
    [
        ('candidate = "LLR"', 'candidate = "LRR"', [], ["candidate = 'LRR'", "did you mean 'LLR'?"]),
        ('baseline = "FT"', 'baseline = "LLR"', [], ["candidate and baseline are both 'LLR'"]),
        ("durations = [0.5, 4]", "durations = [4, 0.5]", [], ["must rise"]),
        ("smaller = { hidden = [4] }\n", "", [], ["smaller", "left_out"]),
        ("smaller = ", "smaler = ", [], ["'compare.smaler'", "did you mean 'smaller'?"]),
        ('sparsity = 0.9\nschedule = "LLR"', "sparsity = 0.9\nepochs = 3", [], ["epochs is not given here"]),
        ("", "", ["--workers", "0"], ["workers", "at least 1", "got 0"]),
        ("", "", ["--workers", "-2"], ["workers", "at least 1", "got -2"]),
        ("", "", ["--quiet", "--verbose"], ["--quiet and --verbose"]),
        ('task = "digits"', 'task = "digit"', [], ["did you mean 'digits'"]),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_work(
    tmp_path: Path, old: str, new: str, arguments: list[str], words: list[str]
) -> None:
    written(tmp_path, RECIPE.replace(old, new))
    refused(paretorch("compare", "small.toml", "--out", "out", *arguments, cwd=tmp_path), *words)
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


def test_each_command_refuses_the_recipes_of_the_other(tmp_path: Path) -> None:
    written(tmp_path)
    written(tmp_path, SWEEP, "sweep.toml")
    refused(paretorch("run", "small.toml", "--out", "out", cwd=tmp_path), "'small'", "`paretorch compare`")
    refused(paretorch("compare", "sweep.toml", "--out", "out", cwd=tmp_path), "'small'", "[compare]", "`paretorch run`")
    refused(paretorch("compare", "small", "--out", "out", cwd=tmp_path), "no recipe 'small'", "compare-digits")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.toml", "sweep.toml"]


def test_the_plan_is_printed_without_training(tmp_path: Path) -> None:
    written(tmp_path, tiny())
    result = paretorch("compare", "small.toml", "--dry-run", cwd=tmp_path)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == "1 seeds, 9 runs, task digits"
    # dense 11; LLR and its random version 6 + 11 each; FT twice that; the smaller model 16 + 22
    assert "in all: 117 optimizer steps" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


# Verdicts.

TABLE: dict[str, Any] = {
    "candidate": "ALLR",
    "baseline": "FT",
    "durations": [1.0, 2.0, 4.0, 8.0, 16.0],
    "left_out": {"smaller": "there is none", "random": "it is hopeless"},
}


def fast(**changes: Any) -> list[Any]:
    return family("ALLR", role="candidate", gain=1.6, step_s=0.0125, **changes)


def slow(**changes: Any) -> list[Any]:
    return family("FT", role="baseline", **changes)


def judged(records: list[Any], **changes: Any) -> Compared:
    return judge(records, CompareTable(**{**TABLE, **changes}))


def test_a_difference_that_is_there_is_claimed() -> None:
    """So that the refusals below are not vacuous: less time by 1.6 * 0.01 / 0.0125."""
    found = judged([*fast(), *slow()])
    assert found.verdict.claimed, found.verdict
    assert found.speedup.average is not None
    assert found.speedup.average.mean == pytest.approx(1.28, rel=0.05)
    assert not found.verdict.refusals


def test_a_screening_never_claims() -> None:
    found = judged([*fast(), *slow()], mode="screening")
    assert not found.verdict.claimed
    assert any("points of a screening" in refusal for refusal in found.verdict.refusals)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_fewer_than_five_seeds_are_refused(number: int) -> None:
    seeds = tuple(range(number))
    found = judged([*fast(seeds=seeds), *slow(seeds=seeds)])
    assert not found.verdict.claimed
    assert any(f"{number} paired seed" in refusal for refusal in found.verdict.refusals)


def test_seeds_that_one_arm_lacks_do_not_count() -> None:
    found = judged([*fast(), *slow(seeds=(0, 1, 2, 7, 8))])
    assert found.speedup.seeds == (0, 1, 2)
    assert not found.verdict.claimed


def test_controls_that_were_left_out_are_said_with_their_reasons() -> None:
    found = judged([*fast(), *slow()])
    assert found.controls == {"control:smaller": None, "control:random": None}
    assert "smaller left out, random left out" in found.verdict.lines[2]
    assert "The control smaller was left out: there is none" in found.verdict.warnings
    assert "The control random was left out: it is hopeless" in found.verdict.warnings


def test_a_control_that_is_missing_without_a_reason_is_refused() -> None:
    found = judged([*fast(), *slow()], left_out={"random": "it is hopeless"})
    assert not found.verdict.claimed
    assert any("control smaller is missing" in refusal for refusal in found.verdict.refusals)


def test_a_candidate_that_does_not_prune_needs_no_random_control() -> None:
    smaller = family("smaller model", role="control:smaller", ceiling=0.9)
    found = judged([*fast(), *slow(), *smaller], left_out={})
    assert found.verdict.claimed, found.verdict
    assert found.controls["control:random"] is None
    assert found.controls["control:smaller"] is not None
    assert "smaller beaten" in found.verdict.lines[2]


def test_a_control_that_is_as_good_is_said() -> None:
    twin = family("smaller model", role="control:smaller", gain=1.6, step_s=0.0125)
    found = judged([*fast(), *slow(), *twin], left_out={})
    assert any("ALLR does not beat smaller" in warning for warning in found.verdict.warnings)


def pruned(records: list[Any]) -> list[Any]:
    """The same runs behind a shared dense model, which took 1000 s."""
    for record in records:
        dense = {"phase": "dense", "kind": "dense", "steps": 100, "epochs": 1.0, "seconds": 9.0, "step_s": 10.0}
        record.phases[:0] = [dense, {"phase": "prune-0", "kind": "prune", "seconds": 0.0}]
    return records


def test_the_dense_model_that_both_start_from_is_not_part_of_the_ratio_and_for_others_it_is() -> None:
    smaller = family("smaller model", role="control:smaller", step_s=10.0)
    found = judged([*pruned(fast()), *pruned(slow()), *smaller], left_out={"random": "it is hopeless"})
    assert found.speedup.scope == "after_dense"
    assert found.speedup.average is not None
    assert found.speedup.average.mean == pytest.approx(1.28, rel=0.05)
    control = found.controls["control:smaller"]
    assert control is not None
    assert control.scope == "total"
    mixed = judged([*pruned(fast()), *slow()])
    assert mixed.speedup.scope == "total"


def test_qualities_and_axis_of_the_table_are_those_that_are_read() -> None:
    found = judged([*fast(), *slow()], qualities=[0.9, 0.95], axis="steps")
    assert [at.quality for at in found.speedup.at] == [0.9, 0.95]
    assert found.speedup.axis == "steps"
    assert found.speedup.average is not None
    assert found.speedup.average.mean == pytest.approx(1.6, rel=0.05)


# One layer made faster is not the whole made faster.

SLEEPING = """
import time
import torch
from torch import nn
from paretorch import SupervisedTask


class Sleep(nn.Module):
    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def forward(self, inputs):
        time.sleep(self.seconds)
        return inputs


def make(first: float = 0.010, second: float = 0.005):
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(20, 3, generator=stream)
    data = (x, x @ torch.tensor([[1.0], [-2.0], [0.5]]))

    def model():
        return nn.Sequential(Sleep(first), nn.Linear(3, 1), Sleep(second))

    return SupervisedTask(model, train=data, evaluation=data, test=data, loss="mse", name="sleeping")
"""
FASTER = 1.3
AMDAHL = """
name = "amdahl"
task = "{task}:make"
seeds = [0, 1, 2, 3, 4]
[train]
batch_size = 10
lr = 0.02
momentum = 0.0
[dense]
epochs = 1
schedule = "constant"
[compare]
candidate = "faster"
baseline = "plain"
durations = [1, 2, 4, 6, 8]
left_out = {{ smaller = "only the time is of interest" }}
[[dense_arm]]
name = "faster"
schedule = "constant"
task_options = {{ first = {first} }}
[[dense_arm]]
name = "plain"
schedule = "constant"
"""


@pytest.mark.slow
def test_one_layer_made_faster_appears_as_what_amdahl_leaves_of_it(tmp_path: Path) -> None:
    """Two layers sleep for 10 ms and 5 ms, and the candidate's first one is 1.3 times as fast."""
    (tmp_path / "sleeping.py").write_text(SLEEPING)
    path = written(tmp_path, AMDAHL.format(task=tmp_path / "sleeping.py", first=0.010 / FASTER))
    recipe, out = load_recipe(path), tmp_path / "out"
    out.mkdir()
    assert recipe.compare is not None
    comparison = recipe.comparison(data=None, command="test")
    comparison.time_steps(out)
    for unit in comparison.units():
        comparison.run_unit(unit, out)
    found = judge(comparison.records(out), recipe.compare)
    step_s = median(
        comparison.step_seconds(family, seed, out)["dense"]
        for family in comparison.families
        for seed in recipe.seeds
        if family.name == "plain"
    )
    share = 0.010 / step_s
    expected = 1 / (1 - share + share / FASTER)
    hardware, statistical = found.speedup.split.hardware, found.speedup.split.statistical
    assert hardware is not None
    assert statistical is not None
    assert hardware.mean == pytest.approx(expected, rel=0.06)
    assert hardware.mean < 1 + 0.85 * (FASTER - 1)
    assert hardware.high is not None
    assert hardware.high < FASTER
    assert (statistical.mean, statistical.low, statistical.high) == (1.0, 1.0, 1.0)  # the same weights, step by step
    assert found.speedup.average is not None
    assert found.speedup.average.mean == pytest.approx(hardware.mean)
    assert found.verdict.claimed, found.verdict


# Real processes, stopped in the middle.


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Run the command in a process that can be killed."""
    return subprocess.Popen(
        [sys.executable, "-c", "from paretorch.cli import main; main()", "compare", "small.toml", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PARETORCH_DATA"},
    )


def to_the_end(process: subprocess.Popen[str]) -> tuple[str, str]:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Report: out/report.html" in output
    return output, errors


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        assert process.poll() is None, "it was over too soon"
        time.sleep(0.01)


def in_the_middle(folder: Path) -> Callable[[], bool]:
    """A run has finished, and another one has a checkpoint."""

    def found() -> bool:
        runs = folder / "out" / "runs"
        return bool(list(runs.glob("*/record.json"))) and bool(list(runs.rglob("current.safetensors")))

    return found


def children(process: subprocess.Popen[str]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def outcome(folder: Path) -> dict[str, Any]:
    """What must not depend on interruptions: weights, qualities and losses of every run."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "out" / "runs").glob("*/record.json")):
        record = json.loads(path.read_text())
        weights = (path.parent / "model" / "model.safetensors").read_bytes()
        losses = [(point["step"], point["lr"], point["train_loss"]) for point in record["curves"]]
        found[path.parent.name] = (weights, record["quality"], record["validation"], losses)
    return found


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two workers, which read the one dense model at the same time."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    written(folder)
    to_the_end(start("--out", "out", "--workers", "2", cwd=folder))
    found = outcome(folder)
    assert sorted(found) == sorted(RUNS)
    return found


@pytest.mark.slow
def test_ctrl_c_and_resume_lose_nothing(uninterrupted: dict[str, Any], tmp_path: Path) -> None:
    written(tmp_path)
    process = start("--out", "out", "--workers", "2", cwd=tmp_path)
    wait_for(in_the_middle(tmp_path), process)
    workers = children(process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Interrupted; the state is saved. Go on with --resume" in errors
    assert "Traceback" not in errors
    assert workers
    assert not any(alive(pid) for pid in workers)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("record.json")}
    assert 0 < len(before) < len(RUNS)
    timing = (tmp_path / "out" / "timing.json").read_bytes()
    to_the_end(start("--out", "out", "--workers", "2", "--resume", cwd=tmp_path))
    assert outcome(tmp_path) == uninterrupted
    assert {path: path.read_bytes() for path in before} == before
    assert (tmp_path / "out" / "timing.json").read_bytes() == timing


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(uninterrupted: dict[str, Any], tmp_path: Path) -> None:
    written(tmp_path)
    process = start("--out", "out", "--workers", "2", cwd=tmp_path)
    wait_for(in_the_middle(tmp_path), process)
    os.kill(children(process)[0], signal.SIGKILL)
    _, errors = to_the_end(process)
    assert "died of SIGKILL" in errors
    assert "submitted again (attempt 2 of 3)" in errors
    assert outcome(tmp_path) == uninterrupted


@pytest.mark.slow
def test_a_comparison_that_is_killed_can_go_on_at_once(uninterrupted: dict[str, Any], tmp_path: Path) -> None:
    """Its workers may still be saving their runs when the next process wants to go on with them."""
    written(tmp_path)
    process = start("--out", "out", "--workers", "2", cwd=tmp_path)
    wait_for(in_the_middle(tmp_path), process)
    workers = children(process)
    process.kill()
    process.communicate()
    to_the_end(start("--out", "out", "--workers", "2", "--resume", cwd=tmp_path))
    assert outcome(tmp_path) == uninterrupted
    assert not any(alive(pid) for pid in workers)
