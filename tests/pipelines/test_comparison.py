"""A comparison in units: their order, what each trains and is charged, and that any process may run any of them."""

import json
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from torch import Tensor

from paretorch.artefacts.model import load_artefact
from paretorch.errors import InputError
from paretorch.evidence.families import charge, families_of, trial_charge
from paretorch.evidence.records import RunRecord, load_record
from paretorch.methods.schedules import Linear
from paretorch.pipelines import comparison as comparisons
from paretorch.pipelines.comparison import Comparison
from paretorch.recipes import load_recipe

RECIPE = """
name = "units"
task = "digits"
seeds = [3]
[task_options]
hidden = [8]
[train]
batch_size = 100
lr = 0.1
[dense]
epochs = 1
[compare]
candidate = "A"
baseline = "B"
durations = [0.5, 2]
smaller = { hidden = [4] }
[[arm]]
name = "A"
sparsity = 0.9
schedule = "LLR"
cycles = 2
[[arm]]
name = "B"
sparsity = 0.9
schedule = "FT"
tune_lr = [0.01, 1e30, 0.03]
[[dense_arm]]
name = "long"
schedule = "linear"
[[dense_arm]]
name = "early"
schedule = "linear"
stop_early = true
"""
STEPS = {0.5: 6, 2: 22}  # of 11 in an epoch
DENSE = 11
SMALLER = {0.5: 16, 2: 33}  # dense training and the duration as one run
NUM_WEIGHTS = 64 * 8 + 8 * 10


def fake_times(recipes: Any, *, seeds: Any) -> dict[str, dict[str, list[float]]]:
    """The steps of the n-th recipe take n hundredths of a second."""
    return {name: {str(seed): [0.01 * n] for seed in seeds} for n, name in enumerate(recipes, start=1)}


def made(folder: Path, text: str = RECIPE) -> Comparison:
    (folder / "recipe.toml").write_text(text)
    (folder / "out").mkdir()
    return load_recipe(str(folder / "recipe.toml")).comparison(data=None, command="test")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Comparison, Path]]:
    """All units in their order, in one process; steps are not really timed."""
    folder = tmp_path_factory.mktemp("units")
    comparison, out = made(folder), folder / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(comparisons, "time_in_turns", fake_times)
        comparison.time_steps(out)
        for unit in comparison.starts() + comparison.units():
            comparison.run_unit(unit, out)
        yield comparison, out


def records(finished: tuple[Comparison, Path]) -> dict[tuple[str, float], RunRecord]:
    comparison, out = finished
    return {
        (record.family, unit.duration): record
        for unit, record in zip(comparison.units(), comparison.records(out), strict=True)
    }


TIMES = ("seconds", "longest_path_s", "step_time", "overhead", "costs", "env", "t_lo", "t_hi")


def without_times(value: Any) -> Any:
    """A record or a part of it, without what a clock says."""
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key not in TIMES}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def test_units_go_seed_by_seed_and_duration_by_duration_with_the_families_in_turns(tmp_path: Path) -> None:
    comparison = made(tmp_path, RECIPE.replace("seeds = [3]", "seeds = [3, 1]"))
    names = ["A", "B", "long", "early", "smaller model", "A, random weights"]
    assert [(unit.seed, unit.duration, unit.family) for unit in comparison.units()] == [
        (seed, duration, name) for seed in (3, 1) for duration in (0.5, 2) for name in names
    ]
    assert [(unit.id, unit.seed, unit.family) for unit in comparison.starts()] == [
        ("dense-s3", 3, None),
        ("dense-s1", 1, None),
    ]
    ids = [unit.id for unit in comparison.starts() + comparison.units()]
    assert len(set(ids)) == len(ids) == 2 + 2 * 2 * 6


def test_without_pruning_there_is_no_dense_model_to_start_from(tmp_path: Path) -> None:
    text = RECIPE.partition("[[arm]]")[0] + "[[dense_arm]]" + RECIPE.partition("[[dense_arm]]")[2]
    text = text.replace('candidate = "A"', 'candidate = "long"').replace('baseline = "B"', 'baseline = "early"')
    comparison = made(tmp_path, text)
    assert comparison.starts() == []
    assert not any("dense: " in line for line in comparison.plan())


