"""`paretorch compare`: what it does in order, what it prints, and what it refuses before any work."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from paretorch import comparisons as comparing
from paretorch.cli import app
from paretorch.comparisons import compare
from paretorch.errors import InputError, ParetorchError, RunError
from paretorch.pipelines import comparison as comparisons
from paretorch.training.executor import Job, Outcome
from paretorch.training.worker import find_function

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
