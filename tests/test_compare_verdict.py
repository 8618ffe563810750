"""What the records of a comparison let one claim: screening, seeds, controls, and what both arms share."""

from pathlib import Path
from typing import Any

import pytest

from paretorch.comparisons import Compared, judge
from paretorch.recipes import CompareTable
from tests.evidence.families import diverged, family
from tests.test_cli import paretorch

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


def test_a_screening_is_not_asked_for_controls_that_it_does_not_run() -> None:
    found = judged([*fast(), *slow()], mode="screening", left_out={})
    assert not any("missing" in refusal for refusal in found.verdict.refusals), found.verdict.refusals


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


def test_a_control_that_does_not_apply_is_said_not_to() -> None:
    found = judged([*fast(), *slow()], left_out={"smaller": "there is none"})
    assert "The control random does not apply: the candidate removes nothing." in found.verdict.warnings


def test_the_command_names_the_runs_that_diverged_and_fails_only_if_all_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = diverged([*fast(), *slow()], seed=4, above=8)
    monkeypatch.setattr("paretorch.comparisons.compare", lambda *_arguments, **_options: judged(records))
    out = tmp_path / "out"
    out.mkdir()
    result = paretorch("compare", "compare-digits", "--out", str(out), cwd=tmp_path)
    assert result.exit_code == 0, result.output
    assert "2 of 50 runs diverged: ALLR-16-s4, FT-16-s4" in result.stderr
    assert (out / "report.html").is_file()
    assert judged(records).verdict.lines[0] in result.stdout


def test_a_claim_says_in_its_first_line_how_many_warnings_belong_to_it() -> None:
    alone = judged([*fast(), *slow()]).verdict
    smaller = family("small", role="control:smaller", gain=1.6, step_s=0.0125)
    beside = judged([*fast(), *slow(), *smaller], left_out={"random": "it is hopeless"}).verdict
    assert alone.claimed
    assert beside.claimed
    assert alone.lines[0].endswith("Read it with the 1 warning below.")  # the step times are the same for every seed
    assert beside.lines[0].endswith("Read it with the 2 warnings below.")
    assert any("does not beat smaller" in warning for warning in beside.warnings)
