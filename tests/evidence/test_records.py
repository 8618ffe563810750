"""Records: exact round trips, and clear refusals of foreign and damaged files."""

import json
import math
from dataclasses import fields

import pytest

from paretorch.errors import ArtefactError, InputError
from paretorch.evidence.records import RunRecord, load_record, save_record


def record(**changes):
    fields = {
        "run_id": "imp-s0",
        "arm": "IMP 90%",
        "group": {"method": "IMP", "sparsity": 0.9, "cycles": 1, "nested": {"list": [1, 2.5, None, True]}},
        "seed": 0,
        "workload": "digits",
        "metric": "accuracy",
        "quality": 0.1 + 0.2,
        "validation": 0.3,
        "train_quality": 0.4,
        "references": {"majority class": 0.1},
        "curves": [{"step": 1, "train_loss": math.inf, "lr": 0.1}, {"step": 2, "train_loss": math.nan}],
        "phases": [{"phase": "dense", "epochs": 4.0}],
        "notes": ["a note with ünïcode"],
    }
    return RunRecord(**fields | changes)


def test_round_trip_through_a_file_is_exact(tmp_path):
    original = record()
    path = save_record(original, tmp_path / "record.json")
    loaded = load_record(path)
    assert loaded.to_dict() == original.to_dict()
    assert loaded.quality == 0.1 + 0.2
    assert loaded.curves[0]["train_loss"] == math.inf
    assert math.isnan(loaded.curves[1]["train_loss"])
    assert loaded.group == original.group


def test_file_is_standard_json_even_with_non_finite_numbers(tmp_path):
    path = save_record(record(), tmp_path / "record.json")
    data = json.loads(path.read_text(), parse_constant=lambda text: pytest.fail(f"bare {text} in the file"))
    assert data["schema"] == "paretorch-record-1"
    assert data["arm"] == "IMP 90%"


_EXAMPLES = ("text", 1.5, 3, {"number": 1.5}, ["text"], [{"number": 1.5}])


def _accepted(name, value):
    try:
        record(**{name: value})
    except InputError:
        return False
    return True


def test_every_field_is_stored_and_read_back():
    original = record(
        seed=5, higher_is_better=False, cost={"bytes": 7}, env={"torch": "2"}, command="c", recipe_hash="h"
    )
    original.status = "diverged"
    for name in (field.name for field in fields(RunRecord) if field.name not in ("higher_is_better", "status")):
        if not getattr(original, name):
            setattr(original, name, next(value for value in _EXAMPLES if _accepted(name, value)))
    assert RunRecord.from_dict(original.to_dict()).to_dict() == original.to_dict()
    for name, value in original.to_dict().items():
        if name not in ("schema", "higher_is_better"):
            assert value, f"{name} is empty, so this test would not notice that it is lost"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"quality": math.nan}, "quality is nan; .*status='diverged'"),
        ({"validation": math.inf}, "validation is inf"),
        ({"train_quality": math.nan}, "train_quality is nan"),
        ({"references": {"floor": math.inf}}, "references must map names to finite numbers, got 'floor': inf"),
        ({"references": {"floor": True}}, "got 'floor': True"),
        ({"references": {1: 0.5}}, "got 1: 0.5"),
        ({"quality": "0.9"}, "quality must be int or float or None, got str '0.9'"),
        ({"seed": True}, "seed must be int, got bool True"),
        ({"seed": 1.0}, "seed must be int, got float"),
        ({"higher_is_better": 1}, "higher_is_better must be bool"),
        ({"curves": [1]}, "curves must be a list of dict"),
        ({"notes": "text"}, "notes must be list"),
        ({"status": "fine"}, "status 'fine' is unknown"),
    ],
)
def test_ill_typed_fields_are_refused(changes, match):
    with pytest.raises(InputError, match=match):
        record(**changes)


def test_all_ill_typed_fields_are_named_at_once():
    with pytest.raises(InputError, match=r"arm must be str.*cost must be dict"):
        record(arm=1, cost=[])


def test_what_json_cannot_hold_is_refused_before_writing(tmp_path):
    with pytest.raises(InputError, match=r"got PosixPath|got WindowsPath"):
        save_record(record(env={"path": tmp_path}), tmp_path / "record.json")
    with pytest.raises(InputError, match="keys of a record are strings"):
        save_record(record(group={1: "a"}), tmp_path / "record.json")
    assert not (tmp_path / "record.json").exists()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "not readable as JSON"),
        (b"{", "not readable as JSON"),
        (b"\xff\xfe\x00", "not readable as JSON"),
        (b'{"schema": "paretorch-record-1", "quality": NaN}', "bare NaN"),
        (b"[]", "is not a run record: .* found 'list'"),
        (b'{"a": 1}', "is not a run record: .* found None"),
        (b'{"schema": "paretorch-record-2"}', "found 'paretorch-record-2'"),
        (b'{"schema": "paretorch-record-1"}', r"missing fields \['arm', "),
    ],
)
def test_foreign_and_damaged_files_are_refused(tmp_path, content, match):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=match):
        load_record(path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"extra": 1}, r"unknown fields \['extra'\]"),
        ({"seed": "0"}, "seed must be int, got str '0'"),
        ({"curves": [{"lr": {"$float": "ten"}}]}, "could not convert"),
        ({"curves": [{"lr": {"$float": None}}]}, "damaged"),
    ],
)
def test_records_with_altered_fields_are_refused(changes, match):
    with pytest.raises(ArtefactError, match=match):
        RunRecord.from_dict(record().to_dict() | changes, source="x.json")


def test_files_written_before_a_field_was_added_still_load():
    old = {key: value for key, value in record().to_dict().items() if key not in ("train_quality", "references")}
    loaded = RunRecord.from_dict(old)
    assert loaded.train_quality is None
    assert loaded.references == {}
    assert loaded.quality == 0.1 + 0.2


def test_a_record_is_found_by_its_run_directory_and_a_missing_one_is_refused(tmp_path):
    save_record(record(), tmp_path / "record.json")
    assert load_record(tmp_path).run_id == load_record(tmp_path / "record.json").run_id == "imp-s0"
    with pytest.raises(InputError, match=r"no run record at .*nowhere"):
        load_record(tmp_path / "nowhere")


def test_only_the_dense_method_is_the_baseline():
    assert record(group={"method": "dense"}).is_baseline
    assert not record(group={"method": "IMP"}).is_baseline
    assert not record(group={}).is_baseline
