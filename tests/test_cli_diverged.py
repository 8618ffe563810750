"""Runs that diverge are results of a sweep: the command names them, and fails only if no run is left."""

import json
from pathlib import Path

from tests.test_cli import TINY, paretorch, refused

DIVERGING = TINY.replace('schedule = "LLR"', 'schedule = "LLR"\nlr = 1e30').replace("[0.1, 0.01]", "[1e30, 0.01]")


def test_a_diverging_rate_is_charged_and_not_chosen_and_a_diverging_arm_does_not_end_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(DIVERGING.replace("seeds = [0, 1]", "seeds = [0]"))
    result = paretorch("run", "tiny.toml", "--out", "out", cwd=tmp_path)
    assert result.exit_code == 0, result.output
    records = [json.loads(path.read_text()) for path in sorted((tmp_path / "out" / "runs").glob("imp-*/record.json"))]
    lost = [record["run_id"] for record in records if record["status"] == "diverged"]
    assert len(lost) == 2
    (warning,) = [line for line in result.stderr.splitlines() if "of 3 runs diverged" in line]
    assert all(run_id in warning for run_id in lost)
    by_schedule = {record["group"]["schedule"]: record for record in records}
    assert by_schedule["LLR"]["status"] == "diverged"
    assert by_schedule["LLR"]["quality"] is None
    tuned = by_schedule["FT"]
    assert tuned["status"] == "ok"
    assert tuned["cost"]["samples"] == (2 + 2 * 1) * 11 * 100
    assert [line["lr_peak"] for line in tuned["phases"] if line.get("diverged")] == [1e30]
    assert (tmp_path / "out" / "report.html").exists()
    again = paretorch("run", "tiny.toml", "--out", "out", "--resume", "--quiet", cwd=tmp_path)
    assert again.exit_code == 0, again.output
    assert warning in again.stderr


def test_a_sweep_of_which_every_arm_diverges_fails(tmp_path: Path) -> None:
    text = DIVERGING.replace("seeds = [0, 1]", "seeds = [0]").split("[[arm]]")
    (tmp_path / "tiny.toml").write_text("[[arm]]".join(text[:2]))
    result = paretorch("run", "tiny.toml", "--out", "out", cwd=tmp_path)
    refused(result, "2 of 2 runs diverged", "imp-llr-", code=1)
    assert (tmp_path / "out" / "report.html").exists()
