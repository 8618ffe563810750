"""`make bench` runs what can run, says why the rest did not, and is not stopped by a failure."""

import sys
from pathlib import Path
from typing import Any

import pytest

from paretorch.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three scripts: one that fails, one that leaves its arguments behind, one that is no benchmark."""
    (tmp_path / "a_fails.py").write_text('BENCHMARK = {"tier": "minutes", "minutes": 1}\nraise SystemExit(3)\n')
    (tmp_path / "b_writes.py").write_text(
        "import sys\nfrom pathlib import Path\n"
        'BENCHMARK = {"tier": "minutes", "minutes": 0.5, "data": ["digits"], "arguments": ["--data", "{data}"]}\n'
        'Path(__file__).with_name("seen").write_text(" ".join(sys.argv[1:]))\n'
    )
    (tmp_path / "helper.py").write_text('raise SystemExit("imported")\n')
    return tmp_path


def test_a_failure_stops_nothing_and_is_told(
    load: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = load("run")
    (tmp_path / "data" / "digits").mkdir(parents=True)
    monkeypatch.setenv("PARETORCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(run, "HERE", folder)
    monkeypatch.setattr(sys, "argv", ["run.py"])
    with pytest.raises(SystemExit) as stop:
        run.main()
    assert stop.value.code == 1
    assert (folder / "seen").read_text() == f"--data {tmp_path / 'data'}"
    out = capfd.readouterr().out
    assert "a_fails: FAILED: exit code 3\nb_writes: done in 0.0 minutes\n" in out


def test_what_cannot_run_is_skipped_with_its_reason_and_is_no_failure(
    load: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = load("run")
    monkeypatch.delenv("PARETORCH_DATA", raising=False)
    monkeypatch.setattr(run, "HERE", folder)
    monkeypatch.setattr(sys, "argv", ["run.py", "b_writes"])
    with pytest.raises(SystemExit) as stop:
        run.main()
    assert stop.value.code == 0
    assert "b_writes: skipped: needs data: PARETORCH_DATA is not set" in capsys.readouterr().out
    assert not (folder / "seen").exists()


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        ({"packages": ("no_such_package_at_all",)}, "needs the package no_such_package_at_all"),
        (
            {"packages": ("torch", "absent_peer", "other")},
            'needs the package absent_peer, other: pip install "paretorch[peers]"',
        ),
        ({"data": ("digits", "words")}, "needs data: PARETORCH_DATA has no folder words"),
        ({"tier": "gpu"}, "needs a GPU"),
        ({"packages": ("json",), "data": ("digits",)}, None),
    ],
)
def test_a_need_that_is_not_met_is_named(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needs: dict[str, Any], reason: str | None
) -> None:
    run = load("run")
    (tmp_path / "digits").mkdir()
    project = tmp_path / "pyproject.toml"
    project.write_text('[project.optional-dependencies]\nhf = ["torch>=2"]\npeers = ["absent-peer>=1,<2", "b"]\n')
    monkeypatch.setattr(load("_peers"), "PROJECT", project)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    benchmark = run.Benchmark(**{"path": Path("x.py"), "tier": "minutes", "minutes": 1.0, **needs})
    assert run.why_not(benchmark, tmp_path) == reason


def test_names_or_a_tier_choose(load: Any) -> None:
    run = load("run")
    quick, long = (run.Benchmark(path=Path(f"{t}.py"), tier=t, minutes=1.0) for t in ("minutes", "nightly"))
    assert run.chosen([quick, long], [], "minutes") == [quick]
    assert run.chosen([quick, long], ["nightly"], "minutes") == [long]
    with pytest.raises(InputError, match="no benchmark other; there are: minutes, nightly"):
        run.chosen([quick, long], ["other"], "minutes")


@pytest.mark.parametrize(
    "constant",
    [
        '{"tier": "minutes"}',
        '{"tier": "weekly", "minutes": 1}',
        '{"tier": "minutes", "minutes": 0}',
        '{"tier": "minutes", "minutes": 1, "needs": []}',
        'dict(tier="minutes", minutes=1)',
        '{"tier": "minutes", "minutes": "a few"}',
    ],
)
def test_a_constant_that_says_something_else_is_refused(load: Any, tmp_path: Path, constant: str) -> None:
    (tmp_path / "x.py").write_text(f"BENCHMARK = {constant}\n")
    with pytest.raises(InputError, match=r"BENCHMARK of x\.py"):
        load("run").find_all(tmp_path)


def test_every_result_file_has_its_benchmark_in_the_same_tier(load: Any) -> None:
    tiers = {benchmark.name: benchmark.tier for benchmark in load("run").find_all(ROOT / "benchmarks")}
    results = load("_result").load_all(ROOT / "benchmarks" / "results").values()
    made_by = {result.stem: Path(result.command.split()[1]).stem for result in results if result.device == "cpu"}
    assert {result.stem: tiers.get(made_by[result.stem]) for result in results if result.stem in made_by} == {
        result.stem: result.tier for result in results if result.stem in made_by
    }