def test_units_in_another_order_and_without_the_dense_model_first_give_the_same_records_and_weights(
    finished: tuple[Comparison, Path], tmp_path: Path
) -> None:
    _, first = finished
    again, out = made(tmp_path), tmp_path / "out"
    again.time_steps(out)
    for unit in reversed(again.units()):
        again.run_unit(unit, out)
    for unit in again.units():
        ours, theirs = (json.loads((at / "runs" / unit.id / "record.json").read_text()) for at in (out, first))
        assert without_times(ours) == without_times(theirs)
        weights = [(at / "runs" / unit.id / "model" / "model.safetensors").read_bytes() for at in (out, first)]
        assert weights[0] == weights[1], unit.id


def test_a_finished_unit_is_returned_as_it_is(finished: tuple[Comparison, Path]) -> None:
    comparison, out = finished
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "lock"}
    for unit, record in zip(comparison.units(), comparison.records(out), strict=True):
        assert comparison.run_unit(unit, out) == record
    assert {path: path.read_bytes() for path in before} == before


def trained_steps(directory: Path) -> int:
    """What the ledgers of a run and of its trials say was trained."""
    return sum(
        json.loads(line).get("steps", 0)
        for path in directory.rglob("ledger.jsonl")
        for line in path.read_text().splitlines()
    )


def test_every_run_trains_exactly_the_steps_of_its_duration(finished: tuple[Comparison, Path]) -> None:
    comparison, out = finished
    for unit in comparison.units():
        steps = STEPS[unit.duration]
        expected = {"smaller model": SMALLER[unit.duration], "B": 2 * steps}  # the third trial of B diverges
        assert trained_steps(out / "runs" / unit.id) == expected.get(unit.family or "", steps), unit.id
    assert trained_steps(out / "runs" / "dense-s3") == DENSE


def test_every_record_is_charged_what_it_trained_and_the_dense_model_where_it_starts_from_one(
    finished: tuple[Comparison, Path],
) -> None:
    for (family, duration), record in records(finished).items():
        own = SMALLER[duration] if family == "smaller model" else STEPS[duration]
        before = DENSE if family in ("A", "B", "A, random weights") else 0
        assert charge(record, "steps") == own + before, family
        assert charge(record, "samples") == 100 * (own + before)
        assert record.duration["steps"] == own
        assert record.duration["samples"] == 100 * own
        assert record.duration["scale"] == duration / 2


def test_seconds_are_steps_times_the_steps_timed_in_turns(finished: tuple[Comparison, Path]) -> None:
    """The fake clock gives 0.01 s to dense steps, 0.02 s to those with a mask and 0.03 s to the smaller model's."""
    for (family, duration), record in records(finished).items():
        steps = STEPS[duration]
        expected = {"long": 0.01 * steps, "early": 0.01 * steps, "smaller model": 0.03 * SMALLER[duration]}
        pruning = sum(phase["seconds"] for phase in record.phases if phase.get("kind") == "prune")
        found = charge(record, "seconds") - pruning
        assert found == pytest.approx(expected.get(family, 0.01 * DENSE + 0.02 * steps)), family


def test_trials_are_charged_apart_and_at_the_same_seconds_per_step(finished: tuple[Comparison, Path]) -> None:
    for duration, steps in STEPS.items():
        record = records(finished)["B", duration]
        trials = [phase for phase in record.phases if phase.get("kind") == "trial"]
        assert len(trials) == 2
        assert [phase["lr_peak"] for phase in trials if phase.get("diverged")] == [1e30]
        assert record.tuning["trials"] == 3
        assert record.tuning["space"] == [0.01, 1e30, 0.03]
        assert record.tuning["chosen"] in (0.01, 0.03)
        assert record.tuning["values"][1] == -math.inf
        assert trial_charge(record, "steps") == 2 * steps
        assert trial_charge(record, "seconds") == pytest.approx(2 * steps * 0.02)
        assert record.tuning["costs"] == pytest.approx([0.02 * steps] * 3)
        assert max(record.tuning["values"]) == record.validation
    untuned = {family for (family, _), record in records(finished).items() if record.tuning == {}}
    assert untuned == {"A", "long", "early", "smaller model", "A, random weights"}


def test_the_plan_counts_the_steps_that_are_trained(finished: tuple[Comparison, Path]) -> None:
    comparison, out = finished
    planned = int(comparison.plan()[-1].split()[2])
    trained = sum(trained_steps(path) for path in (out / "runs").iterdir())
    assert planned == trained + sum(STEPS.values())  # the trials that diverged in their first steps


