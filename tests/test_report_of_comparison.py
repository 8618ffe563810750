"""`paretorch report` of the folder of a comparison: judged again from its records, and never mixed with sweeps."""

from pathlib import Path

import pytest

from paretorch.comparisons import load_comparison
from paretorch.errors import InputError
from paretorch.evidence.records import FILE_NAME, RunRecord, save_record
from tests.evidence.families import BASE, FAST
from tests.evidence.test_report import Page
from tests.test_cli import paretorch, refused

RECIPE = """
name = "kept"
task = "digits"
seeds = [0, 1, 2, 3, 4]
[dense]
epochs = 1
[compare]
candidate = "ALLR"
baseline = "FT"
durations = [1, 2, 4, 8, 16]
axis = "steps"
left_out = { smaller = "not asked", random = "not asked" }
[[arm]]
name = "ALLR"
sparsity = 0.9
schedule = "ALLR"
[[arm]]
name = "FT"
sparsity = 0.9
schedule = "FT"
lr = 0.01
"""


def folder(path: Path, records: list[RunRecord]) -> Path:
    path.mkdir(parents=True)
    (path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    for record in records:
        run = path / "runs" / record.run_id
        run.mkdir(parents=True)
        save_record(record, run / FILE_NAME)
    return path


def test_the_page_is_that_of_the_comparison_with_the_axis_and_the_reasons_of_its_recipe(tmp_path: Path) -> None:
    out = folder(tmp_path / "out", [*BASE, *FAST])
    found = load_comparison(out)
    assert found is not None
    assert found.speedup.axis == "steps"
    result = paretorch("report", str(out), "-o", "page.html", cwd=tmp_path)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert found.verdict.lines[0].split(":")[0] in text
    assert "The control smaller was left out: not asked" in text
    assert "tradeoff" in Page(text).figures()


def test_a_comparison_without_runs_of_an_arm_is_refused_with_what_to_do(tmp_path: Path) -> None:
    out = folder(tmp_path / "out", BASE)
    with pytest.raises(InputError, match=r"lacks runs: 25 of 'ALLR', of 25 each; finish .* --resume"):
        load_comparison(out)


def test_a_comparison_that_lost_a_seed_of_one_arm_is_not_judged_as_if_it_were_whole(tmp_path: Path) -> None:
    out = folder(tmp_path / "out", [*BASE, *[run for run in FAST if run.seed != 3]])
    with pytest.raises(InputError, match=r"lacks runs: 5 of 'ALLR', of 25 each"):
        load_comparison(out)


def test_one_run_of_a_comparison_can_be_reported_by_itself(tmp_path: Path) -> None:
    out = folder(tmp_path / "out", [*BASE, *FAST])
    run = next((out / "runs").iterdir())
    (run / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    assert load_comparison(run) is None
    result = paretorch("report", str(run), "-o", "run.html", cwd=tmp_path)
    assert result.exit_code == 0, result.output


def test_a_comparison_beside_another_folder_is_refused(tmp_path: Path) -> None:
    first, second = folder(tmp_path / "a", BASE), folder(tmp_path / "b", FAST)
    result = paretorch("report", str(first), str(second), cwd=tmp_path)
    refused(result, "runs of a comparison", "give its output folder, and nothing else")


def test_a_folder_of_something_else_is_no_comparison(tmp_path: Path) -> None:
    assert load_comparison(tmp_path) is None
