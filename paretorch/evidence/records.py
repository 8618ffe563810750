"""One JSON file per run: what was run, what it cost, how good it was, and how to run it again.

A record is written once, at the end of a run, and read by the verdict and the report. It holds plain numbers and
strings only, so it can be read without torch. The fields follow the record schema that evaluations of training
cost use: identity, factors, seed, environment, curves, phases, cost, status.

Numbers that JSON cannot hold (NaN, infinities, from a diverged run) are stored as `{"$float": "nan"}`; a record is
equal to itself after a round trip.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from paretorch.errors import ArtefactError, InputError

SCHEMA = "paretorch-record-1"
FILE_NAME = "record.json"
STATUSES = ("ok", "censored", "diverged", "out_of_memory", "failed")

_TYPES: dict[str, tuple[type, ...]] = {
    "run_id": (str,),
    "arm": (str,),
    "group": (dict,),
    "seed": (int,),
    "workload": (str,),
    "metric": (str,),
    "higher_is_better": (bool,),
    "quality": (int, float, type(None)),
    "validation": (int, float, type(None)),
    "train_quality": (int, float, type(None)),
    "references": (dict,),
    "cost": (dict,),
    "curves": (list,),
    "phases": (list,),
    "env": (dict,),
    "command": (str,),
    "recipe_hash": (str,),
    "status": (str,),
    "notes": (list,),
    "family": (str,),
    "role": (str,),
    "methods": (list,),
    "task": (dict,),
    "duration": (dict,),
    "step_time": (dict,),
    "flops_step": (dict,),
    "bytes_step": (int, type(None)),
    "saved_bytes": (int, type(None)),
    "energy": (dict,),
    "overhead": (dict,),
    "tuning": (dict,),
    "hits": (list,),
    "code_rev": (str,),
    "side_effects": (dict,),
}
_REQUIRED = {
    *("run_id", "arm", "group", "seed", "workload", "metric", "higher_is_better", "quality", "validation"),
    *("cost", "curves", "phases", "env", "command", "recipe_hash", "status", "notes"),
}  # what the first version wrote; its files stay readable
_ITEM_TYPES: dict[str, type] = {"curves": dict, "phases": dict, "notes": str, "methods": str, "hits": dict}


@dataclass(kw_only=True)
class RunRecord:
    """Everything one run says about itself.

    Args:
        run_id: unique name of the run, e.g. "imp-allr-0.9-2ep-s0".
        arm: label shared by the runs that differ only in their seed, e.g. "IMP ALLR 90% 2 epochs".
        group: the factors of the arm, e.g. {"method": "IMP", "schedule": "ALLR", "sparsity": 0.9, "epochs": 2.0}.
            The arm whose method is "dense" is the baseline.
        seed: the seed of the run; runs of two arms with the same seed are compared as a pair.
        workload: task the model learned, e.g. "digits".
        metric: name of the quality, e.g. "accuracy" (a fraction in [0, 1], shown as a percentage).
        higher_is_better: direction of the metric.
        quality: the metric of the final model on test data; None when it was not measured or the run failed.
        validation: the same on validation data, the only number anything may be chosen by.
        train_quality: the same on a sample of the training examples, for the gap between training and test data.
        references: name -> value of the metric on test data that needs no model of ours, e.g. {"majority class": 0.1}:
            a simple baseline, a floor, a published number.
        cost: `Cost.to_dict()` of `paretorch.measurement.cost`; {} when nothing was measured.
        curves: one dict per evaluation: step, epoch, lr, train_loss, validation, seconds (each may be missing).
        phases: one dict per finished phase of the pipeline, in order, with at least "phase", its name. What the
            verdict and the report read in them is listed in `quantities`.
        env: where it ran: versions, processor, number of threads.
        command: the command that repeats this run.
        recipe_hash: hash of the recipe that was run.
        status: "ok", "censored", "diverged", "out_of_memory" or "failed".
        notes: warnings a reader of the result must see.
        family: label shared by the runs that differ in seed and duration only; "" outside a comparison.
        role: of the family in its comparison: "candidate", "baseline", "control:smaller", "control:random", or "".
        methods: ids of the cards that acted.
        task: what identifies the task and its sets; runs whose tasks differ are not compared.
        duration: "epochs", "steps", "samples" of what the family varies, and "scale", relative to its longest.
        step_time: "p10_s", "p50_s", "p90_s" and "n" of the training steps, as they came, not interleaved.
        flops_step: "forward", "backward", "batch" and "uncounted" operations of one training step.
        bytes_step: bytes of all operands of one training step, an upper bound of the traffic.
        saved_bytes: activations that one training step saves for its backward pass.
        energy: what a meter read, with its source and scope.
        overhead: "evaluation_s" and "checkpoint_s", which are not in the training seconds.
        tuning: "trials", "space", and the "values" and "costs" of all trials; {} when nothing was tuned.
        hits: per target: "name", "target", "step", and "t_lo" and "t_hi", training seconds between which the validation
            metric reached it; "step" and "t_hi" are None if it did not.
        code_rev: version of this package, and the commit where it is known.
        side_effects: what compression broke, against the dense model of the same seed.

    Raises:
        InputError: a field has the wrong type, the status is unknown, or a quality or reference is NaN or infinite.
    """

    run_id: str
    arm: str
    group: dict[str, Any]
    seed: int
    workload: str
    metric: str
    higher_is_better: bool = True
    quality: float | None = None
    validation: float | None = None
    train_quality: float | None = None
    references: dict[str, float] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    curves: list[dict[str, Any]] = field(default_factory=list)
    phases: list[dict[str, Any]] = field(default_factory=list)
    env: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    recipe_hash: str = ""
    status: str = "ok"
    notes: list[str] = field(default_factory=list)
    family: str = ""
    role: str = ""
    methods: list[str] = field(default_factory=list)
    task: dict[str, Any] = field(default_factory=dict)
    duration: dict[str, Any] = field(default_factory=dict)
    step_time: dict[str, Any] = field(default_factory=dict)
    flops_step: dict[str, Any] = field(default_factory=dict)
    bytes_step: int | None = None
    saved_bytes: int | None = None
    energy: dict[str, Any] = field(default_factory=dict)
    overhead: dict[str, Any] = field(default_factory=dict)
    tuning: dict[str, Any] = field(default_factory=dict)
    hits: list[dict[str, Any]] = field(default_factory=list)
    code_rev: str = ""
    side_effects: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = [_type_problem(name, getattr(self, name)) for name in _TYPES]
        if problems := [p for p in problems if p]:
            raise InputError(f"record {self.run_id!r}: {'; '.join(problems)}")
        for name in ("quality", "validation", "train_quality"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise InputError(
                    f"record {self.run_id!r}: {name} is {value}; a record holds finite qualities only. "
                    f"Pass {name}=None and status='diverged'."
                )
        for name, value in self.references.items():
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not isinstance(name, str) or not number:
                raise InputError(
                    f"record {self.run_id!r}: references must map names to finite numbers, got {name!r}: {value!r}; "
                    "leave out what is not known"
                )
        if self.status not in STATUSES:
            raise InputError(f"record {self.run_id!r}: status {self.status!r} is unknown; use one of {STATUSES}")

    @property
    def is_baseline(self) -> bool:
        """Whether this run is the dense model the others are compared with."""
        return self.group.get("method") == "dense"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict: the fields, after "schema", the version of this format."""
        return {"schema": SCHEMA} | {f.name: _encode(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_dict(cls, data: Any, *, source: str = "record") -> "RunRecord":
        """The inverse of `to_dict`.

        Args:
            data: what `json.load` returned.
            source: name of the file, for the message.

        Raises:
            ArtefactError: it is not a record, of another version, or has missing, unknown or ill-typed fields.
        """
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, dict) else type(data).__name__
            raise ArtefactError(
                f"{source} is not a run record: expected an object with schema {SCHEMA!r}, found {found!r}. "
                f"Point to a {FILE_NAME} written by this version, or repeat the run."
            )
        names = {f.name for f in fields(cls)}
        missing = sorted(_REQUIRED - data.keys())
        unknown = sorted(data.keys() - names - {"schema"})
        if missing or unknown:
            raise ArtefactError(f"{source} is a damaged run record: missing fields {missing}, unknown fields {unknown}")
        try:
            return cls(**{name: _decode(data[name]) for name in names & data.keys()})
        except (ValueError, TypeError) as error:  # InputError is a ValueError; a bad "$float" tag raises either
            raise ArtefactError(f"{source} is a damaged run record: {error}") from error


def save_record(record: RunRecord, path: str | Path) -> Path:
    """Write the record to `path` as JSON, atomically, and return the path.

    Raises:
        InputError: the record holds something that is not a plain number, string, bool, None, list or dict.
    """
    from paretorch.artefacts.files import write_json

    write_json(Path(path), record.to_dict())
    return Path(path)


def load_record(path: str | Path) -> RunRecord:
    """Read one record.

    Args:
        path: a record file, or the run directory that holds `record.json`.

    Raises:
        InputError: there is no such file.
        ArtefactError: the file is not JSON, or not a record.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    if not path.is_file():
        raise InputError(f"no run record at {path}; give a finished run directory or its {FILE_NAME}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are both ValueErrors
        raise ArtefactError(f"{path} is not readable as JSON ({error}); it is foreign or damaged") from error
    return RunRecord.from_dict(data, source=str(path))


def _type_problem(name: str, value: Any) -> str | None:
    """Sentence about a field of the wrong type, or None. A bool is not accepted where a number is expected."""
    allowed = _TYPES[name]
    if (isinstance(value, bool) and bool not in allowed) or not isinstance(value, allowed):
        expected = " or ".join("None" if t is type(None) else t.__name__ for t in allowed)
        return f"{name} must be {expected}, got {type(value).__name__} {value!r}"
    inner = _ITEM_TYPES.get(name)
    if inner is not None and isinstance(value, list) and not all(isinstance(item, inner) for item in value):
        return f"{name} must be a list of {inner.__name__}, got {value!r}"
    return None


def _encode(value: Any) -> Any:
    """Copy of a nest of plain values in which non-finite floats are tagged."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(float(value))}
    if isinstance(value, Mapping):
        if foreign := [key for key in value if not isinstance(key, str)]:
            raise InputError(f"keys of a record are strings; got {foreign!r}")
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError(
        f"a record holds plain numbers, strings, lists and dicts; got {type(value).__name__} {value!r}. "
        "Convert it first (tensor.item(), str(path))."
    )


def _decode(value: Any) -> Any:
    """Inverse of `_encode`."""
    if isinstance(value, dict):
        return float(value["$float"]) if value.keys() == {"$float"} else {k: _decode(v) for k, v in value.items()}
    return [_decode(item) for item in value] if isinstance(value, list) else value


def _refuse_constant(text: str) -> float:
    raise ValueError(f"bare {text} is not JSON")