def masks(out: Path, unit: str) -> dict[str, Tensor]:
    found = load_artefact(out / "runs" / unit / "model").masks
    assert found is not None
    return dict(found.items())


def test_the_random_control_removes_as_many_weights_as_the_candidate_and_others(
    finished: tuple[Comparison, Path],
) -> None:
    _, out = finished
    for duration in ("0.5", "2"):
        ours, random = masks(out, f"a-{duration}ep-s3"), masks(out, f"a-random-weights-{duration}ep-s3")
        removed = [sum(int((~mask).sum()) for mask in found.values()) for found in (ours, random)]
        assert removed == [round(0.9 * NUM_WEIGHTS)] * 2
        assert any(not torch.equal(ours[name], random[name]) for name in ours)


def test_a_pruned_model_is_beside_its_dense_one_in_the_record_and_a_dense_one_is_not(
    finished: tuple[Comparison, Path],
) -> None:
    found = records(finished)
    assert found["A", 2].side_effects["examples"] == 400
    assert not found["long", 2].side_effects


def test_the_run_that_is_stopped_early_has_had_the_beginning_of_the_long_schedule(
    finished: tuple[Comparison, Path],
) -> None:
    found = records(finished)
    rates = {key: [point["lr"] for point in found[key].curves] for key in [("long", 2), ("early", 2), ("early", 0.5)]}
    whole = Linear(num_steps=22, peak=0.1).trace()
    assert rates["long", 2] == rates["early", 2] == list(whole)
    assert rates["early", 0.5] == list(whole[:6])
    own = [point["lr"] for point in found["long", 0.5].curves]
    assert own == list(Linear(num_steps=6, peak=0.1).trace())
    assert found["early", 2].quality == found["long", 2].quality
    assert found["early", 0.5].validation != found["long", 0.5].validation


def test_families_are_found_in_the_records_with_their_roles(finished: tuple[Comparison, Path]) -> None:
    found = families_of(records(finished).values())
    assert {name: family.role for name, family in found.items()} == {
        "A": "candidate",
        "B": "baseline",
        "long": "",
        "early": "",
        "smaller model": "control:smaller",
        "A, random weights": "control:random",
    }
    assert all(len(family.runs) == 2 and family.seeds == (3,) for family in found.values())


def test_records_of_a_comparison_that_is_not_over_are_those_that_are_there(
    finished: tuple[Comparison, Path], tmp_path: Path
) -> None:
    comparison, out = finished
    for name in ("long-2ep-s3", "b-0.5ep-s3"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "record.json").write_bytes((out / "runs" / name / "record.json").read_bytes())
    (tmp_path / "runs" / "a-2ep-s3").mkdir()
    assert [record.run_id for record in comparison.records(tmp_path)] == ["b-0.5ep-s3", "long-2ep-s3"]
    assert load_record(out / "runs" / "long-2ep-s3" / "record.json") == comparison.records(tmp_path)[1]


@pytest.mark.parametrize("held", ["dense-s3", "a-0.5ep-s3"])
def test_a_unit_waits_for_another_process_in_the_dense_model_or_in_its_own_folder(
    finished: tuple[Comparison, Path], tmp_path: Path, held: str
) -> None:
    """Two runs read one dense model; and a worker whose parent was killed may still be saving its run."""
    comparison, out = made(tmp_path), tmp_path / "out"
    comparison.time_steps(out)
    unit = comparison.units()[0]
    lock = FileLock(out / "runs" / held / "lock")
    (out / "runs" / held).mkdir(parents=True)
    found: list[RunRecord | None] = []
    worker = threading.Thread(target=lambda: found.append(comparison.run_unit(unit, out)))
    with lock:
        worker.start()
        time.sleep(1.0)
        assert worker.is_alive()
        assert not found
    worker.join(timeout=60)
    assert found[0] is not None
    assert found[0].quality == records(finished)["A", 0.5].quality


def test_a_unit_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "ORPHAN_WAIT_S", 0.1)
    monkeypatch.setattr(comparisons, "time_in_turns", fake_times)
    comparison, out = made(tmp_path), tmp_path / "out"
    comparison.time_steps(out)
    (out / "runs" / "a-0.5ep-s3").mkdir(parents=True)
    with (
        FileLock(out / "runs" / "a-0.5ep-s3" / "lock"),
        pytest.raises(InputError, match=r"another process is working in .*a-0.5ep-s3"),
    ):
        comparison.run_unit(comparison.units()[0], out)
