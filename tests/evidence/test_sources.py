"""Records by folder: which folder a run belongs to, what it is called, and what counts as the same run twice."""

from pathlib import Path

import pytest

from paretorch.errors import InputError
from paretorch.evidence.records import save_record
from paretorch.evidence.sources import load_sources, names_of


@pytest.fixture
def write(record, tmp_path):
    """Write one record at a path below the test's folder."""

    def write(path, *, seed=0, quality=0.5, recipe_hash="r"):
        run = record(arm="a", group={}, seed=seed, quality=quality, run_id=f"a-s{seed}", recipe_hash=recipe_hash)
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
        return save_record(run, tmp_path / path / "record.json")

    return write


def test_runs_belong_to_the_folder_of_their_sweep_however_they_are_given(write, tmp_path):
    for seed in (0, 1):
        write(f"one/runs/a-s{seed}", seed=seed)
        write(f"two/runs/a-s{seed}", seed=seed, recipe_hash="other")
    for given in ([tmp_path], [tmp_path / "one", tmp_path / "two"], sorted(tmp_path.glob("*/runs/*"))):
        found = load_sources(given)
        assert {name: [run.seed for run in runs] for name, runs in found.items()} == {"one": [0, 1], "two": [0, 1]}


def test_runs_outside_a_sweep_belong_to_the_folder_above_them(write, tmp_path):
    write("mine/first", seed=0)
    write("mine/second", seed=1)
    assert [run.seed for run in load_sources([tmp_path / "mine"])["mine"]] == [0, 1]


def test_a_run_that_is_given_twice_is_read_once(write, tmp_path):
    file = write("one/runs/a-s0")
    assert len(load_sources([tmp_path, file.parent, file])["one"]) == 1


def test_names_are_the_shortest_ends_that_differ():
    folders = [Path("x/a/digits"), Path("x/b/digits"), Path("y/b/digits")]
    assert list(names_of(folders).values()) == ["x/a/digits", "x/b/digits", "y/b/digits"]
    assert list(names_of(folders[:1]).values()) == ["digits"]


def test_copies_are_refused_and_repetitions_are_not(write, tmp_path):
    write("one/runs/a-s0", quality=0.5)
    write("two/runs/a-s0", quality=0.6)
    assert [runs[0].quality for runs in load_sources([tmp_path]).values()] == [0.5, 0.6]
    write("two/runs/a-s0", quality=0.5)
    with pytest.raises(InputError, match=r"two.runs.a-s0.record\.json is a copy of .*one"):
        load_sources([tmp_path])


def test_one_folder_cannot_hold_a_run_twice(write, tmp_path):
    write("one/runs/a-s0", quality=0.5)
    write("one/runs/again", quality=0.6)
    with pytest.raises(InputError, match="hold the same run 'a-s0'"):
        load_sources([tmp_path])


def test_folders_without_a_record_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no record\.json under .*has the run finished"):
        load_sources([tmp_path])
    with pytest.raises(InputError, match=r"no run record at .*nowhere"):
        load_sources([tmp_path / "nowhere"])


def test_runs_are_found_at_any_depth(write, tmp_path):
    write("deep/er/runs/a-s0")
    assert list(load_sources([tmp_path])) == ["er"]
